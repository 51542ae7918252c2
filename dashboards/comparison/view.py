"""Runs side by side as their page shows them: each run, and the later runs' variants matched with the first run's.

A variant of a later run is matched with the variant of the same name in the first run. If that has another config, the
variant is also matched with the one that has the same config under another name. Of a search only the final evaluation
is compared, because the seeds that chose a config favor it.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dashboards.ablation.config_diff import between, words
from dashboards.ablation.judging import rule_words
from dashboards.ablation.variant import Variant
from dashboards.ablation.view import View
from dashboards.comparison import compatibility
from dashboards.html import verdicts
from dashboards.report import report_kind
from raysearch.core import UserError, sanitize
from raysearch.runs import results
from raysearch.studies.analysis import devices, metric_step, run_differences

SAME_CELLS = "same cells"


@dataclass(frozen=True)
class Match:
    """A variant of a later run with a variant of the first run, its baseline."""

    run: str  # name of the later run
    variant: Variant
    baseline: Variant
    changes: list[str]  # "train.lr: 0.01 → 0.1", from the baseline's config; empty if the configs are equal
    difference: run_differences.Difference  # variant minus baseline
    verdict: str  # "better", "worse", either with " so far", "undecided", "no interval", "no result" or "same cells"

    @property
    def label(self) -> str:
        """The variant's name, with the baseline's if it differs."""
        if self.variant.name == self.baseline.name:
            return self.variant.label
        return f"{self.variant.label} (there {self.baseline.label})"


@dataclass(frozen=True)
class Comparison:
    """The data behind the page, the tables and the terminal output of a comparison."""

    runs: Mapping[str, View]  # by name, in the order given
    matches: tuple[Match, ...]

    @property
    def first_name(self) -> str:
        """Name of the run that the others are compared with."""
        return next(iter(self.runs))

    @property
    def first_run(self) -> View:
        """The run that the others are compared with."""
        return self.runs[self.first_name]

    @property
    def variant_names(self) -> list[str]:
        """Names of the variants of all runs, each once."""
        return list(dict.fromkeys(variant.name for run in self.runs.values() for variant in run.variants))

    @functools.cached_property
    def devices_note(self) -> str:
        """A line if cells that are compared ran on different kinds of devices; else nothing."""
        rows: list[dict[str, Any]] = []
        references: dict[str, str] = {}
        for match in self.matches:
            baseline = f"{self.first_name}/{match.baseline.name}"
            name = f"{match.run}/{match.variant.name} against {match.baseline.name}"
            if baseline not in references:
                rows += [{**row, "variant": baseline} for row in match.baseline.rows]
            if match.verdict != SAME_CELLS:
                rows += [{**row, "variant": name} for row in match.variant.rows]
            references |= {baseline: baseline, name: baseline}
        return devices.mixed_sentence(rows, self.first_run.metric, references)

    @property
    def is_provisional(self) -> bool:
        """Whether cells of a run have not ended, so that no difference is decided."""
        return any(run.missing for run in self.runs.values())

    @property
    def rule_notes(self) -> list[str]:
        """What a reader must know of the verdicts, without a full stop; nothing for runs of simple, complete plans."""
        notes = []
        for name, run in self.runs.items():
            if run.missing:
                notes.append(f"{name} is not complete: {rule_words.unended(run)}, so no difference is decided")
            if run.study.looked:
                notes.append(f"{name}: {rule_words.looked_text(run)}; levels are not corrected for that")
            if run.study.looks:
                notes.append(
                    f"{name} is adaptive: its results chose its numbers of seeds, and differences between runs are "
                    "not corrected for that"
                )
        return notes

    @property
    def metric_ids(self) -> list[str]:
        """Ids of the metric in all runs, sorted."""
        return sorted(set().union(*map(compatibility.metric_ids, self.runs.values())))


def read_comparison(directories: Sequence[str | Path]) -> Comparison:
    """Read runs, and match the later ones with the first.

    Args:
        directories: the directories of the runs.

    Raises:
        UserError: fewer than two runs, one given twice, not a run directory, or runs that cannot be compared.
    """
    paths = [Path(directory) for directory in directories]
    if len(paths) < 2:
        raise UserError("a comparison needs at least two runs; name another run directory")
    resolved = [path.resolve() for path in paths]
    for index, path in enumerate(resolved):
        if path in resolved[:index]:
            raise UserError(f"'{paths[index]}' is given twice; name each run once")
    names = map(sanitize.escape_controls, run_names(resolved))
    runs = {name: _read_run(path) for name, path in zip(names, paths, strict=True)}
    compatibility.check_comparable(runs)
    return Comparison(runs, tuple(_match_runs(runs)))


def run_names(paths: Sequence[Path]) -> list[str]:
    """Name runs by their directories, with as many parents as needed to make the names different.

    >>> run_names([Path("/a/srem/small"), Path("/a/srem/large")]), run_names([Path("/a/x/run"), Path("/a/y/run")])
    (['small', 'large'], ['x/run', 'y/run'])
    """
    for parts in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return names


def _read_run(path: Path) -> View:
    study = results.read_study(path)
    return report_kind(study).compared_view(study, results.load(path))


def _match_runs(runs: Mapping[str, View]) -> list[Match]:
    (_, first), *others = runs.items()
    pairs = [(name, variant, baseline) for name, run in others for variant, baseline in _match_variants(first, run)]
    tested = [(variant, baseline) for _, variant, baseline in pairs if not _same_cells(variant, baseline)]
    values = [_values(variant, baseline, first.metric) for variant, baseline in tested]
    steps = [metric_step(variant.rows + baseline.rows, first.metric) for variant, baseline in tested]
    differences = iter(run_differences.differences(values, steps))
    is_provisional = any(run.missing for run in runs.values())
    matches = []
    for name, variant, baseline in pairs:
        changes = words(between(compatibility.flat_config(baseline), compatibility.flat_config(variant)))
        if _same_cells(variant, baseline):
            seeds = len(variant.values.keys() & baseline.values.keys())
            difference = run_differences.Difference("none", (seeds, seeds), 0.0, None, None, None)
            verdict = SAME_CELLS
        else:
            difference = next(differences)
            verdict = _verdict(difference, first.mode)
            verdict = verdicts.provisional(verdict) if is_provisional else verdict
        matches.append(Match(name, variant, baseline, changes, difference, verdict))
    return matches


def _values(variant: Variant, baseline: Variant, metric: str) -> tuple[dict[int, float], dict[int, float]]:
    """Return the metric by seed of both; of a time only on the device that finished most of their cells."""
    comparable = {id(row) for row in devices.comparable([*variant.rows, *baseline.rows], metric)}
    seeds, baseline_seeds = (
        {row["seed"] for row in member.rows if id(row) in comparable} for member in (variant, baseline)
    )
    return (
        {seed: value for seed, value in variant.values.items() if seed in seeds},
        {seed: value for seed, value in baseline.values.items() if seed in baseline_seeds},
    )


def _match_variants(first: View, run: View) -> list[tuple[Variant, Variant]]:
    """Match a run's variants with the first run's, if the definitions of their metrics are equal."""
    by_name = {variant.name: variant for variant in first.variants}
    by_config = {_config_key(variant): variant for variant in first.variants if compatibility.flat_config(variant)}
    pairs = []
    for variant in run.variants:
        same_name = by_name.get(variant.name)
        same_config = by_config.get(_config_key(variant))
        if same_name is not None and _config_key(same_name) == _config_key(variant):
            same_config = None  # the name gives the same match
        for name in dict.fromkeys(baseline.name for baseline in (same_name, same_config) if baseline is not None):
            baseline = by_name[name]
            ids = {compatibility.metric_id_of(member, run.metric) for member in (variant, baseline)} - {None}
            if len(ids) < 2:
                pairs.append((variant, baseline))
    return pairs


def _config_key(variant: Variant) -> str:
    return json.dumps(compatibility.flat_config(variant), sort_keys=True)


def _same_cells(variant: Variant, baseline: Variant) -> bool:
    """Return whether the finished cells are identical: a study takes over cells from a run directory beside it."""
    cells, baseline_cells = (
        {row["seed"]: row["cell"] for row in member.rows if row["status"] == "finished"}
        for member in (variant, baseline)
    )
    common = cells.keys() & baseline_cells.keys()
    return bool(common) and all(cells[seed] == baseline_cells[seed] for seed in common)


def _verdict(difference: run_differences.Difference, mode: str) -> str:
    if difference.delta is None:
        return "no result"
    if difference.low is None:
        return "no interval"
    if not difference.decided:
        return "undecided"
    return "better" if (difference.delta > 0) == (mode == "max") else "worse"
