"""The table of an explanation in every form: a row per change, in the order of the path."""

import json
from collections.abc import Callable
from typing import Any

from dashboards.ablation.judging import rule_words
from dashboards.explanation.answer import answer_sentences, describe_change
from dashboards.explanation.change import ExplainedChange, ShapleyValue
from dashboards.explanation.view import ExplanationView
from dashboards.html import Cell, Column, Table, formats, verdicts
from raysearch.core.console import TerminalTable

_GAIN = ("delta", "delta_low", "delta_high", "p", "p_holm", "verdict", "seeds")
_LEFT_OUT = ("delta", "delta_low", "delta_high", "p_holm", "verdict")


def table_files(run: ExplanationView) -> dict[str, str]:
    """Return the tables beside the page: file name -> content."""
    paper = _people_table(run, note_text(run))
    return {
        "changes.csv": _csv_table(run).to_csv(),
        "changes.json": json_text(run),
        "changes.tex": paper.to_latex(),
        "changes.md": paper.to_markdown(),
    }


def note_text(run: ExplanationView) -> str:
    """Return how the numbers of the table are computed."""
    seeds = formats.seeds(run.study.seeds)
    note = (
        f"{run.metric_id}. Gains are differences paired by seed, on seeds {seeds}, which chose nothing. In brackets: "
        f"{rule_words.interval_words(run)}. p is corrected by Holm over {formats.count(run.comparisons, 'comparison')}"
    )
    if run.study.looks:
        return f"{note}, and for {rule_words.looks_text(run.study)}."
    return f"{note}." + ("" if run.study.margin is None else f" Margin: ±{run.study.margin:g}.")


def changes_table(run: ExplanationView) -> Table[ExplainedChange]:
    """Return the table for the page."""
    return _people_table(run, note_text(run))


def terminal_table(run: ExplanationView) -> TerminalTable:
    """Return the table for the terminal."""
    return _people_table(run, "").to_terminal()


def json_text(run: ExplanationView) -> str:
    """Return the explanation as JSON: the answer, the paths with their whole differences, and the changes."""
    paths = [
        {
            "group": path.group,
            "reference_mean": path.reference_mean,
            "difference": {name: path.whole[name] for name in ("delta", "delta_low", "delta_high", "seeds")},
            "missing": list(path.missing),
        }
        for path in run.paths
    ]
    content = {
        "study": run.study.study,
        "search": run.explanation.search,
        "metric": run.metric,
        "metric_id": run.metric_id,
        "complete": run.is_complete,
        "looks": list(run.study.looks),
        "answer": " ".join(answer_sentences(run)),
        "paths": paths,
        "changes": _csv_table(run).to_records(),
    }
    return json.dumps(content, indent=1) + "\n"


def _people_table(run: ExplanationView, note: str) -> Table[ExplainedChange]:
    columns: list[Column[ExplainedChange]] = []
    if len(run.paths) > 1:
        columns.append(Column("Group", lambda change: change.group, "name"))
    columns += [
        Column("Change", describe_change, "name"),
        Column(f"Gain, {formats.metric_name(run.metric)}", lambda change: _gain_cell(change.step)),
        Column(rule_words.p_title(run), lambda change: _p_cell(change.step)),
        Column("Verdict", lambda change: _verdict_cell(change.step), "verdict"),
        Column("Left out of the best", lambda change: _gain_cell(change.left_out)),
        Column("Verdict, left out", lambda change: _verdict_cell(change.left_out), "verdict"),
    ]
    if run.has_shapley:
        columns.append(Column("Shapley value", lambda change: _shapley_cell(change.shapley)))
    columns.append(Column("Seeds", _seeds_cell))
    if run.study.looks:
        columns.append(Column("Seeds, left out", lambda change: Cell(str(change.left_out["seeds"]))))
    return Table(columns, run.changes, note)


def _csv_table(run: ExplanationView) -> Table[ExplainedChange]:
    columns: list[Column[ExplainedChange]] = [
        Column("study", lambda change: run.study.study),
        Column("group", lambda change: change.group),
        Column("position", lambda change: change.position),
        Column("change", lambda change: change.name),
        Column("before", lambda change: json.dumps(dict(change.before))),
        Column("after", lambda change: json.dumps(dict(change.after))),
        Column("metric_id", lambda change: run.metric_id),
        *(Column(name, _of_step(name)) for name in _GAIN),
        *(Column(f"left_out_{name}", _of_left_out(name)) for name in _LEFT_OUT),
        *(_look_columns() if run.study.looks else ()),
        *(Column(f"shapley{suffix}", _of_shapley(field)) for suffix, field in _SHAPLEY),
        Column("claim", lambda change: change.verdict),
    ]
    return Table(columns, run.changes)


def _look_columns() -> list[Column[ExplainedChange]]:
    """Return the looks that ended the comparisons, or the last ones so far; empty where no look can judge."""
    return [
        Column("look", lambda change: change.step.get("look")),
        Column("left_out_look", lambda change: change.left_out.get("look")),
        Column("left_out_seeds", lambda change: change.left_out["seeds"]),
    ]


_SHAPLEY = (("", "mean"), ("_low", "low"), ("_high", "high"))


def _of_step(name: str) -> Callable[[ExplainedChange], Any]:
    return lambda change: change.step[name]


def _of_left_out(name: str) -> Callable[[ExplainedChange], Any]:
    return lambda change: change.left_out[name]


def _of_shapley(field: str) -> Callable[[ExplainedChange], Any]:
    return lambda change: None if change.shapley is None else getattr(change.shapley, field)


def _gain_cell(row: Any) -> Cell:
    bounds = formats.interval(row["delta_low"], row["delta_high"], sign=True)
    return Cell("" if row["delta"] is None else formats.signed(row["delta"]), bounds, row["delta"])


def _p_cell(row: Any) -> Cell:
    p_holm = row["p_holm"] if row["delta_low"] is not None else None
    return Cell("" if p_holm is None else formats.p_value(p_holm), sort_key=p_holm)


def _verdict_cell(row: Any) -> Cell:
    verdict = row["verdict"]
    reason = row["refused"] if verdict == "no interval" else None
    return Cell(verdicts.verdict_text(verdict), reason, verdict=verdict)


def _shapley_cell(value: ShapleyValue | None) -> Cell:
    if value is None:
        return Cell("")
    return Cell(formats.signed(value.mean), formats.interval(value.low, value.high, sign=True), value.mean)


def _seeds_cell(change: ExplainedChange) -> Cell:
    failed = change.step["failed"]
    return Cell(str(change.step["seeds"]), f"{failed} failed" if failed else None, change.step["seeds"])
