"""The tables of a search for papers: the best configs, and the final evaluations on fresh seeds."""

from collections.abc import Callable, Mapping
from typing import Any

from dashboards.html import Cell, Column, Table, formats
from dashboards.search.answer import setting_text
from dashboards.search.figures import all_numbers
from dashboards.search.final_evaluation import FinalEvaluation
from dashboards.search.tables import best_configs, status_text
from dashboards.search.tried_configs import TriedConfig
from dashboards.search.view import SearchView


def configs_paper_table(run: SearchView) -> Table[TriedConfig]:
    """Return the best configs with their settings; values are means over the tuning seeds."""
    columns: list[Column[TriedConfig]] = [Column("trial", lambda config: config.number)]
    if len(run.groups) > 1:
        columns.append(Column(str(run.study.group), lambda config: config.group.partition("=")[2], "text"))
    columns += [_setting_column(run, path) for path in run.paths]
    columns += [Column(formats.metric_name(metric), _metric(metric)) for metric in run.metrics]
    columns.append(Column("status", status_text, "text"))
    note = (
        f"{run.study.study}: the best of {formats.count(len(run.configs), 'config')}; means over the tuning seeds, "
        "which also chose the configs, so they are too optimistic; tables/configs.csv lists all"
    )
    return Table(columns, best_configs(run), note)


def evaluations_paper_table(run: SearchView) -> Table[FinalEvaluation]:
    """Return the best config of each group beside the reference; significant differences stand out."""
    metric = formats.metric_name(run.evaluations[0].metric)
    columns: list[Column[FinalEvaluation]] = [
        Column(run.study.group or "config", lambda evaluation: evaluation.group.partition("=")[2] or "best", "name"),
        Column(f"{metric}, reference", lambda evaluation: _mean(evaluation.reference)),
        Column(f"{metric}, best config", lambda evaluation: _mean(evaluation.best)),
        Column("difference", _difference),
        Column("p (Holm)", lambda evaluation: _p_value(evaluation.best)),
        Column("seeds", lambda evaluation: evaluation.seeds),
    ]
    note = (
        f"{run.study.study}: fresh seeds; mean ± half the 95 % interval; differences are paired by seed; "
        "↑ significantly better, ↓ significantly worse: p corrected by Holm over the groups is at most 0.05"
    )
    return Table(columns, run.evaluations, note)


def _setting_column(run: SearchView, path: str) -> Column[TriedConfig]:
    levels = [config.settings[path] for config in run.configs if path in config.settings]

    def _level(config: TriedConfig) -> str:
        return setting_text(config.settings[path]) if path in config.settings else ""

    return Column(path, _level) if all_numbers(levels) else Column(path, _level, "text")


def _metric(metric: str) -> Callable[[TriedConfig], str]:
    return lambda config: formats.metric(config.values[metric])


def _mean(row: Mapping[str, Any]) -> Cell:
    return Cell(formats.metric(row["mean"]), half_width=formats.half_width(row["ci_low"], row["ci_high"]))


def _difference(evaluation: FinalEvaluation) -> Cell:
    row = evaluation.best
    if row["delta"] is None:
        return Cell("")
    half = formats.half_width(row["delta_low"], row["delta_high"])
    return Cell(formats.signed(row["delta"]), verdict=evaluation.verdict, half_width=half)


def _p_value(row: Mapping[str, Any]) -> str:
    return "" if row["delta_low"] is None else formats.p_value(row["p_holm"])
