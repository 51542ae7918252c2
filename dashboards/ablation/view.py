"""A run for its report: every planned variant with its comparison, its cost and its missing cells, read once.

Older and interrupted runs may hold less. Their values are None or empty here.
"""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from dashboards.ablation.judging.judgement import JudgedCells, Judgement, judge
from dashboards.ablation.judging.skewed import SkewedComparison, skewed_comparisons
from dashboards.ablation.variant import Variant, read_variant
from dashboards.html import formats
from dashboards.run_data import (
    Histories,
    Published,
    is_number,
    loads,
    mapping,
    metric_range,
    read_published,
    rows_of,
)
from raysearch.runs import StudyRecord, VariantRecord
from raysearch.studies.analysis import devices, looks, statistics


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
    judgement: Judgement

    @property
    def reference(self) -> Variant:
        """Return the reference of the study."""
        return self.variants[0]

    @property
    def factors(self) -> list[str]:
        """Return the names of the factors."""
        return list(self.study.factors)

    @property
    def missing(self) -> int:
        """Return the number of planned cells that have not ended; of an adaptive study up to its next look."""
        return self.judgement.missing.total()

    @property
    def planned(self) -> int:
        """Return the number of planned cells; of an adaptive study up to its next look."""
        return len(self.rows) + self.missing

    @property
    def is_provisional(self) -> bool:
        """Return whether fixed seeds were planned, and some cells of the plan have not ended."""
        return not self.study.looks and self.missing > 0

    @property
    def reached_look(self) -> int:
        """Return the number of the last look of an adaptive study that was reached; 0 if none was."""
        return max((variant.compared["look"] for variant in self.variants), default=0)

    def saved(self, variant: Variant) -> int | None:
        """Return the cells up to the last look that a variant will not need; None while it may still need them."""
        if not self.study.looks or variant.name in self.judgement.open_names:
            return None
        return max(0, self.study.looks[-1] - len(variant.rows))

    @property
    def cells_saved(self) -> int:
        """Return the cells that an adaptive study has saved so far, against all seeds of its last look."""
        return sum(self.saved(variant) or 0 for variant in self.variants)

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
    def skewed(self) -> Mapping[str, SkewedComparison]:
        """Variant -> its tests, where differences from the reference are significantly skewed."""
        variants = [variant for variant in self.variants if not variant.is_reference]
        differences = {variant.name: list(self.differences(variant).values()) for variant in variants}
        return skewed_comparisons(differences, {variant.name: self._family(variant) for variant in variants})

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

    def _family(self, variant: Variant) -> int:
        """Return how many comparisons share the level; a look of an adaptive study has a share of it."""
        whole = max(1, self.comparisons[1])
        look = variant.compared.get("look")
        return math.ceil(whole / looks.weights(self.study.looks)[look - 1]) if look else whole

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
    return read_view(study.escaped(), rows_of(table))


def read_view(study: StudyRecord, rows: list[dict[str, Any]], judgement: Judgement | None = None) -> View:
    """Return the view of rows that were read, and perhaps judged, before.

    Args:
        study: the record of the run, with control characters written out.
        rows: its ended cells.
        judgement: of all variants; None judges them.

    Raises:
        UserError: the cells must not be compared; see `statistics.compare`.
    """
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
    judgement = judgement or judge(JudgedCells(study, rows, metric, mode, references))
    published = read_published(study.published, study.data.layout)
    published_on = {
        name: read_published(study.published, of_set.data.layout) for name, of_set in study.data_sets.items()
    }
    by_variant: dict[str, list[dict[str, Any]]] = {name: [] for name in plans}
    for row in rows:
        by_variant[row["variant"]].append(row)
    limits = metric_range(metric, (row[metric] for row in rows if is_number(row.get(metric))))
    comparable = {id(row) for row in devices.comparable(rows, metric, references)}
    timed = {id(row) for row in devices.comparable(rows, "seconds", references) if row["status"] == "finished"}
    variants = tuple(
        read_variant(
            plan,
            judgement.rows[name],
            by_variant[name],
            judgement.missing[name],
            (metric, limits),
            references[name],
            published_on.get(plan.data_set or "", published),
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
    return View(study, rows, variants, metric, mode, metric_id, published, judgement)
