"""An explanation as its report shows it: each change with its step of the path, its absence, and its Shapley value."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dashboards.explanation.change import ExplainedChange, ExplainedPath, Row, ShapleyValue
from dashboards.html import verdicts
from dashboards.run_data import MetricRange, is_number, loads, mapping, metric_range, rows_of
from raysearch.core import UserError
from raysearch.runs import ExplainedGroupRecord, ExplanationRecord, StudyRecord, raced_pairs
from raysearch.studies.analysis import change_path, devices, raced_path, t_tests
from raysearch.studies.analysis.raced_path import Race, RacedPair
from raysearch.studies.design.explanation_plan import MOST_CROSSED, name_config

_MOST_CHANGES = 2_000  # a record from elsewhere may hold any number, and the path holds a set of changes per step


@dataclass(frozen=True)
class ExplanationView:
    """The data behind the page, the tables and the terminal."""

    study: StudyRecord
    rows: list[dict[str, Any]]  # one per ended cell
    paths: tuple[ExplainedPath, ...]
    comparisons: int  # the family of Holm's correction
    is_complete: bool  # whether every path is complete, its cells have ended, and no later look needs a comparison
    limits: MetricRange
    races: Mapping[raced_pairs.Pair, RacedPair]  # names of two configs -> their comparison at looks

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
    def raced(self) -> list[RacedPair]:
        """The comparisons that looks judge."""
        return list(self.races.values())

    @property
    def cells_of_last_look(self) -> int:
        """Number of cells that judge, if every config had the seeds of the last look."""
        variants = {cell.variant for cell in self.study.cells if cell.stage == "judge"}
        return len(variants) * self.study.looks[-1] if self.study.looks else 0

    @property
    def cells_saved(self) -> int:
        """How many of these are not planned; those of comparisons that are open count as planned."""
        open_names = {name for pair, raced in self.races.items() if raced.is_open for name in pair}
        planned = {(cell.variant, cell.seed) for cell in self.study.cells if cell.stage == "judge"}
        closed = sum(name not in open_names for name, _ in planned)
        most = self.study.looks[-1] * len(open_names) if open_names else 0
        return max(0, self.cells_of_last_look - closed - most)

    @property
    def reached_look(self) -> int:
        """The last look that has judged a comparison, counted from 1; 0 before the first."""
        return max((pair.row["look"] for pair in self.raced), default=0)

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
    pairs = raced_pairs.compared_pairs(study.explanation) if study.explanation else []
    family = raced_pairs.count_comparisons(study.explanation) if study.explanation else 0
    judged = change_path.judge(judging, metric, pairs, study.mode or "max", study.margin, family)
    raced = _race(study, judging, family) if study.looks else {}
    is_complete = is_complete and not any(pair.is_open for pair in raced.values())
    gains = iter(
        _Gain(raced[pair].row, raced[pair]) if pair in raced else _Gain(_provisional(row, is_complete), None)
        for pair, row in zip(pairs, judged, strict=True)
    )
    paths = [
        _path(
            group,
            {(comparison.change, comparison.kind): next(gains) for comparison in change_path.comparisons(group.path)},
            judging,
            study,
        )
        for group in groups
    ]
    limits = metric_range(metric, (row[metric] for row in rows if is_number(row.get(metric))))
    return ExplanationView(study, rows, tuple(paths), family, is_complete, limits, raced)


@dataclass(frozen=True)
class _Gain:
    """The row of a comparison, and its looks if it has any."""

    row: Row
    raced: RacedPair | None


def _race(study: StudyRecord, judging: pa.Table, family: int) -> dict[raced_pairs.Pair, RacedPair]:
    """Return the comparisons that looks judge, by the names of their configs."""
    race = Race(study.looks, study.seeds, study.margin)
    pairs = raced_pairs.raced_pairs(study)
    raced = raced_path.judge_race(judging, study.metric or "map", pairs, race, study.mode or "max", family)
    return dict(zip(pairs, raced, strict=True))


def _of_seeds(judging: pa.Table, seeds: Sequence[int]) -> pa.Table:
    """Return the cells of seeds."""
    return judging.filter(pc.is_in(judging["seed"], pa.array(seeds, pa.int64()))) if judging.num_rows else judging


def _path(
    group: ExplainedGroupRecord, gains: Mapping[tuple[str, str], _Gain], judging: pa.Table, study: StudyRecord
) -> ExplainedPath:
    if study.looks:
        first = study.seeds[: study.looks[0]]
        whole_seeds = study.explanation.whole_seeds if study.explanation else []
        whole_cells = _of_seeds(judging, whole_seeds or first)
        shapley_cells = _of_seeds(judging, first)
    else:
        whole_cells = judging
        shapley_cells = judging
    metric = study.metric or "map"
    values = _values(whole_cells, metric)
    known = {change.name: change for change in group.changes}
    names = [name for name in group.path if name in known]
    shapley = _shapley(group, _values(shapley_cells, metric))
    changes = tuple(
        ExplainedChange(
            group=group.label,
            position=position,
            name=name,
            before=known[name].before,
            after=known[name].after,
            step=gains[name, "step"].row,
            left_out=gains.get((name, "left out"), gains[name, "step"]).row,
            raced_step=gains[name, "step"].raced,
            raced_left_out=gains.get((name, "left out"), gains[name, "step"]).raced,
            shapley=shapley.get(name),
        )
        for position, name in enumerate(names, start=1)
    )
    ends = (_name(group, ()), _name(group, known))
    (whole,) = change_path.judge(whole_cells, metric, [ends], study.mode or "max")
    return ExplainedPath(
        group=group.label,
        changes=changes,
        whole=whole,
        reference_mean=_mean(values.get(ends[0], {})),
        best_mean=_mean(values.get(ends[1], {})),
        missing=tuple(name for name in known if name not in names),
    )


def _mean(values: Mapping[int, float]) -> float | None:
    return sum(values.values()) / len(values) if values else None


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
