"""What the ended cells of a run say so far, as data for the live page: the report's own numbers, read from its views.

Every text is shown as text; the figures' texts are escaped where the figures are made.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import plotly.io
import pyarrow as pa

from dashboards.ablation import effects as plots
from dashboards.ablation.answer import sentence
from dashboards.ablation.tables import difference_cell, mean_cell
from dashboards.ablation.view import Variant, View, view
from dashboards.html import formats, verdicts
from dashboards.run_data import row_limits
from dashboards.search import answer, figures, tables
from dashboards.search.view import SearchView, search_view
from raysearch.runs.study_record import StudyRecord

MOST_FAILURES = 50
_HEADLINE = 200  # characters
Cell = dict[str, str]  # of a table: "text", "small" below it, "kind"


def outcome(study: StudyRecord, table: pa.Table) -> dict[str, Any]:
    """The part of the page's state that the results store decides.

    Args:
        study: what `study.json` holds.
        table: what `results.table` returns.

    Raises:
        UserError: cells that must not be compared, as `statistics.compare` says.
    """
    found = _search(search_view(study, table)) if study.get("kind") == "search" else _ablation(view(study, table))
    name = str(study.get("study") or "study")
    question = str(study.get("question") or name)
    return {"study": name, "question": question, "command": study.get("command") or "", **counts(study, table), **found}


def counts(study: StudyRecord, table: pa.Table) -> dict[str, Any]:
    """Planned cells and those that ended, by status; a cell that stands under several names counts once."""
    statuses: dict[str, str] = {}
    if table.num_rows:
        statuses = dict(zip(table["cell"].to_pylist(), table["status"].to_pylist(), strict=True))
    number = Counter(statuses.values())
    planned = len({one["cell"] for one in study.get("cells") or []})
    return {"planned": planned, "ended": {one: number[one] for one in ("finished", "stopped", "failed")}}


def headline(error: str) -> str:
    """The line of an error that says most.

    >>> headline("Traceback (most recent call last):\\n  ...\\nValueError: no")
    'ValueError: no'
    """
    lines = error.strip().splitlines() or ["no error recorded"]
    return (lines[-1] if lines[0].startswith("Traceback") else lines[0])[:_HEADLINE]


def _ablation(run: View) -> dict[str, Any]:
    shown = row_limits.shown(run, verdicts.ROWS_IN_PAGE)
    effects = plots.effects(run)
    says = "Differences from the reference, as in the table"
    note = "In brackets: 95 % intervals. Differences are paired by seed and taken from the reference. "
    return {
        "answer": sentence(run),
        "table": {
            "columns": ["Variant", f"{formats.metric_name(run.metric)}, mean", "Difference", "Verdict", "Seeds"],
            "rows": [{"key": one.name, "name": one.label, "cells": _variant(one)} for one in shown],
            "note": f"{run.metric_id}. {note}{row_limits.note(run, verdicts.ROWS_IN_PAGE)}".strip(),
        },
        "figures": [_figure("effects", "Effects", says, effects)] if effects else [],
        **_failures(run.rows, {one.name: one.label for one in run.variants}),
    }


def _variant(one: Variant) -> list[Cell]:
    mean = mean_cell(one)
    difference = difference_cell(one)
    failed = one.compared["failed"]
    return [
        _cell(mean.text, str(mean.detail), "number"),
        _cell(difference.text, str(difference.detail), "number"),
        _cell(verdicts.verdict_text(one.verdict), kind=verdicts.verdict_class(one.verdict)),
        _cell(f"{one.compared['seeds']}/{one.planned}", f"{failed} failed" if failed else "", "number holes"),
    ]


def _search(run: SearchView) -> dict[str, Any]:
    """The best value so far with its history, and the best configs."""
    chosen = {one.name for group in run.groups if (one := run.best(group))}
    titles = [formats.metric_name(metric) for metric in run.metrics]
    history = [
        _figure(f"history {metric}", f"{title} of each trial", f"{title}; the steps are the best so far", figure)
        for metric, title in zip(run.metrics, titles, strict=True)
        if (figure := figures.history(run, metric)).data
    ]
    rows = []
    for one in tables.best(run):
        name = f"{one.number}: {answer.settings(one) or one.name}" + (f" ({one.group})" if one.group else "")
        cells = [_cell(formats.metric(one.values[metric]), kind="number") for metric in run.metrics]
        status = "chosen" if one.name in chosen else tables.status(one)
        cells += [_cell(status, kind="verdict better" if one.name in chosen else "verdict")]
        cells += [_cell(str(one.epochs or ""), kind="number"), _cell(formats.seconds(one.seconds), kind="number")]
        rows.append({"key": one.name, "name": name, "cells": cells})
    left = len(run.configs) - len(rows)
    return {
        "answer": " ".join(answer.sentences(run)),
        "table": {
            "columns": ["Config", *titles, "Status", "Epochs", "Time"],
            "rows": rows,
            "note": "The best configs so far." + (f" {left:,} more have been tried." if left > 0 else ""),
        },
        "figures": history,
        **_failures(run.rows, {}),
    }


def _failures(rows: Sequence[Mapping[str, Any]], labels: Mapping[str, str]) -> dict[str, Any]:
    failed = list({row["cell"]: row for row in rows if row["status"] == "failed"}.values())
    shown = []
    for row in failed[:MOST_FAILURES]:
        error = (row.get("error") or "no error recorded").strip()
        name = f"{labels.get(row['variant'], row['variant'])} seed {row['seed']}"
        shown.append({"key": row["cell"], "name": name, "line": headline(error), "error": error})
    left = len(failed) - len(shown)
    return {"failures": shown, "failures_left": f"and {formats.count(left, 'more cell')} that failed" if left else ""}


def _figure(key: str, title: str, says: str, figure: go.Figure) -> dict[str, Any]:
    """A figure with a stamp: one that has the same is the same."""
    text = plotly.io.to_json(figure, validate=False)
    stamp = hashlib.sha256(text.encode()).hexdigest()[:16]
    return {"key": key, "title": title, "says": says, "stamp": stamp, **json.loads(text)}


def _cell(text: str, small: str = "", kind: str = "") -> Cell:
    return {"text": text, "small": small, "kind": kind}
