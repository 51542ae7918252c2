"""The few-shot methods by name: the config sections that each uses, the taps that it compares, and where its head is.

The built-in heads are named by import path, since configs must not import torch. `raysearch.extend.fewshot_head` adds a
head from a file outside the package.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raysearch.core import Registry, user_code
from raysearch.studies.configs.task_spec import Reference

_HEADS = "raysearch.tasks.fewshot.network"


@dataclass(frozen=True)
class FewShotMethod:
    """A few-shot method before its head is built.

    Args:
        name: value of `model.method`.
        build: `(config, backbone) -> head`, or its import path "module:name".
        sections: config sections that the method uses, besides those of every run.
        layerwise: whether it compares the taps of `lwe.layers`, averaged to `lwe.grid`, and can train LWFM-SPM's
            auxiliary losses.
        taps: indices of the taps that it compares otherwise; -1 is the last.
        source: file of an extension. Its content is part of a cell's hash.
        code: of a user's head, whose identity is part of a cell's hash.
    """

    name: str
    build: Reference
    sections: tuple[str, ...] = ()
    layerwise: bool = False
    taps: tuple[int, ...] = (-1,)
    source: Path | None = None
    code: user_code.UserCode | None = None

    @property
    def matches_pixels(self) -> bool:
        """Whether LWFM-SPM's metric compares."""
        return "spm" in self.sections

    def tap_indices(self, config: Any) -> Sequence[int]:
        """Return the indices of the taps that a run compares, from shallow to deep."""
        return config.lwe.layers if self.layerwise else self.taps

    def grid(self, config: Any) -> int | None:
        """Return the side that the maps are averaged to; None where they stay as they are."""
        return config.lwe.grid if self.layerwise else None


FEWSHOT_METHODS: Registry[FewShotMethod] = Registry("few-shot method")

for _method in (
    FewShotMethod("centroid", f"{_HEADS}:build_centroid", ("centroid",)),
    FewShotMethod("relation", f"{_HEADS}:build_relation", ("head",)),
    FewShotMethod("helixformer", f"{_HEADS}:build_helixformer", ("head", "helix")),
    FewShotMethod("lwfm", f"{_HEADS}:build_lwfm", ("lwe", "spm", "lwfm"), layerwise=True),
    FewShotMethod("helix_lwfm", f"{_HEADS}:build_helix_lwfm", ("helix", "lwe", "spm", "lwfm")),
):
    FEWSHOT_METHODS.register(_method.name, _method)
