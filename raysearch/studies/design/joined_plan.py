"""The plan of an ablation on several data sets: every variant runs on every set.

A variant of the joined plan is a variant on one set. Its reference is that of its set, so differences are paired within
a set. All comparisons on all sets are one family of Holm's correction. Cells keep their hashes: a study on one of the
sets has the same ones.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from raysearch.studies.design.ablation_plan import AblationPlan
from raysearch.studies.design.plan import Cell, Device, Variant


@dataclass(frozen=True, kw_only=True)
class JoinedPlan(AblationPlan):
    """All cells of an ablation on several data sets. `join_plans` makes it."""

    parts: Mapping[str, AblationPlan]  # name of a data set -> the plan on it

    def for_data(self, content_hash: str, device: Device | None = None) -> "JoinedPlan":
        """Return the plan with every part on the same data; `for_data_sets` gives each its own."""
        return self.for_data_sets(dict.fromkeys(self.parts, content_hash), device)

    def for_data_sets(self, content_hashes: Mapping[str, str], device: Device | None = None) -> "JoinedPlan":
        """Return the plan on other data sets.

        Args:
            content_hashes: name -> content hash.
            device: the kind of device that computes the cells; None keeps the plan's.
        """
        return join_plans({name: part.for_data(content_hashes[name], device) for name, part in self.parts.items()})

    def with_cells_of(self, hashes: Iterable[str], seeds: Iterable[int]) -> AblationPlan:
        """Return this plan with further cells of the whole study; see `AblationPlan.with_cells_of`."""
        wanted = set(hashes)
        possible = list(seeds)
        return join_plans({name: part.with_cells_of(wanted, possible) for name, part in self.parts.items()})


def variant_name(data_set: str, name: str) -> str:
    """Return the name of a variant on one of several data sets.

    >>> variant_name("CUB", "hash.bits=12")
    'CUB, hash.bits=12'
    """
    return f"{data_set}, {name}"


def join_plans(parts: Mapping[str, AblationPlan]) -> JoinedPlan:
    """Return the plan of a study on several data sets.

    Cells come seed by seed, and each variant on all sets before the next variant. So an interrupted study has whole
    rows of its table.

    Args:
        parts: name of a data set -> the plan of the study on it. Study, profile and seeds are the same in all.
    """
    first = next(iter(parts.values()))
    seeds = tuple(dict.fromkeys(seed for part in parts.values() for seed in part.seeds))
    variants = {name: {variant.name: _on(name, variant) for variant in part.variants} for name, part in parts.items()}
    placed = [entry for name, part in parts.items() for entry in _cells_on(name, part, variants[name], seeds)]
    wholes = {name: part.whole for name, part in parts.items() if part.whole is not None}
    return JoinedPlan(
        study=first.study,
        profile=first.profile,
        data=_digest({name: part.data for name, part in parts.items()}),
        seeds=seeds,
        workers=first.workers,
        settings=_common_settings(list(parts.values())),
        device=first.device,
        ablation=first.ablation,
        variants=tuple(variant for on_set in variants.values() for variant in on_set.values()),
        references={
            variant_name(name, variant): variant_name(name, other)
            for name, part in parts.items()
            for variant, other in part.references.items()
        },
        cells=tuple(cell for *_, cell in sorted(placed, key=lambda entry: entry[:2])),
        also={variant_name(name, other): levels for name, part in parts.items() for other, levels in part.also.items()},
        comparisons_of_whole=sum(part.comparisons for part in parts.values()),
        whole=join_plans(wholes) if wholes else None,
        adaptive=first.adaptive,
        parts=dict(parts),
    )


def _on(data_set: str, variant: Variant) -> Variant:
    return replace(variant, name=variant_name(data_set, variant.name), data_set=data_set)


def _cells_on(
    data_set: str, part: AblationPlan, variants: Mapping[str, Variant], seeds: tuple[int, ...]
) -> Iterator[tuple[int, int, Cell]]:
    """Yield the cells of a data set with the positions of their seed and variant."""
    ranks = {name: rank for rank, name in enumerate(variants)}
    positions = {seed: position for position, seed in enumerate(seeds)}
    for cell in part.cells:
        start = cell.start
        if start is not None:
            start = replace(start, variant=replace(start.variant, data_set=data_set))
        joined = replace(cell, variant=variants[cell.variant.name], start=start)
        yield positions[cell.seed], ranks[cell.variant.name], joined


def _common_settings(parts: list[AblationPlan]) -> dict[str, object]:
    """Return the overrides that all parts have; a profile adds others on a set with many classes."""
    settings = dict(parts[0].settings)
    for part in parts[1:]:
        settings = {path: value for path, value in settings.items() if part.settings.get(path, part) == value}
    return settings


def _digest(hashes: Mapping[str, str]) -> str:
    """Return what stands for the content hash of several data sets. Their names begin the names of variants."""
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()
