"""The canonical form of configs agrees with a form written by hand, over thousands of random configs of all methods."""

import json
import random
from typing import Any

import pytest

from raysearch.core import UserError
from raysearch.studies.configs import RunConfig, overrides

from . import canonical_by_hand

# The values that a path may take in a random config, chosen so that most combinations are valid.
VALUES: dict[str, dict[str, list[Any]]] = {
    "retrieval": {
        "data.side": [64, 224],
        "data.zoom": [1.0, 1.1],
        "data.validation": [0.0, 0.1],
        "data.augment": ["none", "flip", "crop"],
        "model.backbone": ["resnet50", "conv4"],
        "model.weights": [None, "IMAGENET1K_V1"],
        "model.frozen": [False, True],
        "model.standardise": [False, True],
        "hash.bits": [12, 48],
        "hash.method": ["lsh", "sh", "itq", "sdh", "dpsh", "dsh", "hashnet", *["exchnet"] * 2, *["adsh"] * 6],
        "srem.regions": [0, 10],
        "srem.size": [8, 16],
        "srem.grid": [None, 7],
        "srem.center": [False, True],
        "srem.ties": ["raster", "any"],
        "srem.align_corners": [False, True],
        "srem.mask_pass": ["anchor", "separate"],
        "esrl.positive": [0.0, 0.1],
        "esrl.erased": [0.0, 0.2],
        "esrl.positives": ["database", "sample"],
        "esrl.stop_gradient": ["none", "anchor", "others"],
        "adsh.gamma": [0.0, 200.0],
        "adsh.similarity": ["soft", "hard"],
        "adsh.sweeps": [1, 2],
        "adsh.bit_norm": [False, True],
        "adsh.views": ["anchor", "erased", "all"],
        "adsh.outputs": ["last_epoch", "fresh"],
        "adsh.pull": ["outputs", "signs"],
        "adsh.start": ["signs", "normal"],
        "adsh.zero": ["keep", "plus"],
        "itq.iterations": [50, 3],
        "sdh.anchors": [1000, 7],
        "sdh.iterations": [5, 3],
        "sdh.lam": [1.0, 2.0],
        "sdh.nu": [1e-5, 2.0],
        "sdh.width": [None, 0.5],
        "sdh.ridge": [1e-6, 0.01],
        "sdh.bias": [False, True],
        "pairs.per_class": [0, 4],
        "dpsh.eta": [0.1, 0.0],
        "dsh.margin": [2.0, 3.0],
        "dsh.alpha": [0.01, 0.0],
        "hashnet.alpha": [10.0, 3.0],
        "hashnet.growth": [0.005, 0.0],
        "hashnet.every": [200, 3],
        "exchnet.parts": [4, 2],
        "exchnet.spatial": [1.0, 0.0],
        "exchnet.channel": [1.0, 0.0],
        "exchnet.threshold": [0.4, 0.0],
        "exchnet.alignment": [0.0, 1.0],
        "exchnet.align_after": [0.5, 1.0],
        "exchnet.exchange": [0.5, 1.0],
        "warmup.iterations": [0, 3],
        "warmup.epochs": [5, 2],
        "warmup.lr": [3e-3, 1.0],
        "warmup.views": ["anchor", "all"],
        "warmup.recalibrate": [False, True],
        "train.iterations": [40, 3],
        "train.epochs": [20, 2],
        "train.samples": [2000, 20],
        "train.batch": [64, 4],
        "train.lr": [1e-3, 1],
        "train.hash_lr": [1.0, 5.0],
        "train.momentum": [0.9, 0.0],
        "train.weight_decay": [1e-5, 0.0],
        "train.milestones": [(0.5, 0.75), (0.1,)],
        "train.precision": ["auto", "float32"],
        "train.select": ["last", "validation"],
    },
    "fewshot": {
        "data.side": [84, 32],
        "data.zoom": [92 / 84, 1],
        "data.split": ["auto", "mod4"],
        "data.augment": ["none", "flip", "crop", "colour"],
        "model.backbone": ["conv4", "resnet18"],
        "model.weights": [None, None, "IMAGENET1K_V1"],
        "model.method": ["centroid", "relation", "helixformer", "lwfm", "helix_lwfm"],
        "model.frozen": [False, False, True],
        "episodes.ways": [5, 3],
        "episodes.shots": [1, 5],
        "episodes.queries": [15, 2],
        "episodes.test": [2000, 20],
        "episodes.validation": [200, 20],
        "episodes.seed": [0, 1],
        "pretrain.epochs": [0, 7],
        "pretrain.augment": ["none", "flip", "crop"],
        "pretrain.batch": [128, 7],
        "pretrain.lr": [0.01, 1.0],
        "pretrain.momentum": [0.9, 0.0],
        "pretrain.weight_decay": [0.0, 1.0],
        "pretrain.milestones": [(0.85,), (0.5, 0.6)],
        "pretrain.seed": [None, 4],
        "centroid.distance": ["euclidean", "cosine"],
        "head.kind": ["relation", "cosine"],
        "helix.depth": [0, 1, 2],
        "helix.design": ["q2s", "s2q", "s_then_q", "q_then_s", "sym"],
        "helix.order": ["layers", "directions"],
        "helix.pairs": ["each", "joined"],
        "helix.heads": [2, 4],
        "helix.dim_head": [64, 8],
        "helix.width": [None, 16],
        "helix.fusion": ["mul", "add", "mul_res"],
        "helix.rmp": [True, False],
        "helix.rep": [True, False],
        "helix.embed_kernel": [3, 1],
        "helix.kv_stride": [1, 2],
        "helix.mlp_ratio": [4, 2],
        "helix.dropout": [0.0, 0.5],
        "lwe.on": [True, False],
        "lwe.layers": [(-2, -1), (0, -1), (2, 3)],
        "lwe.grid": [3, 2],
        "lwe.temperature": [5.0, 2.0],
        "spm.weight": [0.25, 0.0],
        "spm.matcher": ["hungarian", "nearest", "mutual", "sinkhorn"],
        "spm.reduce": ["top1", "topk", "mean"],
        "spm.topk": [3, 2],
        "spm.layers": ["max", "mean"],
        "spm.residual": [True, False],
        "spm.sinkhorn_eps": [0.05, 1.0],
        "spm.sinkhorn_iterations": [50, 3],
        "lwfm.tau": [0.2, 1.0],
        "lwfm.episode_weight": [0.25, 1.0],
        "lwfm.aux": [True, False],
        "lwfm.aux_batch": [64, 4],
        "lwfm.normalization": ["imagenet", "released"],
        "train.epochs": [130, 0, 3],
        "train.episodes": [1000, 20],
        "train.batch": [4, 2],
        "train.optimiser": ["adam", "sgd"],
        "train.lr": [1e-3, 1.0],
        "train.momentum": [0.9, 0.0],
        "train.weight_decay": [0.0, 1.0],
        "train.milestones": [(70 / 130,), (0.5, 0.6)],
        "train.decay": [0.1, 0.5],
        "train.clip": [None, 2.0],
        "train.precision": ["auto", "float32"],
        "train.select": ["validation", "last"],
    },
    "pretrain": {
        "data.side": [84, 32],
        "data.zoom": [92 / 84, 1],
        "data.split": ["auto", "mod4"],
        "data.augment": ["none", "flip", "crop", "colour"],
        "model.backbone": ["conv4", "resnet18"],
        "model.weights": [None, "IMAGENET1K_V1"],
        "train.epochs": [100, 7],
        "train.augment": ["none", "flip", "crop"],
        "train.batch": [128, 7],
        "train.lr": [0.01, 1.0],
        "train.momentum": [0.9, 0.0],
        "train.weight_decay": [0.0, 1.0],
        "train.milestones": [(0.85,), (0.5, 0.6)],
        "train.seed": [None, 4],
    },
}
COUNTS = {"retrieval": 3000, "fewshot": 3000, "pretrain": 200}


def random_config(task: str, draw: random.Random) -> RunConfig:
    """A valid config with a random half of its paths set."""
    while True:
        settings = {path: draw.choice(values) for path, values in VALUES[task].items() if draw.random() < 0.5}
        try:
            return overrides.resolve(task, settings)
        except UserError:
            continue  # parts that do not go together


@pytest.mark.parametrize("task", VALUES)
def test_every_path_is_drawn(task: str) -> None:
    of_users = {"evaluation.metrics"}  # names a file; see tests/tasks/retrieval/test_user_metric.py
    assert set(VALUES[task]) == set(overrides.known_paths(task)) - of_users


@pytest.mark.parametrize("task", VALUES)
def test_the_canonical_form_agrees_with_the_one_by_hand(task: str) -> None:
    draw = random.Random(0)
    methods = set()
    for _ in range(COUNTS[task]):
        config = random_config(task, draw)
        assert json.dumps(config.canonical()) == json.dumps(canonical_by_hand.canonical(config))
        section = getattr(config, {"retrieval": "hash", "fewshot": "model"}.get(task, "model"))
        methods.add(getattr(section, "method", None))
    assert len(methods) == {"retrieval": 9, "fewshot": 5, "pretrain": 1}[task]


@pytest.mark.parametrize("method", ["adsh", "dpsh", "itq", "exchnet"])
@pytest.mark.parametrize("side", [8, 16, 31, 32])
def test_the_canonical_form_is_a_config_for_small_images_too(method: str, side: int) -> None:
    config = overrides.resolve("retrieval", {"data.side": side, "hash.method": method, "srem.size": 4})
    again = type(config).model_validate(config.canonical())
    assert again.canonical() == config.canonical()
