"""Choose the variants of a run to inspect, and the cell that represents each.

A picture shows one network, so one seed has to represent its variant. It is the seed with the median metric among the
variant's finished cells, or the lower of the two medians when their number is even. Pictures play no part in the
choice.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from raysearch.core import UserError, nearest
from raysearch.runs import StudyRecord

MAX_VARIANTS = 12  # variants of a page when the user names none


class CellChoice(NamedTuple):
    """The cell that represents a variant."""

    variant: str
    reference: str  # name of the variant that it is compared with
    seed: int
    cell: str  # its hash
    metric: str
    value: float  # of the metric, from the cell's own evaluation
    seeds: tuple[int, ...]  # of the variant's finished cells
    steps: int  # that it was trained for
    code_version: int

    @property
    def is_reference(self) -> bool:
        """Whether the variant is its own reference."""
        return self.variant == self.reference


def select_variants(record: StudyRecord, requested: Sequence[str] = ()) -> tuple[list[str], int]:
    """Select the variants to show, each after its reference.

    Args:
        record: the contents of `study.json`.
        requested: names given by the user. Without any, an ablation shows its first `MAX_VARIANTS` variants, and a
            search shows the best ones and the reference.

    Returns:
        The names, and the number of variants that were left out because there are too many.

    Raises:
        UserError: a requested variant does not exist.

    >>> variants = [{"name": name} for name in "abc"]
    >>> record = StudyRecord.model_validate({"study": "s", "reference": "a", "variants": variants, "cells": []})
    >>> select_variants(record), select_variants(record, ["c"])
    ((['a', 'b', 'c'], 0), (['a', 'c'], 0))
    """
    known = [variant.name for variant in record.variants]
    for name in requested:
        if name not in known:
            raise UserError(f"this run has no variant '{name}'{nearest(name, known)}")
    requested = requested or record.chosen_variants()
    selected = list(dict.fromkeys(requested or known))
    left_out = 0 if requested else max(0, len(selected) - MAX_VARIANTS)
    selected = selected[: len(selected) - left_out]
    with_references = (name for variant in selected for name in (reference_of(record, variant), variant))
    return list(dict.fromkeys(with_references)), left_out


def reference_of(record: StudyRecord, variant: str) -> str:
    """Return the name of the variant that a variant is compared with.

    Args:
        record: the contents of `study.json`.
        variant: name of a variant.
    """
    return record.references.get(variant, str(record.reference))


def choose_cell(
    record: StudyRecord, rows: Iterable[Mapping[str, Any]], variant: str, seed: int | None = None
) -> CellChoice:
    """Choose the cell that represents a variant.

    Args:
        record: the contents of `study.json`.
        rows: the run's results, one mapping per cell.
        variant: name of an existing variant.
        seed: the seed to show; None chooses the one with the median metric.

    Raises:
        UserError: the variant has no finished cell, or none with this seed, or the cell lacks what every run records.
    """
    metric = record.metric or "map"
    finished = _by_metric(rows, variant, metric)
    if not finished:
        raise UserError(f"variant '{variant}' has no finished cell to show; run the study to its end")
    seeds = tuple(sorted(row["seed"] for row in finished))
    if seed is not None and seed not in seeds:
        available = ", ".join(map(str, seeds))
        raise UserError(f"variant '{variant}' has no finished cell with seed {seed}; choose one of {available}")
    median = finished[(len(finished) - 1) // 2]
    row = next((row for row in finished if row["seed"] == seed), median)
    try:
        steps = len(json.loads(row["history"]))
        code_version = int(row["code_version"])
    except (KeyError, TypeError, ValueError, RecursionError):
        raise UserError(
            f"cell {row['cell']} of variant '{variant}' lacks its history or its version; remove its file in cells/ to "
            "run it again"
        ) from None
    return CellChoice(
        variant=variant,
        reference=reference_of(record, variant),
        seed=row["seed"],
        cell=row["cell"],
        metric=metric,
        value=row[metric],
        seeds=seeds,
        steps=steps,
        code_version=code_version,
    )


def may_represent(
    record: StudyRecord, rows: Iterable[Mapping[str, Any]], variant: str, remaining: int
) -> frozenset[str]:
    """Return the finished cells that may be the choice of `choose_cell` when a variant's other cells have ended.

    Each of these may finish with any metric, or fail.

    Args:
        record: the contents of `study.json`.
        rows: the run's results, one mapping per cell.
        variant: name of an existing variant.
        remaining: number of the variant's cells that have not ended.

    >>> record = StudyRecord.model_validate({"study": "s", "variants": [], "cells": []})
    >>> rows = [{"variant": "a", "status": "finished", "seed": s, "cell": str(s), "map": s} for s in range(4)]
    >>> [sorted(may_represent(record, rows, "a", remaining)) for remaining in (0, 1)]
    [['1'], ['1', '2']]
    """
    ordered = _by_metric(rows, variant, record.metric or "map")
    chosen: set[str] = set()
    for added in range(remaining + 1):
        median = (len(ordered) + added - 1) // 2
        # Between none and all of the added values are lower than a known one.
        chosen |= {row["cell"] for row in ordered[max(0, median - added) : median + 1]}
    return frozenset(chosen)


def _by_metric(rows: Iterable[Mapping[str, Any]], variant: str, metric: str) -> list[Mapping[str, Any]]:
    """Return the finished cells of a variant that have a metric, in its order."""
    cells = [row for row in rows if row["variant"] == variant and row["status"] == "finished"]
    return sorted((row for row in cells if row.get(metric) is not None), key=lambda row: (row[metric], row["seed"]))
