"""The results of the ended cells, as data for the live page; the numbers come from the report's own views.

The page shows every text as text. The figures escape their texts themselves.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import plotly.io
import pyarrow as pa

from dashboards.ablation import effects as ablation_effects
from dashboards.ablation import row_limits
from dashboards.ablation.judging import rule_words
from dashboards.ablation.judging.answer import sentence
from dashboards.ablation.tables import difference_cell, mean_cell
from dashboards.ablation.variant import Variant
from dashboards.ablation.view import View
from dashboards.explanation.answer import answer_sentences as explanation_sentences
from dashboards.explanation.answer import describe_change
from dashboards.explanation.figures import draw_waterfall
from dashboards.explanation.view import ExplanationView
from dashboards.html import formats, verdicts
from dashboards.search import answer, figures, tables, view
from raysearch.runs import StudyRecord

MAX_FAILURES = 50
_MAX_LINE = 200  # characters
Cell = dict[str, str]  # of a table: "text", "detail" below it, "kind"


def cell_counts(study: StudyRecord, table: pa.Table) -> dict[str, Any]:
    """Count planned cells, and ended cells by status. A cell that several variants share counts once."""
    statuses: dict[str, str] = {}
    if table.num_rows:
        statuses = dict(zip(table["cell"].to_pylist(), table["status"].to_pylist(), strict=True))
    counts = Counter(statuses.values())
    return {
        "planned": len({cell.cell for cell in study.cells}),
        "ended": {status: counts[status] for status in ("finished", "stopped", "failed")},
    }


def error_headline(error: str) -> str:
    """Return the most informative line of an error.

    >>> error_headline("Traceback (most recent call last):\\n  ...\\nValueError: no")
    'ValueError: no'
    """
    lines = error.strip().splitlines() or ["no error recorded"]
    return (lines[-1] if lines[0].startswith("Traceback") else lines[0])[:_MAX_LINE]


def ablation_state(run: View) -> dict[str, Any]:
    """Return the answer, the table of variants with the plot of effects, and the failures."""
    variants = row_limits.shown(run, verdicts.ROWS_IN_PAGE)
    figure = ablation_effects.effects(run)
    description = "Differences from the reference, as in the table"
    note = f"{run.metric_id}. In brackets: {rule_words.interval_words(run)}. "
    note += "Differences from the reference are paired by seed. "
    notes = rule_words.as_sentences(rule_words.table_notes(run))
    return {
        "answer": sentence(run),
        "table": {
            "columns": ["Variant", f"{formats.metric_name(run.metric)}, mean", "Difference", "Verdict", "Seeds"],
            "rows": [
                {"key": variant.name, "name": variant.label, "cells": _variant_cells(variant)} for variant in variants
            ],
            "note": " ".join(f"{note}{notes} {row_limits.note(run, verdicts.ROWS_IN_PAGE)}".split()),
        },
        "figures": [_figure("effects", "Effects", description, figure)] if figure else [],
        **_failures(run.rows, {variant.name: variant.label for variant in run.variants}),
    }


def _variant_cells(variant: Variant) -> list[Cell]:
    mean = mean_cell(variant)
    difference = difference_cell(variant)
    failed = variant.compared["failed"]
    return [
        _cell(mean.text, str(mean.detail), "number"),
        _cell(difference.text, str(difference.detail), "number"),
        _cell(verdicts.verdict_text(variant.verdict), kind=verdicts.verdict_class(variant.verdict)),
        _cell(f"{variant.compared['seeds']}/{variant.planned}", f"{failed} failed" if failed else "", "number holes"),
    ]


def search_state(run: view.SearchView) -> dict[str, Any]:
    """Return the best value so far with its history, and the best configs."""
    chosen = run.chosen_names()
    history = []
    for metric in run.metrics:
        figure = figures.draw_history(run, metric)
        title = formats.metric_name(metric)
        if figure.data:
            description = f"{title}; the steps are the best so far"
            history.append(_figure(f"history {metric}", f"{title} of each trial", description, figure))
    rows = []
    for config in tables.best_configs(run):
        name = f"{config.number}: {answer.settings_text(config) or config.name}"
        name += f" ({config.group})" if config.group else ""
        cells = [_cell(formats.metric(config.values[metric]), kind="number") for metric in run.metrics]
        if config.name in chosen:
            cells.append(_cell("chosen", kind="verdict better"))
        else:
            cells.append(_cell(tables.status_text(config), kind="verdict"))
        cells += [
            _cell(str(config.epochs or ""), kind="number"),
            _cell(formats.seconds(config.seconds), kind="number"),
        ]
        rows.append({"key": config.name, "name": name, "cells": cells})
    omitted = len(run.configs) - len(rows)
    return {
        "answer": " ".join(answer.answer_sentences(run)),
        "table": {
            "columns": ["Config", *map(formats.metric_name, run.metrics), "Status", "Epochs", "Time"],
            "rows": rows,
            "note": "The best configs so far." + (f" {omitted:,} more have been tried." if omitted > 0 else ""),
        },
        "figures": history,
        **_failures(run.rows, {}),
    }


def explanation_state(run: ExplanationView) -> dict[str, Any]:
    """Return the answer so far, the changes with their gains, and the waterfall of each path."""
    drawn = []
    for path in run.paths:
        figure = draw_waterfall(run, path)
        if figure is not None and path.changes:
            title = f"Path {path.group}".strip()
            drawn.append(_figure(f"path {path.group}", title, "Gains of the changes, as in the table", figure))
    rows = []
    for change in run.changes:
        step = change.step
        bounds = formats.interval(step["delta_low"], step["delta_high"], sign=True)
        gain = "" if step["delta"] is None else formats.signed(step["delta"])
        cells = [_cell(gain, bounds, "number")]
        cells.append(_cell(verdicts.verdict_text(step["verdict"]), kind=verdicts.verdict_class(step["verdict"])))
        cells.append(_cell(str(step["seeds"]), kind="number"))
        rows.append({"key": f"{change.group} {change.name}", "name": describe_change(change), "cells": cells})
    return {
        "answer": " ".join(explanation_sentences(run)),
        "table": {"columns": ["Change", "Gain", "Verdict", "Seeds"], "rows": rows, "note": "In the order of the path."},
        "figures": drawn,
        **_failures(run.rows, {}),
    }


def _failures(rows: Sequence[Mapping[str, Any]], labels: Mapping[str, str]) -> dict[str, Any]:
    failed = list({row["cell"]: row for row in rows if row["status"] == "failed"}.values())
    failures = []
    for row in failed[:MAX_FAILURES]:
        error = (row.get("error") or "no error recorded").strip()
        name = f"{labels.get(row['variant'], row['variant'])} seed {row['seed']}"
        failures.append({"key": row["cell"], "name": name, "line": error_headline(error), "error": error})
    omitted = len(failed) - len(failures)
    more = f"{formats.count(omitted, 'more cell')} failed" if omitted else ""
    return {"failures": failures, "failures_left": more}


def _figure(key: str, title: str, description: str, figure: go.Figure) -> dict[str, Any]:
    """Return a figure with a digest; the page redraws it only when the digest changes."""
    text = plotly.io.to_json(figure, validate=False)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return {"key": key, "title": title, "description": description, "digest": digest, **json.loads(text)}


def _cell(text: str, detail: str = "", kind: str = "") -> Cell:
    return {"text": text, "detail": detail, "kind": kind}
