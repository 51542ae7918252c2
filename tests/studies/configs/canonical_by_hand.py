"""A second writing of every config's canonical form: deletions by hand, method by method.

The package derives the form from `used_if` of the fields. Cells on people's disks are named by it, so both must agree
to the byte.
"""

import json
from typing import Any

from raysearch.models.backbone_specs import BACKBONES
from raysearch.studies.configs import FewshotConfig, PretrainRunConfig, RetrievalConfig, RunConfig

FITTED = ("lsh", "sh", "itq", "sdh")
PAIRWISE = ("dpsh", "dsh", "hashnet")
ASYMMETRIC = ("adsh", "exchnet")

RETRIEVAL_SECTIONS = {
    "srem": ("adsh",),
    "esrl": ("adsh",),
    "adsh": ASYMMETRIC,
    "itq": ("itq",),
    "sdh": ("sdh",),
    "pairs": PAIRWISE,
    "dpsh": ("dpsh",),
    "dsh": ("dsh",),
    "hashnet": ("hashnet",),
    "exchnet": ("exchnet",),
    "warmup": PAIRWISE + ASYMMETRIC,
    "train": PAIRWISE + ASYMMETRIC,
}
FEWSHOT_SECTIONS = {
    "centroid": ("centroid",),
    "head": ("relation", "helixformer"),
    "helix": ("helixformer", "helix_lwfm"),
    "lwe": ("lwfm", "helix_lwfm"),
    "spm": ("lwfm", "helix_lwfm"),
    "lwfm": ("lwfm", "helix_lwfm"),
}


def canonical(config: RunConfig) -> dict[str, Any]:
    if isinstance(config, RetrievalConfig):
        return retrieval(config)
    if isinstance(config, FewshotConfig):
        return fewshot(config)
    assert isinstance(config, PretrainRunConfig)
    return pretrain(config)


def retrieval(config: RetrievalConfig) -> dict[str, Any]:
    plain = json.loads(config.model_dump_json())
    method = config.hash.method
    erases = method == "adsh" and config.srem.regions > 0 and (config.esrl.erased > 0 or config.adsh.views != "anchor")
    pairs = method == "adsh" and (config.esrl.positive > 0 or config.adsh.views == "all")
    plain |= {section: {} for section, methods in RETRIEVAL_SECTIONS.items() if method not in methods}
    if method == "sdh":  # newer than cells on people's disks, so that their defaults are left out
        if config.sdh.ridge == 1e-6:
            del plain["sdh"]["ridge"]
        if not config.sdh.bias:
            del plain["sdh"]["bias"]
    if plain["warmup"]:  # newer likewise
        if config.warmup.views == "anchor":
            del plain["warmup"]["views"]
        if not config.warmup.recalibrate:
            del plain["warmup"]["recalibrate"]
    if method in FITTED:
        del plain["model"]["frozen"]
        del plain["model"]["standardise"]
        del plain["data"]["augment"]
        return plain
    if method == "adsh":
        if not erases:
            plain["srem"] = {"regions": 0}
            plain["esrl"]["erased"] = 0.0
            if config.adsh.views == "erased":
                plain["adsh"]["views"] = "anchor"
        if not pairs:
            del plain["esrl"]["positives"]
        if not config.esrl.positive and not plain["esrl"]["erased"]:
            del plain["esrl"]["stop_gradient"]
    if config.model.frozen:
        plain["data"]["augment"] = "none"
        plain["train"]["precision"] = "float32"
    if config.warmup.iterations == 0 or config.model.frozen:
        plain["warmup"] = {"iterations": 0}
    return plain


def fewshot(config: FewshotConfig) -> dict[str, Any]:
    plain = json.loads(config.model_dump_json())
    method = config.model.method
    layers = method in ("lwfm", "helix_lwfm")
    plain |= {section: {} for section, methods in FEWSHOT_SECTIONS.items() if method not in methods}
    if not config.pretrain.epochs:
        plain["pretrain"] = {}
    if method == "lwfm":
        taps = len(BACKBONES[config.model.backbone].taps)
        plain["lwe"]["layers"] = [tap % taps for tap in config.lwe.layers]
    if plain["helix"]:
        plain["helix"] = helix(config)
    if layers:
        if not config.spm.weight:
            plain["spm"] = {"weight": 0.0}
        else:
            needless = ["sinkhorn_eps", "sinkhorn_iterations"] if config.spm.matcher != "sinkhorn" else []
            needless += ["topk"] if config.spm.reduce != "topk" else []
            plain["spm"] = {name: value for name, value in plain["spm"].items() if name not in needless}
        if not config.lwe.on:
            del plain["lwe"]["temperature"]
        if not (method == "lwfm" and config.lwfm.aux):
            del plain["lwfm"]["aux_batch"]
            del plain["lwfm"]["episode_weight"]
    if method == "helix_lwfm":
        del plain["lwe"]["layers"]
        del plain["lwfm"]["aux"]
    if config.model.frozen:
        plain["data"].pop("augment", None)
    if config.train.optimiser == "adam":
        del plain["train"]["momentum"]
    if not config.train.epochs:
        plain["train"] = {"epochs": 0}
        plain["data"].pop("augment", None)
        del plain["model"]["frozen"]
        plain["helix"].pop("dropout", None)
        plain["lwfm"] = {"tau": config.lwfm.tau} if layers else {}
        if layers and config.lwfm.normalization == "released":
            plain["lwfm"]["normalization"] = "released"
    if config.lwfm.normalization == "imagenet":  # newer than cells on people's disks
        plain["lwfm"].pop("normalization", None)
    return plain


def helix(config: FewshotConfig) -> dict[str, Any]:
    section = config.helix
    plain: dict[str, Any] = section.model_dump(mode="json")
    # newer than cells on people's disks
    joined = section.pairs == "joined" and config.model.method == "helixformer" and config.episodes.shots > 1
    if not section.depth or not (section.rmp or section.rep):
        pairs = {"pairs": "joined"} if joined else {}
        return {"depth": 0, **pairs, "width": section.width, "embed_kernel": section.embed_kernel}
    idle = [] if section.rmp else ["heads", "dim_head", "fusion", "kv_stride"]
    idle += [] if section.rep else ["mlp_ratio"]
    serial = section.design in ("s_then_q", "q_then_s") and section.depth > 1 and section.rmp
    idle += [] if joined else ["pairs"]
    idle += [] if serial and section.order == "directions" else ["order"]  # newer than cells on people's disks
    return {name: value for name, value in plain.items() if name not in idle}


def pretrain(config: PretrainRunConfig) -> dict[str, Any]:
    plain = json.loads(config.model_dump_json())
    del plain["train"]["seed"]
    del plain["data"]["augment"]
    return plain
