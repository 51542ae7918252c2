"""The main table of a paper: methods in rows, data sets and perhaps code lengths in columns.

A bold number is the best of its column where that is decided. An arrow is the verdict against the reference. A hole has
its reason. Nothing is averaged over data sets.
"""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dashboards.ablation.judging import rule_words
from dashboards.ablation.variant import Variant
from dashboards.ablation.view import View
from dashboards.html import Cell, Column, FirstThatFits, Markup, Table, formats, join, tag, verdicts
from dashboards.several_sets.view import SetsView
from raysearch.studies.analysis import best_method

_MOST_HOLES = 8  # reasons below the table
_LONGEST_REASON = 160  # characters
ColumnKey = tuple[str, tuple[Any, ...]]  # the data set, and the levels of the factors in `within`


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
                Column(name, functools.partial(_csv_value, key, name), group=_column_title(key))
                for name in ("mean", "half_width", "seeds", "verdict", "best", "published", "hole")
            ]
        return Table(columns, self.methods)

    def _table(self, draw: Any) -> Table[Method]:
        columns: list[Column[Method]] = [Column("method", lambda method: method.name, "name", widths=(None, 30))]
        for key in self.columns:
            data_set, levels = key
            title = ", ".join(map(formats.level, levels)) if levels else data_set
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
        for name, levels, variant in _placed(view):
            columns[data_set, levels] = None
            published = variant.published[0] if variant.published else None
            hole = _hole(run, data_set, variant)
            entries.setdefault(name, {})[data_set, levels] = Entry(variant, published, hole=hole)
    best = _best(run, entries, list(columns))
    methods = [
        Method(name, {key: _marked(entry, best.get(key) == name) for key, entry in row.items()})
        for name, row in entries.items()
    ]
    ordered = _sorted_columns(run, list(columns))
    return MainTable(run, tuple(ordered), (*methods, *_cited(run, ordered)), tuple(_notes(run, entries, bool(best))))


def _marked(entry: Entry, is_best: bool) -> Entry:
    return Entry(entry.variant, entry.published, is_best, entry.hole)


def _sorted_columns(run: SetsView, columns: list[ColumnKey]) -> list[ColumnKey]:
    """Return the columns by data set, and within one by numeric levels."""
    names = list(run.on_set)

    def _rank(key: ColumnKey) -> tuple[int, tuple[float, ...]]:
        data_set, levels = key
        numbers = tuple(float(level) if isinstance(level, int | float) else 0.0 for level in levels)
        return names.index(data_set), numbers

    return sorted(columns, key=_rank)


def _placed(view: View) -> Iterator[tuple[str, tuple[Any, ...], Variant]]:
    """Yield the method's name, the levels of the column, and the variant, for each place of each variant."""
    within = [name for name in view.study.within if name in view.factors]
    others = [name for name in view.factors if name not in within]
    for variant in view.variants:
        if not within:
            yield variant.label, (), variant
            continue
        for levels in variant.places(within + others):
            words = [_level_words(name, level) for name, level in zip(others, levels[len(within) :], strict=True)]
            yield ", ".join(words) or "all", levels[: len(within)], variant


def _level_words(factor: str, level: Any) -> str:
    if isinstance(level, bool):
        return f"{factor} {'on' if level else 'off'}"
    return level if isinstance(level, str) else f"{factor}={formats.level(level)}"


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
            words = [_level_words(name, level) for name, level in levels.items() if name not in within]
            if key in columns:
                rows.setdefault(f"{', '.join(words)} (cited)", {})[key] = Entry(None, value)
    return [Method(name, row, is_cited=True) for name, row in rows.items()]


def _notes(run: SetsView, entries: Mapping[str, Mapping[ColumnKey, Entry]], has_best: bool) -> Iterator[str]:
    yield f"{formats.metric_name(run.metric)}: mean over seeds \N{PLUS-MINUS SIGN} half its 95 % interval."
    if run.study.within:
        yield f"Columns: {', '.join(run.study.within)}."
    yield (
        "An arrow up: better than the reference of the column, paired by seed; an arrow down: worse. "
        f"Holm's correction covers all {formats.count(run.comparisons[1], 'comparison')} on all data sets."
    )
    if run.is_provisional:
        yield "Not all planned cells have ended, so nothing is marked."
    elif run.study.looks:
        yield "The best of a column is not marked in a study with looks."
    elif has_best:
        yield "Bold: the best of its column, decided against every other method."
    else:
        yield "In no column the best method is decided against every other one."
    papers = dict.fromkeys(view.published.paper for view in run.on_set.values() if view.published is not None)
    if papers:
        yield f"In brackets: published ({'; '.join(papers)})."
        without = [name for name, view in run.on_set.items() if view.published is None]
        if without:
            yield f"No published numbers: {formats.listed(without)}."
    if notes := rule_words.as_sentences(rule_words.table_notes(run)):
        yield notes
    yield from _hole_notes(run, entries)


def _hole_notes(run: SetsView, entries: Mapping[str, Mapping[ColumnKey, Entry]]) -> Iterator[str]:
    """Yield the reasons for holes, those of whole data sets first."""
    for name, error in run.left_out.items():
        yield f"{name} could not be opened: {_short(error)}."
    places: dict[str, list[str]] = {}
    for name, row in entries.items():
        for key, entry in row.items():
            if entry.variant is not None and entry.hole in ("failed", "stopped"):
                error = next((str(cell["error"]) for cell in entry.variant.rows if cell.get("error")), "no error")
                places.setdefault(_short(error), []).append(f"{_column_title(key)} {name}")
    for error, names in list(places.items())[:_MOST_HOLES]:
        yield f"{formats.listed(names, most=4)} failed: {error}."
    if len(places) > _MOST_HOLES:
        yield f"{len(places) - _MOST_HOLES} more errors are in the section on cells without a result."


def _short(error: str) -> str:
    line = (error.strip().splitlines() or [""])[-1].rstrip(".")
    return line if len(line) <= _LONGEST_REASON else f"{line[:_LONGEST_REASON]}\N{HORIZONTAL ELLIPSIS}"


def _column_title(key: ColumnKey) -> str:
    data_set, levels = key
    return " ".join([data_set, *map(formats.level, levels)])


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
        lines.append(tag("small", f"\N{PLUS-MINUS SIGN}{half}{verdicts.MARKS.get(_arrow(entry.variant), '')}"))
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
