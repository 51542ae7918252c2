"""The config of a few-shot run, one section an idea; a dotted path such as `helix.depth` names a field.

The defaults are HelixFormer's released configuration; `studies.presets` holds LWFM-SPM's. Each description says what a
field changes and why its default is what it is.
"""

import json
from typing import Any, Literal, Self

from pydantic import model_validator

from raysearch.models.backbone_specs import BACKBONES
from raysearch.studies.configs.base import Counts, setting
from raysearch.studies.configs.class_disjoint import ClassDisjointConfig
from raysearch.studies.configs.fewshot_sections import (
    BackboneConfig,
    CentroidConfig,
    EpisodesConfig,
    EpisodicTrainConfig,
    FewshotDataConfig,
    HeadConfig,
    HelixConfig,
    LweConfig,
    LwfmConfig,
    PretrainConfig,
    SpmConfig,
)
from raysearch.studies.configs.pretrain import PretrainRunConfig


class FewshotModelConfig(BackboneConfig):
    method: Literal["centroid", "relation", "helixformer", "lwfm", "helix_lwfm"] = setting(
        "helixformer",
        "how a query finds its class: the nearest mean of a class; the relation head on features that have not met "
        "(HelixFormer's baseline); HelixFormer; LWFM-SPM; or HelixFormer's features under LWFM-SPM's metric.",
    )
    frozen: bool = setting(False, "train what is behind the trunk alone. Both papers train the trunk.")


class FewshotConfig(ClassDisjointConfig):
    task: Literal["fewshot"] = "fewshot"
    data: FewshotDataConfig = FewshotDataConfig()
    model: FewshotModelConfig = FewshotModelConfig()
    episodes: EpisodesConfig = EpisodesConfig()
    pretrain: PretrainConfig = PretrainConfig()
    centroid: CentroidConfig = CentroidConfig()
    head: HeadConfig = HeadConfig()
    helix: HelixConfig = HelixConfig()
    lwe: LweConfig = LweConfig()
    spm: SpmConfig = SpmConfig()
    lwfm: LwfmConfig = LwfmConfig()
    train: EpisodicTrainConfig = EpisodicTrainConfig()

    @model_validator(mode="after")
    def _taps_are_there(self) -> Self:
        taps, asked = len(BACKBONES[self.model.backbone].taps), list(self.lwe.layers)
        if self.model.method != "lwfm":
            return self
        for tap in asked:
            if not -taps <= tap < taps:
                raise ValueError(f"lwe.layers={asked} asks for tap {tap}; {self.model.backbone} has 0 to {taps - 1}")
        counted = [tap % taps for tap in asked]
        if counted != sorted(set(counted)):
            raise ValueError(f"lwe.layers={asked} should name taps once each, from shallow to deep")
        return self

    @model_validator(mode="after")
    def _parts_go_together(self) -> Self:
        if self.layers and self.spm.weight and self.spm.reduce == "topk" and self.spm.topk > self.lwe.grid**2:
            raise ValueError(f"spm.topk={self.spm.topk} are more than the {self.lwe.grid**2} pixels of a map")
        if self.model.frozen and not (self.pretrain.epochs or self.model.weights):
            raise ValueError(
                "model.frozen keeps the trunk as it is, which is random: set model.weights, pretrain.epochs or "
                "model.frozen=false"
            )
        if self.pretrain.epochs and self.model.weights:
            raise ValueError("model.weights and pretrain.epochs both say where the trunk starts; set one of them")
        return self

    def chance(self, counts: Counts) -> float:
        return 1 / self.episodes.ways

    def starts_from(self, seed: int) -> tuple[PretrainRunConfig, int] | None:
        if not self.pretrain.epochs:
            return None
        run = PretrainRunConfig(data=self.data, model=BackboneConfig(backbone=self.model.backbone), train=self.pretrain)
        return run, seed if self.pretrain.seed is None else self.pretrain.seed

    @property
    def layers(self) -> bool:
        """Whether LWFM-SPM's metric compares."""
        return self.model.method in ("lwfm", "helix_lwfm")

    @property
    def auxiliary(self) -> bool:
        """Whether LWFM-SPM's auxiliary losses are part of the training."""
        return self.model.method == "lwfm" and self.lwfm.aux

    def canonical(self) -> dict[str, Any]:
        """The config without what cannot matter, so that two ways of writing one run have one name."""
        plain, method = json.loads(self.model_dump_json()), self.model.method
        plain |= {section: {} for section, methods in _METHODS.items() if method not in methods}
        if not self.pretrain.epochs:
            plain["pretrain"] = {}
        if method == "lwfm":
            taps = len(BACKBONES[self.model.backbone].taps)
            plain["lwe"]["layers"] = [tap % taps for tap in self.lwe.layers]
        if plain["helix"]:
            plain["helix"] = _that_matter(self.helix)
        if self.layers:
            if not self.spm.weight:
                plain["spm"] = {"weight": 0.0}
            else:
                needless = ["sinkhorn_eps", "sinkhorn_iterations"] if self.spm.matcher != "sinkhorn" else []
                needless += ["topk"] if self.spm.reduce != "topk" else []
                plain["spm"] = {name: value for name, value in plain["spm"].items() if name not in needless}
            if not self.lwe.on:
                del plain["lwe"]["temperature"]
            if not self.auxiliary:
                del plain["lwfm"]["aux_batch"], plain["lwfm"]["episode_weight"]
        if method == "helix_lwfm":
            del plain["lwe"]["layers"], plain["lwfm"]["aux"]
        if self.model.frozen:  # on maps that are computed once
            plain["data"].pop("augment", None)
        if self.train.optimiser == "adam":
            del plain["train"]["momentum"]
        if not self.train.epochs:
            plain["train"] = {"epochs": 0}
            plain["data"].pop("augment", None)
            del plain["model"]["frozen"]
            plain["helix"].pop("dropout", None)
            plain["lwfm"] = {"tau": self.lwfm.tau} if self.layers else {}
        return plain


def _that_matter(helix: HelixConfig) -> dict[str, Any]:
    """The settings of HelixFormer that its network has to do with: what neither attends nor enhances has no depth."""
    plain: dict[str, Any] = helix.model_dump(mode="json")
    if not helix.depth or not (helix.rmp or helix.rep):
        return {"depth": 0, "width": helix.width, "embed_kernel": helix.embed_kernel}
    idle = [] if helix.rmp else ["heads", "dim_head", "fusion", "kv_stride"]
    idle += [] if helix.rep else ["mlp_ratio"]
    return {name: value for name, value in plain.items() if name not in idle}


# The methods that each section is about; sections that are not here are about all.
_METHODS = {
    "centroid": ("centroid",),
    "head": ("relation", "helixformer"),
    "helix": ("helixformer", "helix_lwfm"),
    "lwe": ("lwfm", "helix_lwfm"),
    "spm": ("lwfm", "helix_lwfm"),
    "lwfm": ("lwfm", "helix_lwfm"),
}
