"""The main table of a paper: methods in rows, data sets and perhaps code lengths in columns.

A bold number is the best of its column where that is decided. An arrow is the verdict against the reference. A hole has
its reason. Nothing is averaged over data sets.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dashboards.ablation.variant import Variant
from dashboards.html import Cell, Column, FirstThatFits, Markup, Table, formats, join, tag, verdicts
from dashboards.several_sets import notes, places
from dashboards.several_sets.places import ColumnKey
from dashboards.several_sets.view import SetsView
from raysearch.studies.analysis import best_method


@dataclass(frozen=True)
class Entry:
    """A cell of the main table: a method on a data set.

    Attributes:
        variant: that ran; None for a number that is only cited.
        published: the published number; None without one.
        is_best: whether the method is the best of its column, decided.
        hole: why there is no mean, in a few words; empty if there is one.
    """

    variant: Variant | None
    published: float | None
    is_best: bool = False
    hole: str = ""


@dataclass(frozen=True)
class Method:
    """A row of the main table."""

    name: str
    entries: Mapping[ColumnKey, Entry]
    is_cited: bool = False  # published, and not run here


@dataclass(frozen=True)
class MainTable:
    """The main table of a run on several data sets. `main_table` makes it."""

    run: SetsView
    columns: tuple[ColumnKey, ...]
    methods: tuple[Method, ...]
    notes: tuple[str, ...] = field(default=())

    def for_people(self) -> Table[Method]:
        """Return the table for Markdown, LaTeX and the terminal."""
        return self._table(lambda entry: _text_cell(entry))

    def for_terminal(self) -> FirstThatFits:
        """Return the table for the terminal, or without intervals for a narrow one."""
        narrow = self._table(lambda entry: replace(_page_cell(entry), detail=entry.hole or None))
        return FirstThatFits(self.for_people().to_terminal(), narrow.to_terminal(compact=True))

    def for_page(self) -> Table[Method]:
        """Return the table for the page, with intervals and published numbers below the means."""
        return self._table(_page_cell)

    def for_csv(self) -> Table[Method]:
        """Return every number in full: mean, half width, verdict and published number of each column."""
        columns: list[Column[Method]] = [Column("method", lambda method: method.name)]
        for key in self.columns:
            columns += [
                Column(name, functools.partial(_csv_value, key, name), group=places.column_title(key))
                for name in ("mean", "half_width", "seeds", "verdict", "best", "published", "hole")
            ]
        return Table(columns, self.methods)

    def _table(self, draw: Any) -> Table[Method]:
        columns: list[Column[Method]] = [Column("Method", lambda method: method.name, "name", widths=(None, 30))]
        for key in self.columns:
            data_set, levels = key
            title = places.levels_title(levels) if levels else data_set
            columns.append(Column(title, functools.partial(_drawn, draw, key), group=data_set if levels else ""))
        return Table(columns, self.methods, " ".join(self.notes), title=self.run.metric_id,
                     ends_section=lambda method: method is self._last_run())  # fmt: skip

    def _last_run(self) -> Method | None:
        """Return the last method that ran, if cited ones follow."""
        ran = [method for method in self.methods if not method.is_cited]
        return ran[-1] if ran and len(ran) < len(self.methods) else None


def main_table(run: SetsView) -> MainTable:
    """Return the main table of a run on several data sets."""
    entries: dict[str, dict[ColumnKey, Entry]] = {}
    columns: dict[ColumnKey, None] = {}
    for data_set, view in run.on_set.items():
        for name, levels, variant in places.placed(view):
            columns[data_set, levels] = None
            published = variant.published[0] if variant.published else None
            hole = _hole(run, data_set, variant)
            entries.setdefault(name, {})[data_set, levels] = Entry(variant, published, hole=hole)
    best = _best(run, entries, list(columns))
    methods = [
        Method(name, {key: _marked(entry, best.get(key) == name) for key, entry in row.items()})
        for name, row in entries.items()
    ]
    ordered = places.in_order(columns, run.on_set)
    failed = [
        (f"{places.column_title(key)} {name}", entry.variant)
        for name, row in entries.items()
        for key, entry in row.items()
        if entry.variant is not None and entry.hole in ("failed", "stopped")
    ]
    below = tuple(notes.notes(run, failed, bool(best)))
    return MainTable(run, tuple(ordered), (*methods, *_cited(run, ordered)), below)


def _marked(entry: Entry, is_best: bool) -> Entry:
    return Entry(entry.variant, entry.published, is_best, entry.hole)


def _hole(run: SetsView, data_set: str, variant: Variant) -> str:
    """Return why a variant has no mean, in a word or two; empty if it has one."""
    if variant.values:
        return ""
    if data_set in run.left_out:
        return "not opened"
    statuses = [row["status"] for row in variant.rows]
    return "failed" if "failed" in statuses else "stopped" if "stopped" in statuses else "not run"


def _best(
    run: SetsView, entries: Mapping[str, Mapping[ColumnKey, Entry]], columns: list[ColumnKey]
) -> dict[ColumnKey, str]:
    """Return the best method of each column where it is decided; nothing before a plan with fixed seeds is complete."""
    if run.study.looks or run.is_provisional:
        return {}
    scores = [
        {name: row[key].variant.values for name, row in entries.items() if key in row and row[key].variant}  # type: ignore[union-attr]
        for key in columns
    ]
    best = best_method.best_methods(scores, run.mode, run.step)
    return {key: name for key, name in zip(columns, best, strict=True) if name is not None}


def _cited(run: SetsView, columns: list[ColumnKey]) -> list[Method]:
    """Return the methods of the paper that did not run, with the numbers of each data set."""
    within = list(run.study.within)
    rows: dict[str, dict[ColumnKey, Entry]] = {}
    for data_set, view in run.on_set.items():
        if view.published is None:
            continue
        known = [variant.published_levels for variant in view.variants]
        for levels, value in view.published.beyond(known, run.metric):
            key = (data_set, tuple(levels.get(name) for name in within))
            name = places.method_name({factor: level for factor, level in levels.items() if factor not in within})
            if key in columns:
                rows.setdefault(f"{name} (cited)", {})[key] = Entry(None, value)
    return [Method(name, row, is_cited=True) for name, row in rows.items()]


def _drawn(draw: Any, key: ColumnKey, method: Method) -> Cell:
    entry = method.entries.get(key)
    return Cell("") if entry is None else draw(entry)


def _arrow(variant: Variant) -> str:
    return variant.verdict if variant.verdict in ("better", "worse") else ""


def _text_cell(entry: Entry) -> Cell:
    beside = "" if entry.published is None else f"({formats.metric(entry.published)})"
    if entry.variant is None:
        return Cell("", beside=beside)
    if entry.hole:
        return Cell(formats.NONE, entry.hole, beside=f"{entry.hole} {beside}".strip())
    row = entry.variant.compared
    half = _half_width(row)
    return Cell(
        formats.metric(row["mean"]),
        f"\N{PLUS-MINUS SIGN}{half}" if half else None,
        row["mean"],
        _arrow(entry.variant),
        half_width=half,
        is_bold=entry.is_best,
        beside=beside,
    )


def _half_width(row: Mapping[str, Any]) -> str:
    low = row["ci_low"]
    high = row["ci_high"]
    return "" if low is None or high is None else formats.metric((high - low) / 2)


def _page_cell(entry: Entry) -> Cell:
    lines: list[Markup] = []
    published = entry.published
    if entry.variant is None:
        return Cell("" if published is None else f"({formats.metric(published)})", sort_key=published)
    row = entry.variant.compared
    half = _half_width(row)
    if entry.hole:
        lines.append(tag("small", entry.hole, class_="hole"))
    elif half:
        verdict = _arrow(entry.variant)
        mark = tag("span", verdicts.MARKS[verdict], class_=verdicts.verdict_class(verdict)) if verdict else None
        lines.append(tag("small", f"\N{PLUS-MINUS SIGN}{half}", mark))
    if not entry.hole and row["seeds"] < entry.variant.planned:
        lines.append(tag("small", f"{row['seeds']}/{entry.variant.planned} seeds", class_="hole"))
    if published is not None:
        lines.append(tag("small", f"({formats.metric(published)})"))
    text = formats.NONE if entry.hole else formats.metric(row["mean"])
    return Cell(text, join(*lines), row["mean"], is_bold=entry.is_best)


def _csv_value(key: ColumnKey, name: str, method: Method) -> Any:
    entry = method.entries.get(key)
    if entry is None:
        return None
    if name == "published":
        return entry.published
    variant = entry.variant
    if variant is None:
        return None
    low, high = variant.compared["ci_low"], variant.compared["ci_high"]
    values = {
        "mean": variant.compared["mean"],
        "half_width": None if low is None else (high - low) / 2,
        "seeds": variant.compared["seeds"],
        "verdict": variant.verdict,
        "best": "yes" if entry.is_best else "",
        "hole": entry.hole,
    }
    return values[name]
