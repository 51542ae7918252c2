"""Which variants of a run are shown, and which of a variant's seeds stands for it.

A picture shows one network, so one seed has to be chosen, and not for its pictures: the one whose metric is the median
of the variant's finished cells (of an even number the lower of the two in the middle).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from raysearch.core.errors import UserError, nearest
from raysearch.runs.study_record import StudyRecord

MOST = 12  # variants of a page, where none are asked for


class CellChoice(NamedTuple):
    """A cell that stands for its variant."""

    variant: str
    reference: str  # name of the variant that it is compared with
    seed: int
    cell: str  # its hash
    metric: str
    value: float  # of the metric, as the cell's evaluation gave it
    seeds: tuple[int, ...]  # of the variant's finished cells
    steps: int  # that it was trained for
    code_version: int

    @property
    def is_reference(self) -> bool:
        return self.variant == self.reference


def names(record: StudyRecord, asked: Sequence[str] = ()) -> tuple[list[str], int]:
    """The variants to show, each after its reference, and how many were left out because nobody asked for them.

    Args:
        record: what `study.json` holds.
        asked: by the user. Without: of an ablation all, up to `MOST`; of a search the best and the reference.

    Raises:
        UserError: no such variant.

    >>> variants = [{"name": name} for name in "abc"]
    >>> record = StudyRecord.model_validate({"study": "s", "reference": "a", "variants": variants, "cells": []})
    >>> names(record), names(record, ["c"])
    ((['a', 'b', 'c'], 0), (['a', 'c'], 0))
    """
    known = [variant.name for variant in record.variants]
    for name in asked:
        if name not in known:
            raise UserError(f"this run has no variant '{name}'{nearest(name, known)}")
    if record.kind == "search" and not asked:
        asked = [str(record.reference), *(best.variant for best in record.best if best.variant)]
    wanted = list(dict.fromkeys(asked or known))
    left_out = 0 if asked else max(0, len(wanted) - MOST)
    wanted = wanted[: len(wanted) - left_out]
    with_references = (one for name in wanted for one in (reference_of(record, name), name))
    return list(dict.fromkeys(with_references)), left_out


def reference_of(record: StudyRecord, variant: str) -> str:
    """The variant that a variant is compared with."""
    return record.references.get(variant, str(record.reference))


def choose(record: StudyRecord, rows: Iterable[Mapping[str, Any]], variant: str, seed: int | None = None) -> CellChoice:
    """The cell that stands for a variant.

    Args:
        record: what `study.json` holds.
        rows: of the run's results.
        variant: name of a known one.
        seed: the user's; None for the median one.

    Raises:
        UserError: no finished cell of the variant, or none of the seed.
    """
    metric = record.metric or "map"
    own = [row for row in rows if row["variant"] == variant and row["status"] == "finished"]
    finished = sorted((row for row in own if row.get(metric) is not None), key=lambda row: (row[metric], row["seed"]))
    if not finished:
        raise UserError(f"variant '{variant}' has no finished cell, so there is nothing to show of it")
    seeds = tuple(sorted(row["seed"] for row in finished))
    if seed is not None and seed not in seeds:
        known = ", ".join(map(str, seeds))
        raise UserError(f"variant '{variant}' has no finished cell with seed {seed}; it has {known}")
    row = next((row for row in finished if row["seed"] == seed), finished[(len(finished) - 1) // 2])
    steps, reference = len(json.loads(row["history"])), reference_of(record, variant)
    return CellChoice(
        variant, reference, row["seed"], row["cell"], metric, row[metric], seeds, steps, row["code_version"]
    )
