"""The tables of a search: every config and the final evaluations as CSV, the best configs for page and terminal."""

from collections.abc import Callable
from typing import Any

from dashboards.html import Cell, Column, Markup, Table, csv_value, escape, formats, join, tag, verdicts
from dashboards.search.answer import setting_text, settings_text
from dashboards.search.figures import all_numbers
from dashboards.search.final_evaluation import BEST, REFERENCE, FinalEvaluation
from dashboards.search.tried_configs import TriedConfig
from dashboards.search.view import SearchView
from raysearch.core.console import TerminalTable

MAX_ROWS = 20  # of a table for people
_COMPARED = ("mean", "ci_low", "ci_high", "delta", "delta_low", "delta_high", "p", "p_holm", "decided", "failed")


def best_configs(run: SearchView) -> list[TriedConfig]:
    """Return the configs of a table for people: the best ones, an equal number of each group."""
    number = max(3, MAX_ROWS // len(run.groups))
    return [config for group in run.groups for config in run.ranked(group)[:number]]


def configs_csv(run: SearchView) -> str:
    """Return every config in full, in the order of the trials. A setting that a config does not have is empty."""
    chosen = run.chosen_names()
    front = {config.name for configs in run.fronts.values() for config in configs}
    columns: list[Column[TriedConfig]] = [
        Column("study", lambda config: run.study.study),
        Column("trial", lambda config: config.number),
        Column("config", lambda config: config.name),
        Column("group", lambda config: config.group),
        Column("status", lambda config: config.status),
        *(Column(path, _csv_setting(path)) for path in run.paths),
        *(Column(metric, _csv_metric(metric)) for metric in run.metrics),
        Column("seeds", lambda config: len(config.rows)),
        Column("epochs", lambda config: config.epochs),
        Column("seconds", lambda config: config.seconds),
        Column("pareto_front", lambda config: config.name in front),
        Column("chosen", lambda config: config.name in chosen),
        Column("error", lambda config: next((str(row["error"]) for row in config.rows if row.get("error")), "")),
    ]
    return Table(columns, run.configs).to_csv()


def evaluations_csv(run: SearchView) -> str:
    """Return the final evaluations, one row per group."""
    columns: list[Column[FinalEvaluation]] = [
        Column("study", lambda evaluation: run.study.study),
        Column("group", lambda evaluation: evaluation.group),
        Column("metric", lambda evaluation: evaluation.metric),
        Column("metric_id", lambda evaluation: run.ids.get(evaluation.metric, evaluation.metric)),
        Column("verdict", lambda evaluation: evaluation.verdict),
        Column("seeds", lambda evaluation: evaluation.seeds),
        Column("reference_mean", lambda evaluation: evaluation.reference["mean"]),
        *(Column(name, _compared(name)) for name in _COMPARED),
    ]
    return Table(columns, run.evaluations).to_csv()


def evaluations_table(run: SearchView, note: str) -> Table[FinalEvaluation]:
    """Return the final evaluations for the page."""
    metric = formats.metric_name(run.evaluations[0].metric)

    def _config_name(evaluation: FinalEvaluation) -> str:
        best = run.best(evaluation.group)
        return evaluation.group.partition("=")[2] or (f"trial {best.number}" if best else "best")

    columns: list[Column[FinalEvaluation]] = [
        Column(run.study.group or "Config", _config_name, "name"),
        Column(f"{metric}, reference", lambda evaluation: _mean(evaluation, evaluation.reference)),
        Column("Best config", lambda evaluation: _mean(evaluation, evaluation.best)),
        Column("Difference", lambda evaluation: _difference(evaluation.best)),
        Column("p (Holm)", lambda evaluation: _p_value(evaluation.best)),
        Column("Verdict", _verdict, "verdict"),
        Column("Fresh seeds", _seeds),
    ]
    return Table(columns, run.evaluations, note)


def configs_table(run: SearchView, note: str) -> Table[TriedConfig]:
    """Return the best configs for the page."""
    several = len(run.groups) > 1
    chosen = run.chosen_names()
    front: set[str] = set()
    if len(run.metrics) > 1:
        front = {config.name for configs in run.fronts.values() for config in configs}

    def _trial(config: TriedConfig) -> Cell:
        marks = [*["chosen"] * (config.name in chosen), *["Pareto front"] * (config.name in front)]
        return Cell(f"trial {config.number}", join(*(tag("small", mark) for mark in marks)))

    columns: list[Column[TriedConfig]] = [Column("Config", _trial, "name")]
    if several:
        columns.append(Column(str(run.study.group), lambda config: config.group.partition("=")[2], "text"))
    columns += [_setting_column(run, path) for path in run.paths]
    columns += [Column(formats.metric_name(metric), _page_metric(metric)) for metric in run.metrics]
    columns += [
        Column("Status", status_text, "text"),
        Column("Epochs", lambda config: Cell(str(config.epochs or ""), sort_key=config.epochs or None)),
        Column("Time", lambda config: Cell(formats.seconds(config.seconds), sort_key=config.seconds)),
    ]
    return Table(columns, best_configs(run), note)


def terminal_table(run: SearchView) -> TerminalTable:
    """Return the best configs for the terminal."""
    rows = best_configs(run)
    chosen = run.chosen_names()
    omitted = len(run.configs) - len(rows)
    columns: list[Column[TriedConfig]] = [
        Column("config", lambda config: f"{config.number}: {settings_text(config) or config.name}", "name")
    ]
    if len(run.groups) > 1:
        columns.append(Column("group", lambda config: config.group, "name"))
    columns += [Column(formats.metric_name(metric), _page_metric(metric)) for metric in run.metrics]
    columns += [
        Column("status", status_text, "text"),
        Column("epochs", lambda config: config.epochs or ""),
        Column("seconds", lambda config: formats.seconds(config.seconds)),
    ]

    def _style(config: TriedConfig) -> str:
        if config.name in chosen:
            return "bold green"
        return "" if config.status == "finished" else "dim"

    return Table(
        columns,
        rows,
        note=f"... and {omitted:,} more in tables/configs.csv" if omitted else "",
        title=", ".join(run.ids.get(metric, metric) for metric in run.metrics),
        row_style=_style,
    ).to_terminal()


def status_text(config: TriedConfig) -> str:
    """Return a config's status in words."""
    return "stopped early" if config.status == "stopped" else config.status


def _csv_setting(path: str) -> Callable[[TriedConfig], Any]:
    """Return the level as a CSV value; the level None is "null", which differs from a missing setting."""

    def _value(config: TriedConfig) -> Any:
        if path not in config.settings:
            return ""
        level = config.settings[path]
        return "null" if level is None else csv_value(level)

    return _value


def _csv_metric(metric: str) -> Callable[[TriedConfig], Any]:
    return lambda config: config.values[metric]


def _compared(name: str) -> Callable[[FinalEvaluation], Any]:
    return lambda evaluation: evaluation.best[name]


def _page_metric(metric: str) -> Callable[[TriedConfig], Cell]:
    return lambda config: Cell(formats.metric(config.values[metric]), sort_key=config.values[metric])


def _setting_column(run: SearchView, path: str) -> Column[TriedConfig]:
    """Return the column of a setting; the page sorts levels that are not all numbers by their text."""
    title = tag("code", _breakable(path))

    def _cell(config: TriedConfig) -> Cell:
        if path not in config.settings:
            return Cell("")
        level = config.settings[path]
        return Cell(setting_text(level), sort_key=level if all_numbers([level]) else None)

    if all_numbers([config.settings[path] for config in run.configs if path in config.settings]):
        return Column(title, _cell)
    return Column(title, _cell, "text", css_class="number")


def _breakable(path: str) -> Markup:
    """Return a path that may break after its dots and nowhere else."""
    return escape(path).replace(".", Markup(".<wbr>"))


def _mean(evaluation: FinalEvaluation, row: Any) -> Cell:
    bounds = evaluation.limits.cut(row["ci_low"], row["ci_high"])
    return Cell(formats.metric(row["mean"]), formats.interval(*bounds), row["mean"])


def _difference(row: Any) -> Cell:
    bounds = formats.interval(row["delta_low"], row["delta_high"], sign=True)
    return Cell("" if row["delta"] is None else formats.signed(row["delta"]), bounds, row["delta"])


def _p_value(row: Any) -> Cell:
    p_holm = row["p_holm"] if row["delta_low"] is not None else None
    return Cell("" if p_holm is None else formats.p_value(p_holm), sort_key=p_holm)


def _verdict(evaluation: FinalEvaluation) -> Cell:
    reason = evaluation.best["refused"] if evaluation.verdict == "no interval" else None
    return Cell(verdicts.verdict_text(evaluation.verdict), reason, verdict=evaluation.verdict)


def _seeds(evaluation: FinalEvaluation) -> Cell:
    failed = {REFERENCE: evaluation.reference["failed"], BEST: evaluation.best["failed"]}
    holes = [f"{number} failed ({kind})" for kind, number in failed.items() if number]
    return Cell(str(evaluation.seeds), ", ".join(holes), evaluation.seeds)
