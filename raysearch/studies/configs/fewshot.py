"""The config of a few-shot run, one section per idea. A dotted path such as `helix.depth` names a field.

The defaults are HelixFormer's released configuration; `configs.fewshot_task` has LWFM-SPM's as presets. Each
description states what a field changes and why its default is what it is.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, model_validator

from raysearch.core import UserError
from raysearch.data.evaluation_limits import DataCounts, EpisodeSize, Limits, classifier_limits, episode_limits
from raysearch.models.backbone_specs import BACKBONES
from raysearch.studies.configs import class_disjoint, fewshot_methods, fewshot_sections, weights
from raysearch.studies.configs.base import Counts, section, setting
from raysearch.studies.configs.paths import NameOrCode


def _uses(name: str) -> Callable[[Any], bool]:
    """Return whether a config's method uses the section of that name."""
    return lambda config: name in config.fewshot_method.sections


class FewshotModelConfig(fewshot_sections.BackboneConfig):
    method: Annotated[
        str, AfterValidator(fewshot_methods.FEWSHOT_METHODS.check_name), NameOrCode(fewshot_methods.FEWSHOT_METHODS)
    ] = setting(
        "helixformer",
        "how a query finds its class. centroid: the nearest mean of a class; relation: a relation head on features "
        "without cross-attention (HelixFormer's baseline); helixformer; lwfm: LWFM-SPM; helix_lwfm: HelixFormer's "
        "features under LWFM-SPM's metric.",
    )
    frozen: bool = setting(
        False,
        "train the head alone. Both papers train the backbone too.",
        used_if=lambda config: config.train.epochs,
    )


class FewshotConfig(class_disjoint.ClassDisjointConfig):
    task: Literal["fewshot"] = "fewshot"
    data: fewshot_sections.FewshotDataConfig = fewshot_sections.FewshotDataConfig()
    model: FewshotModelConfig = FewshotModelConfig()
    episodes: fewshot_sections.EpisodesConfig = fewshot_sections.EpisodesConfig()
    pretrain: fewshot_sections.PretrainConfig = section(
        fewshot_sections.PretrainConfig(), used_if=lambda config: config.pretrain.epochs
    )
    centroid: fewshot_sections.CentroidConfig = section(fewshot_sections.CentroidConfig(), used_if=_uses("centroid"))
    head: fewshot_sections.HeadConfig = section(fewshot_sections.HeadConfig(), used_if=_uses("head"))
    helix: fewshot_sections.HelixConfig = section(fewshot_sections.HelixConfig(), used_if=_uses("helix"))
    lwe: fewshot_sections.LweConfig = section(fewshot_sections.LweConfig(), used_if=_uses("lwe"))
    spm: fewshot_sections.SpmConfig = section(
        fewshot_sections.SpmConfig(),
        used_if=_uses("spm"),
        off_if=lambda config: not config.spm.weight,
        off={"weight": 0.0},
    )
    lwfm: fewshot_sections.LwfmConfig = section(fewshot_sections.LwfmConfig(), used_if=_uses("lwfm"))
    train: fewshot_sections.EpisodicTrainConfig = section(
        fewshot_sections.EpisodicTrainConfig(), off_if=lambda config: not config.train.epochs, off={"epochs": 0}
    )

    @model_validator(mode="after")
    def _check_taps(self) -> Self:
        path = "lwe.layers" if self.fewshot_method.layerwise else f"the taps of model.method={self.model.method}"
        indices = list(self.fewshot_method.tap_indices(self))
        taps = len(BACKBONES[self.model.backbone].taps)
        for index in indices:
            if not -taps <= index < taps:
                raise ValueError(f"{path}={indices} asks for tap {index}; {self.model.backbone} has 0 to {taps - 1}")
        counted = self.compared_taps
        if counted != sorted(set(counted)):
            raise ValueError(f"{path}={indices} should name taps once each, from shallow to deep")
        return self

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        pixels = self.lwe.grid**2
        matches_pixels = self.fewshot_method.matches_pixels and self.spm.weight
        if matches_pixels and self.spm.reduce == "topk" and self.spm.topk > pixels:
            raise ValueError(f"spm.topk={self.spm.topk} is more than the {pixels} pixels of a map; set fewer")
        if self.model.frozen and not (self.pretrain.epochs or self.model.weights):
            raise ValueError(
                "model.frozen would keep a random backbone: set model.weights, pretrain.epochs or model.frozen=false"
            )
        if self.pretrain.epochs and self.model.weights:
            raise ValueError(
                "model.weights and pretrain.epochs both set where the backbone starts; set one of them: "
                "--set pretrain.epochs=0 starts from the weights, --set model.weights=none pre-trains"
            )
        return self

    def limits_of_parts(self, data: DataCounts, parts: Mapping[str, str]) -> Limits:
        """Return the limits of the episodes, and of the pre-training if there is one."""
        size = EpisodeSize(self.episodes.ways, self.episodes.shots, self.episodes.queries)
        limits = episode_limits(data, parts, size)
        if self.pretrain.epochs:
            before = classifier_limits(data, parts)
            return Limits(before.errors + limits.errors, limits.warnings)
        return limits

    def chance(self, counts: Counts) -> float:
        """Return the accuracy of a guess among the ways of an episode."""
        return 1 / self.episodes.ways

    def check_workers(self, workers: int) -> None:
        """Check that all workers get equally many episodes, and ordinary images, of every step.

        Raises:
            UserError: they do not.
        """
        train = self.train
        if not train.epochs:
            return
        last = train.episodes % train.batch
        if train.batch % workers:
            raise UserError(f"train.batch={train.batch} episodes do not divide among {workers} workers")
        if last % workers:
            raise UserError(
                f"train.episodes={train.episodes} leave {last} for the last step of an epoch, which do not divide "
                f"among {workers} workers; set a multiple of train.batch={train.batch}"
            )
        if self.auxiliary and self.lwfm.aux_batch % workers:
            raise UserError(f"lwfm.aux_batch={self.lwfm.aux_batch} images do not divide among {workers} workers")

    def starts_from(self, seed: int) -> tuple[class_disjoint.PretrainRunConfig, int] | None:
        """Return the pre-training of the backbone and its seed, or None if `pretrain.epochs` is 0."""
        if not self.pretrain.epochs:
            return None
        run = class_disjoint.PretrainRunConfig(
            data=self.data, model=fewshot_sections.BackboneConfig(backbone=self.model.backbone), train=self.pretrain
        )
        return run, seed if self.pretrain.seed is None else self.pretrain.seed

    @property
    def fewshot_method(self) -> fewshot_methods.FewShotMethod:
        """The method that `model.method` names."""
        return fewshot_methods.FEWSHOT_METHODS[self.model.method]

    @property
    def compared_taps(self) -> list[int]:
        """Indices of the backbone's taps that the method compares, counted from 0."""
        taps = len(BACKBONES[self.model.backbone].taps)
        return [index % taps for index in self.fewshot_method.tap_indices(self)]

    @property
    def auxiliary(self) -> bool:
        """Whether LWFM-SPM's auxiliary losses are part of the training."""
        return self.fewshot_method.layerwise and self.lwfm.aux

    @property
    def augments_episodes(self) -> bool:
        """Whether the images of training episodes are augmented; not on maps that are computed once."""
        return self.train.epochs > 0 and not self.model.frozen  # frozen: on maps that are computed once

    @property
    def identities(self) -> dict[str, str | None]:
        """Values in the cell's hash that name a file; the method of an extension is hashed with its source code."""
        identities = super().identities
        method = self.fewshot_method
        if method.source is not None:
            identities["model.method"] = f"{self.model.method} {weights.file_digest(method.source)}"
        if method.code is not None:
            identities["model.method"] = f"{self.model.method} {method.code.identity}"
        dropout = self.canonical().get("helix", {}).get("dropout")
        if dropout:  # earlier cells drew from a generator that a resumed run did not continue
            identities["helix.dropout"] = f"{dropout}, drawn by the place of a step"
        return identities
