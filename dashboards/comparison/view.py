"""Runs side by side as their page sees them: what each found, and each later run's variants held against the first's.

A variant of a later run is held against the variant of its name in the first run, and, where that has another config,
also against the one with the very same config, whatever it is called. Of a search only the judging counts: the cells
that chose a config are the lucky ones.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dashboards.ablation.view import Variant, View, view
from dashboards.comparison import compatibility
from dashboards.run_data.config_diff import between, words
from dashboards.search.final_evaluation import BEST, REFERENCE, judging_metric
from raysearch.core import sanitize
from raysearch.core.errors import UserError
from raysearch.runs import results
from raysearch.runs.study_record import StudyRecord, VariantRecord
from raysearch.studies.analysis import run_differences

SAME_CELLS = "same cells"


@dataclass(frozen=True)
class Match:
    """A variant of a later run beside one of the first run."""

    run: str  # what the later run is called
    own: Variant
    other: Variant  # of the first run
    changes: list[str]  # "train.lr: 0.01 → 0.1", of the config; empty where it is the same
    difference: run_differences.Difference  # own less other
    verdict: str  # "better", "worse", "undecided", "no interval", "no result" or "same cells"

    @property
    def label(self) -> str:
        """The variant's name, both where they differ."""
        return self.own.label if self.own.name == self.other.name else f"{self.own.label} (there {self.other.label})"


@dataclass(frozen=True)
class Comparison:
    """What the page, the tables and the terminal are made from."""

    runs: Mapping[str, View]  # by what they are called, as they were given
    matches: tuple[Match, ...]

    @property
    def first(self) -> str:
        return next(iter(self.runs))

    @property
    def one(self) -> View:
        """The run that the others are held against."""
        return self.runs[self.first]

    @property
    def names(self) -> list[str]:
        """All variants' names, each once."""
        return list(dict.fromkeys(one.name for run in self.runs.values() for one in run.variants))

    def ids(self) -> list[str]:
        return sorted(set().union(*map(compatibility.ids, self.runs.values())))


def read(directories: Sequence[str | Path]) -> Comparison:
    """Read runs and hold the later ones against the first.

    Raises:
        UserError: fewer than two runs, one given twice, not a run directory, or runs that must not be compared.
    """
    paths = [Path(one) for one in directories]
    if len(paths) < 2:
        raise UserError("a comparison needs two runs or more")
    resolved = [path.resolve() for path in paths]
    for index, path in enumerate(resolved):
        if path in resolved[:index]:
            raise UserError(f"'{paths[index]}' is given twice; a run compared with itself differs in nothing")
    runs = {
        name: _read(path) for name, path in zip(map(sanitize.escape_controls, called(resolved)), paths, strict=True)
    }
    compatibility.check(runs)
    return Comparison(runs, tuple(_matches(runs)))


def called(paths: Sequence[Path]) -> list[str]:
    """What runs are called: their directory, with as many of its parents as tell them apart.

    >>> called([Path("/a/srem/small"), Path("/a/srem/large")]), called([Path("/a/x/run"), Path("/a/y/run")])
    (['small', 'large'], ['x/run', 'y/run'])
    """
    for parts in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return names


def _read(path: Path) -> View:
    study, table = results.read_study(path), results.load(path)
    return view(*(_judging(study, table) if study.get("kind") == "search" else (study, table)))


def _judging(study: StudyRecord, table: pa.Table) -> tuple[StudyRecord, pa.Table]:
    """A search as if its judging were all of it: a reference and a best config, or both of each group."""
    cells = [cell for cell in study.cells if cell.stage == "judge"]
    names = dict.fromkeys(cell.variant for cell in cells)
    known = {variant.name: variant for variant in study.variants}
    references = {name: REFERENCE + name.removeprefix(BEST) for name in names if name.startswith(BEST)}
    changes = {
        "metric": judging_metric(study),
        "mode": study.judge_mode or "max",
        "variants": [known.get(name, VariantRecord(name=name)) for name in names],
        "cells": cells,
        "reference": next((name for name in names if name.startswith(REFERENCE)), REFERENCE),
        "references": {name: other for name, other in references.items() if other in names},
        "seeds": sorted({cell.seed for cell in cells}),
        "factors": [],
    }
    judging = study.model_copy(update=changes)
    if "stage" not in table.column_names:
        return judging, table.slice(0, 0)
    return judging, table.filter(pc.equal(table["stage"], "judge"))


def _matches(runs: Mapping[str, View]) -> list[Match]:
    (_, first), *others = runs.items()
    pairs = [(name, own, other) for name, run in others for own, other in _pairs(first, run)]
    compared = [pair for pair in pairs if not _same_cells(*pair[1:])]
    found = iter(run_differences.differences([(own.values, other.values) for _, own, other in compared]))
    matches = []
    for pair in pairs:
        name, own, other = pair
        change = words(between(compatibility.config_of(other), compatibility.config_of(own)))
        if _same_cells(own, other):
            seeds = len(own.values.keys() & other.values.keys())
            same = run_differences.Difference("none", (seeds, seeds), 0.0, None, None, None)
            matches.append(Match(name, own, other, change, same, SAME_CELLS))
        else:
            difference = next(found)
            matches.append(Match(name, own, other, change, difference, _verdict(difference, first.mode)))
    return matches


def _pairs(first: View, run: View) -> list[tuple[Variant, Variant]]:
    """A run's variants beside the first run's, those of one definition of the metric."""
    by_name = {one.name: one for one in first.variants}
    by_config = {_config(one): one for one in first.variants if compatibility.config_of(one)}
    pairs = []
    for own in run.variants:
        named, alike = by_name.get(own.name), by_config.get(_config(own))
        if named is not None and alike is not None and _config(named) == _config(own):
            alike = None  # the name says it already
        for other in dict.fromkeys(one.name for one in (named, alike) if one is not None):
            ids = {compatibility.id_of(one, run.metric) for one in (own, by_name[other])} - {None}
            if len(ids) < 2:
                pairs.append((own, by_name[other]))
    return pairs


def _config(variant: Variant) -> str:
    return json.dumps(compatibility.config_of(variant), sort_keys=True)


def _same_cells(own: Variant, other: Variant) -> bool:
    """Whether what both have finished is one and the same: a study that lay beside another took over its cells."""
    cells = [{row["seed"]: row["cell"] for row in one.rows if row["status"] == "finished"} for one in (own, other)]
    common = cells[0].keys() & cells[1].keys()
    return bool(common) and all(cells[0][seed] == cells[1][seed] for seed in common)


def _verdict(difference: run_differences.Difference, mode: str) -> str:
    if difference.delta is None:
        return "no result"
    if difference.low is None:
        return "no interval"
    if not difference.decided:
        return "undecided"
    return "better" if (difference.delta > 0) == (mode == "max") else "worse"
