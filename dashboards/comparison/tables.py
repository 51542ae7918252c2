"""The tables of a comparison: means and differences as CSV, differences for papers, the page and the terminal."""

from collections.abc import Callable
from typing import Any

from dashboards.ablation.variant import Variant
from dashboards.ablation.view import View
from dashboards.comparison.view import Comparison, Match
from dashboards.html import Cell, Column, Markup, Table, breakable_name, csv_value, formats, join, tag, verdicts
from raysearch.core.console import TerminalTable

_COMPARED = ("seeds", "mean", "ci_low", "ci_high", "failed", "stopped")


def table_files(comparison: Comparison) -> dict[str, str]:
    """Return the tables beside the page: file name -> content."""
    paper_table = differences_paper_table(comparison)
    return {
        "means.csv": means_csv(comparison),
        "differences.csv": differences_csv(comparison),
        "differences.md": paper_table.to_markdown(),
        "differences.tex": paper_table.to_latex(),
    }


def means_csv(comparison: Comparison) -> str:
    """Return every mean in full, one row per variant of a run."""
    rows = [(run_name, run, variant) for run_name, run in comparison.runs.items() for variant in run.variants]
    ids = " ".join(comparison.metric_ids)

    def _compared(key: str) -> Callable[[tuple[str, View, Variant]], Any]:
        return lambda row: row[2].compared[key]

    columns: list[Column[tuple[str, View, Variant]]] = [
        Column("run", lambda row: row[0]),
        Column("study", lambda row: row[1].study.study),
        Column("variant", lambda row: row[2].name),
        Column("metric", lambda row: row[1].metric),
        Column("metric_ids", lambda row: ids),
        *(Column(key, _compared(key)) for key in _COMPARED),
        Column("missing", lambda row: row[2].missing),
        Column("seconds", lambda row: row[2].seconds),
    ]
    return Table(columns, rows).to_csv()


def differences_csv(comparison: Comparison) -> str:
    """Return every difference from the first run in full."""
    columns: list[Column[Match]] = [
        Column("run", lambda match: match.run),
        Column("variant", lambda match: match.variant.name),
        Column("against_run", lambda match: comparison.first_name),
        Column("against_variant", lambda match: match.baseline.name),
        Column("config_differs", lambda match: "; ".join(match.changes)),
        Column("test", lambda match: match.difference.test),
        Column("seeds", lambda match: match.difference.seeds[0]),
        Column("seeds_against", lambda match: match.difference.seeds[1]),
        Column("delta", lambda match: match.difference.delta),
        Column("delta_low", lambda match: match.difference.low),
        Column("delta_high", lambda match: match.difference.high),
        Column("p", lambda match: match.difference.p),
        Column("p_holm", lambda match: match.difference.p_holm),
        Column("decided", lambda match: csv_value(match.difference.decided and not comparison.is_provisional)),
        Column("verdict", lambda match: match.verdict),
    ]
    return Table(columns, comparison.matches).to_csv()


def differences_paper_table(comparison: Comparison) -> Table[Match]:
    """Return the differences for Markdown and LaTeX; significant ones are bold and carry an arrow."""
    metric = formats.metric_name(comparison.first_run.metric)
    columns: list[Column[Match]] = [
        Column("variant", lambda match: match.label, "name"),
        Column("run", lambda match: match.run, "name"),
        Column(metric, lambda match: formats.metric(match.variant.compared["mean"])),
        Column(f"{metric}, {comparison.first_name}", lambda match: formats.metric(match.baseline.compared["mean"])),
        Column("difference", _difference_and_half_width),
        Column("p (Holm)", _p_value),
        Column("by", test_text, "text"),
    ]
    rows = largest_matches(comparison, verdicts.ROWS_IN_FILE)
    return Table(columns, rows, note=_paper_note(comparison, verdicts.ROWS_IN_FILE))


def differences_table(comparison: Comparison) -> Table[Match]:
    """Return the differences for the page."""
    metric = formats.metric_name(comparison.first_run.metric)
    limit = verdicts.ROWS_IN_PAGE
    columns: list[Column[Match]] = [Column("Variant", lambda match: match.label, "name")]
    if len(comparison.runs) > 2:
        columns.append(Column("Run", lambda match: match.run, "name"))
    columns += [
        Column(metric, lambda match: _mean(match.variant)),
        Column(join(f"{metric}, ", breakable_name(comparison.first_name)), lambda match: _mean(match.baseline)),
        Column("Difference", _difference),
        Column("p (Holm)", lambda match: Cell(_p_value(match), sort_key=match.difference.p_holm)),
        Column("Verdict", lambda match: Cell(verdict_text(match), verdict=match.verdict), "verdict"),
        Column("By", _test, "text", css_class="number"),
        Column("Config differs in", _changes, "text", css_class="wide"),
    ]
    note = f"Each variant minus its match in {comparison.first_name}. In brackets: 95 % intervals."
    note += "".join(f" {rule_note}." for rule_note in comparison.rule_notes)
    if len(comparison.matches) > limit:
        note += f" The {limit} largest of {len(comparison.matches):,}; tables/differences.csv lists all."
    return Table(columns, largest_matches(comparison, limit), note)


def terminal_table(comparison: Comparison) -> TerminalTable:
    """Return the differences for the terminal."""
    columns: list[Column[Match]] = [
        Column("variant", lambda match: match.label, "name"),
        Column("run", lambda match: match.run, "name"),
        Column("mean", lambda match: formats.metric(match.variant.compared["mean"])),
        Column(comparison.first_name, lambda match: formats.metric(match.baseline.compared["mean"])),
        Column("difference", lambda match: _difference(match).text),
        Column("95 %", lambda match: _difference(match).detail),
        Column("", verdict_text, "text"),
        Column("by", test_text, "text"),
    ]
    omitted = len(comparison.matches) - verdicts.ROWS_IN_TERMINAL
    notes = comparison.rule_notes
    if omitted > 0:
        notes.append(f"... and {omitted:,} more in tables/differences.csv")
    return Table(
        columns,
        largest_matches(comparison, verdicts.ROWS_IN_TERMINAL),
        note="\n".join(notes),
        title=", ".join(comparison.metric_ids),
        row_style=lambda match: verdicts.terminal_style(match.verdict),
    ).to_terminal()


def largest_matches(comparison: Comparison, limit: int) -> list[Match]:
    """Return all matches, or if there are more than `limit` the decided and the largest ones, in the plan's order."""
    matches = list(comparison.matches)
    if len(matches) <= limit:
        return matches

    def _rank(index: int) -> tuple[bool, float]:
        difference = matches[index].difference
        return not difference.decided, -abs(difference.delta or 0.0)

    largest = sorted(range(len(matches)), key=_rank)[:limit]
    return [matches[index] for index in sorted(largest)]


def verdict_text(match: Match) -> str:
    """Return a match's verdict in words, with a mark if the difference is significant."""
    return verdicts.verdict_text(match.verdict)


def test_text(match: Match) -> str:
    """Return the test of a difference and its number of seeds, or why there is no test."""
    difference = match.difference
    if match.verdict == "same cells":
        return f"same result, {formats.count(difference.seeds[0], 'cell')}"
    if difference.refused is not None:
        return difference.refused
    if difference.test == "paired":
        return f"paired, {formats.count(difference.seeds[0], 'seed')}"
    return f"Welch, {difference.seeds[0]} and {difference.seeds[1]} seeds"


def _mean(variant: Variant) -> Cell:
    return Cell(formats.metric(variant.compared["mean"]), sort_key=variant.compared["mean"])


def _difference(match: Match) -> Cell:
    difference = match.difference
    text = "" if difference.delta is None else formats.signed(difference.delta)
    return Cell(text, formats.interval(difference.low, difference.high, sign=True), difference.delta)


def _difference_and_half_width(match: Match) -> Cell:
    difference = match.difference
    if difference.delta is None:
        return Cell("")
    half = formats.half_width(difference.low, difference.high)
    return Cell(formats.signed(difference.delta), verdict=match.verdict, half_width=half)


def _p_value(match: Match) -> str:
    return "" if match.difference.low is None else formats.p_value(match.difference.p_holm)


def _test(match: Match) -> Cell:
    test, _, detail = test_text(match).partition(", ")
    return Cell(test, detail)


def _changes(match: Match) -> Cell:
    """Return a few changes in full, and many behind a summary."""
    changes = "; ".join(match.changes)
    if len(match.changes) <= 4:
        return Cell(changes or "nothing")
    summary = tag("summary", formats.count(len(match.changes), "setting"))
    return Cell("", Markup(tag("details", summary, changes)))


def _paper_note(comparison: Comparison, limit: int) -> str:
    ids = ", ".join(comparison.metric_ids)
    parts = [f"{ids}; differences from {comparison.first_name}; mean ± half the 95 % interval"]
    parts.append(
        "↑ significantly better, ↓ significantly worse: p corrected by Holm over all differences here is at most 0.05"
    )
    parts += comparison.rule_notes
    if len(comparison.matches) > limit:
        parts.append(f"{limit} of {len(comparison.matches):,} differences; tables/differences.csv lists all")
    return "; ".join(parts)
