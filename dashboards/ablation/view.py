"""A run as its report sees it: every planned variant with its comparison, cost and holes, read once.

Whatever an older or an interrupted run does not hold is missing here and fails nothing.
"""

import functools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from dashboards.html import formats
from dashboards.run_data.published import Published, read
from dashboards.run_data.result_rows import Histories, history, is_number, loads, mapping, mean, rows_of, typed
from raysearch.runs.study_record import StudyRecord, VariantRecord
from raysearch.studies.analysis import statistics

SIDE = 224  # the image side that a study declares its pixel sizes for


@dataclass(frozen=True)
class Variant:
    """A variant's row. Numbers are None where nothing could be computed."""

    name: str
    label: str  # the name with pixel sizes as run and as declared
    settings: Mapping[str, Any]
    declared: Mapping[str, Any]
    also: tuple[Mapping[str, Any], ...]  # other levels of the factors that give the same config
    config: Mapping[str, Any]
    reference: str  # name of the variant that it is compared with
    is_reference: bool
    verdict: str  # "reference", "better", "worse", "undecided", "no interval" or "no result"
    compared: Mapping[str, Any]  # the row of statistics.compare
    values: Mapping[int, float]  # metric by seed, of finished cells
    rows: list[dict[str, Any]]  # its ended cells
    missing: int
    published: tuple[float, str] | None  # value and table

    @property
    def planned(self) -> int:
        return len(self.rows) + self.missing

    @property
    def finished(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["status"] == "finished"]

    @functools.cached_property
    def seconds(self) -> float | None:
        """Mean of the finished cells."""
        return mean(row.get("seconds") for row in self.finished)

    @functools.cached_property
    def epochs(self) -> float | None:
        """Mean of the finished cells."""
        return mean(row.get("epochs") for row in self.finished)

    @property
    def gpu_hours(self) -> float:
        """Of all ended cells, whatever became of them: that is what was paid for."""
        return sum(row.get("gpu_seconds") or 0.0 for row in self.rows) / 3600

    @functools.cached_property
    def erased(self) -> float | None:
        """Mean share of the image erased in the last iteration."""
        texts = [row["history"] for row in self.finished if row.get("history")]
        last = [(history(text) or [{}])[-1] for text in texts if "erased_fraction" in text]
        shares = [step.get("erased_fraction") for step in last]
        return mean(share for share in shares if isinstance(share, int | float))

    @property
    def less_published(self) -> float | None:
        """The measured mean less the published number."""
        measured = self.compared["mean"]
        return None if measured is None or self.published is None else measured - self.published[0]

    @property
    def holes(self) -> int:
        return self.compared["failed"] + self.compared["stopped"] + self.missing

    def level(self, factor: str) -> Any:
        """The factor's level in the study file's units; as run where the study file's is not known."""
        return self.declared.get(factor, self.settings.get(factor))

    def places(self, factors: Iterable[str]) -> list[tuple[Any, ...]]:
        """Where the variant stands in a crossed design: its levels of the factors, and those of the same config."""
        known = [{**self.settings, **self.declared}, *self.also]
        return [tuple(levels.get(factor) for factor in factors) for levels in known]


@dataclass(frozen=True)
class View:
    """What the page, the tables and the terminal are made from."""

    study: StudyRecord
    rows: list[dict[str, Any]]  # a row an ended cell
    variants: tuple[Variant, ...]  # the reference first, then as planned
    metric: str
    mode: str
    metric_id: str
    published: Published | None
    missing: int  # planned cells that have not ended

    @property
    def reference(self) -> Variant:
        return self.variants[0]

    @property
    def factors(self) -> list[str]:
        return list(self.study.factors)

    @property
    def planned(self) -> int:
        return len(self.rows) + self.missing

    def status(self, name: str) -> int:
        """How many cells ended as `name`."""
        return sum(row["status"] == name for row in self.rows)

    @functools.cached_property
    def histories(self) -> "Histories":
        """Variant -> a history (a dict an iteration) per finished cell; variants without any are left out."""
        return Histories((one.name, one.rows) for one in self.variants)

    @functools.cached_property
    def named(self) -> Mapping[str, Variant]:
        """Variants by name."""
        return {one.name: one for one in self.variants}

    @property
    def refusals(self) -> list[str]:
        """Why variants have no interval, each reason once, those with the most seeds first."""
        reasons = {one.compared["refused"]: one.compared["seeds"] for one in self.variants if one.values}
        return [reason for reason, _ in sorted(reasons.items(), key=lambda item: -item[1]) if reason]

    def differences(self, one: Variant) -> dict[int, float]:
        """Seed -> a variant's metric less its reference's, of seeds that both finished; none for a reference."""
        other = {} if one.is_reference else self.named[one.reference].values
        return {seed: value - other[seed] for seed, value in one.values.items() if seed in other}


def view(study: StudyRecord, table: pa.Table) -> View:
    """Put a run together from `study.json` and its results.

    Raises:
        UserError: cells that must not be compared, as `statistics.compare` says.
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
    compared = _compare(rows, plans, metric, references)
    numbers = read(study.published)
    ended = {(row["variant"], row["seed"]) for row in rows}
    absent = Counter(cell.variant for cell in study.cells if (cell.variant, cell.seed) not in ended)
    by_variant: dict[str, list[dict[str, Any]]] = {name: [] for name in plans}
    for row in rows:
        by_variant[row["variant"]].append(row)
    variants = tuple(
        _variant(plan, compared[name], by_variant[name], absent[name], (metric, mode, references[name]), numbers)
        for name, plan in plans.items()
    )
    texts = dict.fromkeys(row.get("metric_ids") for row in rows)
    ids = list(dict.fromkeys(str(found[metric]) for text in texts if metric in (found := mapping(loads(text)))))
    # of blocks with a protocol each, as 1 and 5 shots, the cells know the ids and the study only the first
    metric_id = " and ".join(ids) if len(ids) > 1 else study.metric_id or next(iter(ids), metric)
    return View(study, rows, variants, metric, mode, metric_id, numbers, absent.total())


def _compare(
    rows: list[dict], names: Iterable[str], metric: str, reference: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """The comparison, with an empty row for each variant that has no ended cell, the reference among them."""
    kinds = {"variant": pa.string(), "seed": pa.int64(), "status": pa.string(), "config": pa.string()}
    kinds |= {"metric_ids": pa.string(), metric: pa.float64()}
    planned: list[dict] = [{"variant": name, "status": "planned"} for name in names]
    table = typed(planned + rows, kinds)
    return {row["variant"]: row for row in statistics.compare(table, metric, reference).to_pylist()}


def _variant(
    plan: VariantRecord,
    compared: Mapping[str, Any],
    rows: list[dict[str, Any]],
    missing: int,
    question: tuple[str, str, str],
    numbers: Published | None,
) -> Variant:
    metric, mode, reference = question
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
        values={row["seed"]: row[metric] for row in rows if row["status"] == "finished" and is_number(row.get(metric))},
        rows=rows,
        missing=missing,
        published=numbers.find(levels, metric) if numbers else None,
    )


def label(name: str, settings: Mapping[str, Any], declared: Mapping[str, Any]) -> str:
    """A variant's name, with sizes that were scaled to the image told both ways.

    >>> label("srem.size=5", {"srem.size": 5}, {"srem.size": 16})
    'srem.size=5 px (16 at 224)'
    """
    words = name.split(", ")
    for factor, value in settings.items():
        word = f"{factor}={value}"
        if word in words and scaled(factor, settings, declared):
            words[words.index(word)] = f"{word} px ({declared[factor]} at {SIDE})"
    return ", ".join(words)


def scaled(factor: str, settings: Mapping[str, Any], declared: Mapping[str, Any]) -> bool:
    """Whether a level ran as another number than the study file says, which only sizes in pixels do."""
    values = settings.get(factor), declared.get(factor)
    return all(isinstance(value, int) and not isinstance(value, bool) for value in values) and values[0] != values[1]


def levels(variant: Variant) -> str:
    """The variant's levels of all factors, as run and as declared."""
    words = [f"{key}={formats.level(value)}" for key, value in variant.settings.items()]
    return label(", ".join(words), variant.settings, variant.declared)


def verdict_of(compared: Mapping[str, Any], mode: str) -> str:
    """What a row of `statistics.compare` says of a variant that is not the reference."""
    if compared["mean"] is None:
        return "no result"
    if compared["delta_low"] is None:
        return "no interval"
    if not compared["decided"]:
        return "undecided"
    return "better" if (compared["delta"] > 0) == (mode == "max") else "worse"
