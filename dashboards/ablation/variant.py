"""A variant of a study, with its comparison, its cells and its labels."""

import functools
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dashboards.html import formats
from dashboards.run_data import MetricRange, Published, history, is_number, mean
from raysearch.runs import VariantRecord
from raysearch.studies.configs import flatten

SIDE = 224  # the image side that a study declares its pixel sizes for


@dataclass(frozen=True)
class Variant:
    """A variant. Numbers are None if they could not be computed."""

    name: str
    label: str  # the name, with pixel sizes as run and as declared
    settings: Mapping[str, Any]
    declared: Mapping[str, Any]
    also: tuple[Mapping[str, Any], ...]  # other levels of the factors with the same config
    config: Mapping[str, Any]
    reference: str  # name of the variant for comparison
    is_reference: bool
    verdict: str  # "reference", or as `judgement.Judgement` has it
    compared: Mapping[str, Any]  # its row of `judgement.Judgement`
    values: Mapping[int, float]  # metric by seed, of the finished cells that are compared
    rows: list[dict[str, Any]]  # its ended cells
    missing: int
    limits: MetricRange  # values that the metric can have
    published: tuple[float, str] | None  # value and table
    timed: list[dict[str, Any]]  # its finished cells on the device on which times are compared
    data_set: str | None = None  # in a study on several

    @property
    def mean_interval(self) -> tuple[float | None, float | None]:
        """Return the interval of the mean, cut where the metric cannot go."""
        return self.limits.cut(self.compared["ci_low"], self.compared["ci_high"])

    @property
    def planned(self) -> int:
        """Return the number of planned cells; of an adaptive study those of the look that is shown."""
        return self.compared.get("planned", len(self.rows) + self.missing)

    @property
    def finished(self) -> list[dict[str, Any]]:
        """Return the rows of the finished cells."""
        return [row for row in self.rows if row["status"] == "finished"]

    @functools.cached_property
    def seconds(self) -> float | None:
        """Return the mean seconds of the finished cells, on one kind of device."""
        return mean(row.get("seconds") for row in self.timed)

    @functools.cached_property
    def epochs(self) -> float | None:
        """Return the mean epochs of the finished cells."""
        return mean(row.get("epochs") for row in self.finished)

    @property
    def gpu_hours(self) -> float:
        """Return the GPU-hours of all ended cells, including failed ones, because they were paid for too."""
        return sum(row.get("gpu_seconds") or 0.0 for row in self.rows) / 3600

    @functools.cached_property
    def erased(self) -> float | None:
        """Return the mean share of the image that the last iteration erased."""
        texts = [row["history"] for row in self.finished if row.get("history")]
        last_steps = [(history(text) or [{}])[-1] for text in texts if "erased_fraction" in text]
        shares = [step.get("erased_fraction") for step in last_steps]
        return mean(share for share in shares if isinstance(share, int | float))

    @property
    def less_published(self) -> float | None:
        """Return the measured mean minus the published number."""
        measured = self.compared["mean"]
        return None if measured is None or self.published is None else measured - self.published[0]

    @property
    def holes(self) -> int:
        """Return the number of planned cells without a result."""
        return self.compared["failed"] + self.compared["stopped"] + self.missing

    @property
    def published_levels(self) -> dict[str, Any]:
        """Return what published numbers of this variant are looked up by."""
        return published_levels(self.settings, self.declared, self.config)

    def level(self, factor: str) -> Any:
        """Return the factor's level in the study file's units, or as run if that is not recorded."""
        return self.declared.get(factor, self.settings.get(factor))

    def places(self, factors: Iterable[str]) -> list[tuple[Any, ...]]:
        """Return the variant's levels of the factors in a crossed design, and other levels with the same config."""
        settings = [{**self.settings, **self.declared}, *self.also]
        return [tuple(levels.get(factor) for factor in factors) for levels in settings]


def read_variant(
    plan: VariantRecord,
    compared: Mapping[str, Any],
    rows: list[dict[str, Any]],
    missing: int,
    question: tuple[str, MetricRange],
    reference: str,
    published: Published | None,
    comparable: Iterable[dict[str, Any]],
    timed: list[dict[str, Any]],
) -> Variant:
    """Return a variant with its comparison.

    Args:
        plan: the variant as it was planned.
        compared: its row of `judgement.Judgement`.
        rows: its ended cells.
        missing: its cells that have not ended.
        question: the metric, and the values that it can have.
        reference: name of the variant for comparison.
        published: the published numbers of the study.
        comparable: those of its cells whose metric may be compared.
        timed: those of its finished cells whose times may be compared.
    """
    metric, limits = question
    name = plan.name
    used = compared.get("used_seeds")  # cells that ran before their look count for nothing
    return Variant(
        name=name,
        label=label(name, plan.settings, plan.declared),
        settings=plan.settings,
        declared=plan.declared,
        also=tuple(other.levels for other in plan.also),
        config=plan.config,
        reference=reference,
        is_reference=name == reference,
        verdict=compared["verdict"],
        compared=compared,
        values={
            row["seed"]: row[metric]
            for row in comparable
            if row["status"] == "finished" and is_number(row.get(metric)) and (used is None or row["seed"] in used)
        },
        rows=rows,
        missing=missing,
        limits=limits,
        published=published.find(published_levels(plan.settings, plan.declared, plan.config), metric)
        if published
        else None,
        timed=timed,
        data_set=plan.data_set,
    )


def published_levels(
    settings: Mapping[str, Any], declared: Mapping[str, Any], config: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what published numbers are looked up by: a variant's levels, and settings that its study does not vary.

    >>> published_levels({"hash.bits": 12}, {"hash.bits": 12}, {"hash": {"bits": 12}, "model": {"backbone": "conv4"}})
    {'model.backbone': 'conv4', 'hash.bits': 12}
    """
    fixed = {path: value for path, value in flatten(config).items() if path not in settings}
    # a component of several settings goes by its own name, which no config path has
    components = {name: value for name, value in settings.items() if isinstance(value, bool)}
    return {**fixed, **components, **declared}


def label(name: str, settings: Mapping[str, Any], declared: Mapping[str, Any]) -> str:
    """Return a variant's name, with sizes that were scaled to the image in both units.

    >>> label("srem.size=5", {"srem.size": 5}, {"srem.size": 16})
    'srem.size=5 px (16 at 224)'
    """
    parts = name.split(", ")
    for factor, value in settings.items():
        part = f"{factor}={value}"
        if part in parts and scaled(factor, settings, declared):
            parts[parts.index(part)] = f"{part} px ({declared[factor]} at {SIDE})"
    return ", ".join(parts)


def scaled(factor: str, settings: Mapping[str, Any], declared: Mapping[str, Any]) -> bool:
    """Return whether a level as run differs from the declared one. Only sizes in pixels are scaled."""
    values = settings.get(factor), declared.get(factor)
    return all(isinstance(value, int) and not isinstance(value, bool) for value in values) and values[0] != values[1]


def levels(variant: Variant, left_out: Collection[str] = ()) -> str:
    """Return the variant's levels of all factors, as run and as declared.

    Args:
        variant: the variant.
        left_out: factors without which its levels are given.
    """
    parts = [f"{key}={formats.level(value)}" for key, value in variant.settings.items() if key not in left_out]
    return label(", ".join(parts), variant.settings, variant.declared)


def verdict_of(compared: Mapping[str, Any], mode: str) -> str:
    """Return the verdict of a variant that is not the reference, from its row of `statistics.compare`."""
    if compared["mean"] is None:
        return "no result"
    if compared["delta_low"] is None:
        return "no interval"
    if not compared["decided"]:
        return "undecided"
    return "better" if (compared["delta"] > 0) == (mode == "max") else "worse"
