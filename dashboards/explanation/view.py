"""An explanation as its report shows it: each change with its step of the path, its absence, and its Shapley value."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dashboards.html import verdicts
from dashboards.run_data import MetricRange, is_number, loads, mapping, metric_range, rows_of
from raysearch.core import UserError
from raysearch.runs import ExplainedGroupRecord, ExplanationRecord, StudyRecord
from raysearch.studies.analysis import change_path, devices, t_tests
from raysearch.studies.design.explanation_plan import MOST_CROSSED, name_config

_MOST_CHANGES = 2_000  # a record from elsewhere may hold any number, and the path holds a set of changes per step

Row = Mapping[str, Any]


@dataclass(frozen=True)
class ShapleyValue:
    """A gain, averaged over all orders of the changes, with its interval over seeds."""

    mean: float
    low: float | None
    high: float | None
    seeds: int


@dataclass(frozen=True)
class ExplainedChange:
    """A change of the path.

    Attributes:
        group: label of its group; empty if the search has no groups.
        position: its place in the path, counted from 1.
        name: its settings.
        before: dotted path -> value in the reference.
        after: dotted path -> value in the best config.
        step: its gain as a step of the path, a row of `change_path.judge`.
        left_out: its gain at the end of the path: the best config against the one without it.
        shapley: None where not all combinations of the changes have run.
    """

    group: str
    position: int
    name: str
    before: Row
    after: Row
    step: Row
    left_out: Row
    shapley: ShapleyValue | None

    @property
    def verdict(self) -> str:
        """What is claimed of the change: by its step, or else by its absence.

        "mixed" if one is better and the other worse: its gain depends on the other changes.
        """
        found = [self.step["verdict"], self.left_out["verdict"]]
        directions = {verdict.removesuffix(" so far") for verdict in found if verdicts.is_significant(verdict)}
        if len(directions) > 1:
            return "mixed"
        if directions:
            return next(verdict for verdict in found if verdicts.is_significant(verdict))
        return change_path.WITHIN if found == [change_path.WITHIN] * 2 else self.step["verdict"]


@dataclass(frozen=True)
class ExplainedPath:
    """The path of a group.

    Attributes:
        group: its label.
        changes: in the order of the path.
        whole: the best config against the reference, without a correction: the search has judged it.
        reference_mean: the mean of the reference; None before a cell has finished.
        missing: names of changes that the path has not taken yet.
    """

    group: str
    changes: tuple[ExplainedChange, ...]
    whole: Row
    reference_mean: float | None
    missing: tuple[str, ...]


@dataclass(frozen=True)
class ExplanationView:
    """The data behind the page, the tables and the terminal."""

    study: StudyRecord
    rows: list[dict[str, Any]]  # one per ended cell
    paths: tuple[ExplainedPath, ...]
    comparisons: int  # the family of Holm's correction
    is_complete: bool  # whether every path is complete, and its cells have ended
    limits: MetricRange

    @property
    def metric(self) -> str:
        """The metric that judges."""
        return self.study.metric or "map"

    @property
    def mode(self) -> str:
        """ "max" if a higher metric is better, "min" if a lower one is."""
        return self.study.mode or "max"

    @property
    def explanation(self) -> ExplanationRecord:
        """What is explained."""
        return self.study.explanation or ExplanationRecord()

    @property
    def changes(self) -> list[ExplainedChange]:
        """The changes of all paths."""
        return [change for path in self.paths for change in path.changes]

    @property
    def has_shapley(self) -> bool:
        """Whether any change has a Shapley value."""
        return any(change.shapley for change in self.changes)

    @functools.cached_property
    def metric_id(self) -> str:
        """The exact definition of the metric, as the cells have it."""
        found = (mapping(loads(row.get("metric_ids"))).get(self.metric) for row in self.rows)
        return next((str(text) for text in found if text), self.study.metric_id or self.metric)

    @property
    def devices_note(self) -> str:
        """A line if cells that are compared ran on different kinds of devices; else nothing."""
        names = dict.fromkeys(row["variant"] for row in self.rows)
        return devices.mixed_sentence(self.rows, self.metric, dict.fromkeys(names, next(iter(names), "")))


def explanation_view(study: StudyRecord, table: pa.Table) -> ExplanationView:
    """Return the view of an explanation.

    Args:
        study: the content of `study.json`.
        table: the results, one row per cell.

    Raises:
        UserError: cells cannot be compared; see `statistics.compare`.
    """
    study = study.escaped()
    rows = rows_of(table)
    groups = study.explanation.groups if study.explanation else []
    if sum(len(group.path) + len(group.changes) for group in groups) > _MOST_CHANGES:
        raise UserError(f"the run records more than {_MOST_CHANGES:,} changes; no config has as many settings")
    metric = study.metric or "map"
    judging = table.filter(pc.equal(table["stage"], "judge")) if "stage" in table.column_names else table.slice(0, 0)
    ended = {cell for row in rows if (cell := row.get("cell"))}
    is_complete = bool(groups) and all(len(group.path) == len(group.changes) for group in groups)
    is_complete = is_complete and all(cell.cell in ended for cell in study.cells)
    comparisons = {group.label: change_path.comparisons(group.path) for group in groups}
    pairs = [
        (_name(group, comparison.without), _name(group, comparison.made))
        for group in groups
        for comparison in comparisons[group.label]
    ]
    family = sum(max(0, 2 * len(group.changes) - 1) for group in groups)
    judged = iter(change_path.judge(judging, metric, pairs, study.mode or "max", study.margin, family))
    values = _values(judging, metric)
    paths = []
    for group in groups:
        gains: dict[tuple[str, str], Row] = {
            (comparison.change, comparison.kind): _provisional(next(judged), is_complete)
            for comparison in comparisons[group.label]
        }
        paths.append(_path(group, gains, judging, study, values))
    limits = metric_range(metric, (row[metric] for row in rows if is_number(row.get(metric))))
    return ExplanationView(study, rows, tuple(paths), family, is_complete, limits)


def _path(
    group: ExplainedGroupRecord,
    gains: Mapping[tuple[str, str], Row],
    judging: pa.Table,
    study: StudyRecord,
    values: Mapping[str, Mapping[int, float]],
) -> ExplainedPath:
    known = {change.name: change for change in group.changes}
    names = [name for name in group.path if name in known]
    shapley = _shapley(group, values)
    changes = tuple(
        ExplainedChange(
            group=group.label,
            position=position,
            name=name,
            before=known[name].before,
            after=known[name].after,
            step=gains[name, "step"],
            left_out=gains.get((name, "left out"), gains[name, "step"]),
            shapley=shapley.get(name),
        )
        for position, name in enumerate(names, start=1)
    )
    ends = (_name(group, ()), _name(group, known))
    (whole,) = change_path.judge(judging, study.metric or "map", [ends], study.mode or "max")
    reference = list(values.get(ends[0], {}).values())
    mean = sum(reference) / len(reference) if reference else None
    return ExplainedPath(group.label, changes, whole, mean, tuple(name for name in known if name not in names))


def _shapley(group: ExplainedGroupRecord, values: Mapping[str, Mapping[int, float]]) -> dict[str, ShapleyValue]:
    """Return the Shapley values over the seeds that finished with all combinations; empty if there is none."""
    names = [change.name for change in group.changes]
    if not 1 < len(names) <= MOST_CROSSED:
        return {}
    combinations = [frozenset(made) for made in _subsets(names)]
    by_config = {made: values.get(_name(group, made), {}) for made in combinations}
    common = sorted(set.intersection(*(set(seeds) for seeds in by_config.values())))
    per_seed = [
        change_path.shapley_values({made: by_config[made][seed] for made in combinations}, names) for seed in common
    ]
    if not per_seed:
        return {}
    found = {}
    for name in names:
        gains = [worths[name] for worths in per_seed]
        found[name] = ShapleyValue(sum(gains) / len(gains), *t_tests.interval(gains), len(gains))
    return found


def _subsets(names: Sequence[str]) -> list[list[str]]:
    subsets: list[list[str]] = [[]]
    for name in names:
        subsets += [[*subset, name] for subset in subsets]
    return subsets


def _values(judging: pa.Table, metric: str) -> dict[str, dict[int, float]]:
    """Return variant -> seed -> metric, of the finished cells that judge."""
    values: dict[str, dict[int, float]] = {}
    for row in judging.to_pylist():
        if row["status"] == "finished" and is_number(row.get(metric)):
            values.setdefault(row["variant"], {})[row["seed"]] = row[metric]
    return values


def _name(group: ExplainedGroupRecord, made: Any) -> str:
    return name_config([change.name for change in group.changes], list(made), group.label)


def _provisional(row: Row, is_complete: bool) -> Row:
    return row if is_complete else {**row, "verdict": verdicts.provisional(row["verdict"])}
