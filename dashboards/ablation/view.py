"""A run for its report: every planned variant with its comparison, its cost and its missing cells, read once.

Older and interrupted runs may hold less. Their values are None or empty here.
"""

import functools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from dashboards.html import formats
from dashboards.run_data import (
    Histories,
    MetricRange,
    Published,
    history,
    is_number,
    loads,
    mapping,
    mean,
    metric_range,
    read_published,
    rows_of,
    typed,
)
from raysearch.runs import StudyRecord, VariantRecord
from raysearch.studies.analysis import devices, statistics

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
    verdict: str  # "reference", "better", "worse", "undecided", "no interval" or "no result"
    compared: Mapping[str, Any]  # the row of statistics.compare
    values: Mapping[int, float]  # metric by seed, of finished cells
    rows: list[dict[str, Any]]  # its ended cells
    missing: int
    limits: MetricRange  # values that the metric can have
    published: tuple[float, str] | None  # value and table
    timed: list[dict[str, Any]]  # its finished cells on the device on which times are compared

    @property
    def mean_interval(self) -> tuple[float | None, float | None]:
        """Return the interval of the mean, cut where the metric cannot go."""
        return self.limits.cut(self.compared["ci_low"], self.compared["ci_high"])

    @property
    def planned(self) -> int:
        """Return the number of planned cells."""
        return len(self.rows) + self.missing

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

    def level(self, factor: str) -> Any:
        """Return the factor's level in the study file's units, or as run if that is not recorded."""
        return self.declared.get(factor, self.settings.get(factor))

    def places(self, factors: Iterable[str]) -> list[tuple[Any, ...]]:
        """Return the variant's levels of the factors in a crossed design, and other levels with the same config."""
        settings = [{**self.settings, **self.declared}, *self.also]
        return [tuple(levels.get(factor) for factor in factors) for levels in settings]


@dataclass(frozen=True)
class View:
    """The data behind the page, the tables and the terminal."""

    study: StudyRecord
    rows: list[dict[str, Any]]  # one per ended cell
    variants: tuple[Variant, ...]  # the reference first, then as planned
    metric: str
    mode: str
    metric_id: str
    published: Published | None
    missing: int  # planned cells that have not ended

    @property
    def reference(self) -> Variant:
        """Return the reference of the study."""
        return self.variants[0]

    @property
    def factors(self) -> list[str]:
        """Return the names of the factors."""
        return list(self.study.factors)

    @property
    def planned(self) -> int:
        """Return the number of planned cells."""
        return len(self.rows) + self.missing

    def status(self, name: str) -> int:
        """Return the number of cells that ended with a status."""
        return sum(row["status"] == name for row in self.rows)

    @functools.cached_property
    def histories(self) -> "Histories":
        """Return variant -> a history (one dict per iteration) per finished cell; without variants that have none."""
        return Histories((variant.name, variant.rows) for variant in self.variants)

    @property
    def cut_note(self) -> str:
        """Return a sentence if an interval of a mean was cut where the metric cannot go; else nothing."""
        cut = (v.limits.exceeded(v.compared["ci_low"], v.compared["ci_high"]) for v in self.variants)
        return self.reference.limits.note if any(cut) else ""

    @functools.cached_property
    def comparisons(self) -> tuple[int, int]:
        """Return how many comparisons this run has, and how many the whole study has: the family of the correction."""
        here = sum(not variant.is_reference for variant in self.variants)
        return here, max(here, self.study.comparisons or 0)

    @property
    def family_note(self) -> str:
        """Return a sentence if this run is a part of its study, whose comparisons the p-values are corrected over."""
        here, whole = self.comparisons
        return f"{here} of the study's {formats.count(whole, 'comparison')}" if here < whole else ""

    @functools.cached_property
    def step(self) -> float:
        """Return the step of the metric; 0.0 if none is known."""
        return statistics.metric_step(self.rows, self.metric)

    @functools.cached_property
    def named(self) -> Mapping[str, Variant]:
        """Return the variants by name."""
        return {variant.name: variant for variant in self.variants}

    @property
    def refusals(self) -> list[str]:
        """Why variants have no interval, each reason once, those with the most seeds first."""
        reasons = {
            variant.compared["refused"]: variant.compared["seeds"] for variant in self.variants if variant.values
        }
        return [reason for reason, _ in sorted(reasons.items(), key=lambda item: -item[1]) if reason]

    @functools.cached_property
    def references(self) -> dict[str, str]:
        """Variant -> the variant that it is compared with."""
        return {variant.name: variant.reference for variant in self.variants}

    @functools.cached_property
    def devices_note(self) -> str:
        """A line if cells that are compared ran on different kinds of devices; else nothing."""
        return devices.mixed_sentence(self.rows, self.metric, self.references)

    @functools.cached_property
    def times_note(self) -> str:
        """A sentence if mean times leave out cells, since they ran on another kind of device; else nothing."""
        timed = devices.comparable(self.rows, "seconds", self.references)
        names = sorted({devices.device_of(row) for row in timed if row["status"] == "finished"})
        left_out = len(self.rows) - len(timed)
        return f"Means are of cells on {formats.listed(names)}, without {left_out:,} on others." if left_out else ""

    def differences(self, variant: Variant) -> dict[int, float]:
        """Return seed -> the variant's metric minus its reference's, for seeds that both finished."""
        other = {} if variant.is_reference else self.named[variant.reference].values
        return {seed: value - other[seed] for seed, value in variant.values.items() if seed in other}


def view(study: StudyRecord, table: pa.Table) -> View:
    """Return the view of a run.

    Args:
        study: the record of the run.
        table: the run's results, as `results.load` returns them.

    Raises:
        UserError: the cells must not be compared; see `statistics.compare`.
    """
    study = study.escaped()
    rows = rows_of(table)
    metric = study.metric or "map"
    mode = study.mode or "max"
    plans = {variant.name: variant for variant in study.variants}
    unplanned = dict.fromkeys(row["variant"] for row in rows if row["variant"] not in plans)
    plans |= {name: VariantRecord(name=name) for name in unplanned}
    reference = study.reference or next(iter(plans), "reference")
    plans = {reference: plans.get(reference, VariantRecord(name=reference))} | plans
    references = dict.fromkeys(plans, reference) | {
        name: other for name, other in study.references.items() if name in plans and other in plans
    }
    compared = _compare(rows, plans, metric, references, study.comparisons)
    published = read_published(study.published, study.data.layout)
    ended = {(row["variant"], row["seed"]) for row in rows}
    absent = Counter(cell.variant for cell in study.cells if (cell.variant, cell.seed) not in ended)
    by_variant: dict[str, list[dict[str, Any]]] = {name: [] for name in plans}
    for row in rows:
        by_variant[row["variant"]].append(row)
    limits = metric_range(metric, (row[metric] for row in rows if is_number(row.get(metric))))
    question = (metric, mode, limits)
    comparable = {id(row) for row in devices.comparable(rows, metric, references)}
    timed = {id(row) for row in devices.comparable(rows, "seconds", references) if row["status"] == "finished"}
    variants = tuple(
        _variant(
            plan,
            compared[name],
            by_variant[name],
            absent[name],
            question,
            references[name],
            published,
            [row for row in by_variant[name] if id(row) in comparable],
            [row for row in by_variant[name] if id(row) in timed],
        )
        for name, plan in plans.items()
    )
    texts = dict.fromkeys(row.get("metric_ids") for row in rows)
    ids_by_metric = [mapping(loads(text)) for text in texts]
    ids = list(dict.fromkeys(str(ids[metric]) for ids in ids_by_metric if metric in ids))
    # Variants may have different protocols, such as 1 and 5 shots. The study records one id, the cells record all.
    metric_id = " and ".join(ids) or study.metric_id or metric
    return View(study, rows, variants, metric, mode, metric_id, published, absent.total())


def _compare(
    rows: list[dict], names: Iterable[str], metric: str, reference: Mapping[str, str], comparisons: int | None
) -> dict[str, dict[str, Any]]:
    """Return the comparison by variant; a variant without an ended cell has an empty row."""
    types = {"variant": pa.string(), "seed": pa.int64(), "status": pa.string(), "config": pa.string()}
    types |= {"metric_ids": pa.string(), "metric_steps": pa.string(), "device": pa.string()}
    types |= {"gpu_seconds": pa.float64(), metric: pa.float64()}
    planned: list[dict] = [{"variant": name, "status": "planned"} for name in names]
    table = typed(planned + rows, types)
    return {row["variant"]: row for row in statistics.compare(table, metric, reference, comparisons).to_pylist()}


def _variant(
    plan: VariantRecord,
    compared: Mapping[str, Any],
    rows: list[dict[str, Any]],
    missing: int,
    question: tuple[str, str, MetricRange],
    reference: str,
    published: Published | None,
    comparable: list[dict[str, Any]],
    timed: list[dict[str, Any]],
) -> Variant:
    metric, mode, limits = question
    name = plan.name
    # a component of several settings goes by its own name, which no config path has
    levels = {**{key: value for key, value in plan.settings.items() if isinstance(value, bool)}, **plan.declared}
    return Variant(
        name=name,
        label=label(name, plan.settings, plan.declared),
        settings=plan.settings,
        declared=plan.declared,
        also=tuple(other.levels for other in plan.also),
        config=plan.config,
        reference=reference,
        is_reference=name == reference,
        verdict="reference" if name == reference else verdict_of(compared, mode),
        compared=compared,
        values={
            row["seed"]: row[metric] for row in comparable if row["status"] == "finished" and is_number(row.get(metric))
        },
        rows=rows,
        missing=missing,
        limits=limits,
        published=published.find(levels, metric) if published else None,
        timed=timed,
    )


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


def levels(variant: Variant) -> str:
    """Return the variant's levels of all factors, as run and as declared."""
    parts = [f"{key}={formats.level(value)}" for key, value in variant.settings.items()]
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
