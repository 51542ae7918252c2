"""The table of variants outside the page: CSV and JSON, LaTeX and Markdown for papers, and the terminal's."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from dashboards.ablation import cost, protocol, row_limits
from dashboards.ablation.judging import rule_words
from dashboards.ablation.variant import Variant
from dashboards.ablation.view import View
from dashboards.html import Cell, Column, FirstThatFits, Table, csv_value, formats, verdicts

_LONGEST_NAME = 40  # columns of a name on one line of the terminal
_COMPARED = ("mean", "ci_low", "ci_high", "delta", "delta_low", "delta_high", "p", "p_holm", "decided")


def variant_files(run: View) -> dict[str, str]:
    """Return name -> text of the files with the table of variants."""
    for_paper = paper_table(run)
    return {
        "variants.csv": csv_table(run).to_csv(),
        "variants.json": json_text(run),
        "variants.tex": for_paper.to_latex(),
        "variants.md": for_paper.to_markdown(),
    }


def csv_table(run: View) -> Table[Variant]:
    """Return every number in full, one row per variant, as values for CSV."""
    table = full_table(run)
    return replace(table, columns=[_for_csv(column) for column in table.columns])


def _for_csv(column: Column[Variant]) -> Column[Variant]:
    return replace(column, cell=lambda variant: csv_value(column.cell(variant)))


def full_table(run: View) -> Table[Variant]:
    """Return every number in full, one row per variant."""
    dollars = cost.cost_by_variant(run)
    columns: list[Column[Variant]] = [
        Column("study", lambda variant: run.study.study),
        Column("variant", lambda variant: variant.name),
        *([Column("data_set", lambda variant: variant.data_set)] if run.study.data_sets else []),
        *(Column(factor, _setting(factor)) for factor in run.factors),
        *(Column(f"{factor} (declared)", _declared(factor)) for factor in run.factors),
        Column("metric", lambda variant: run.metric),
        Column("metric_id", lambda variant: run.metric_id),
        Column("verdict", lambda variant: variant.verdict),
        Column("seeds", lambda variant: variant.compared["seeds"]),
        *(Column(name, _compared(name)) for name in _COMPARED),
        *(Column(name, _compared(name)) for name in ("refused", "failed", "stopped")),
        Column("missing", lambda variant: variant.missing),
        Column("seconds", lambda variant: variant.seconds),
        Column("epochs", lambda variant: variant.epochs),
        Column("gpu_hours", lambda variant: variant.gpu_hours),
        Column("dollars", lambda variant: dollars.get(variant.name)),
        Column("erased_fraction", lambda variant: variant.erased),
        Column("published", lambda variant: variant.published[0] if variant.published else ""),
        Column("published_table", lambda variant: variant.published[1] if variant.published else ""),
        Column("measured_less_published", lambda variant: variant.less_published),
        Column("same_protocol", lambda variant: protocol.of(run, variant)),
        *_rule_columns(run),
    ]
    return Table(columns, run.variants)


def _rule_columns(run: View) -> list[Column[Variant]]:
    """Return the columns of a study with looks: those that it declared, or those that its levels do not account for."""
    columns: list[Column[Variant]] = []
    if run.study.looks:
        columns += [
            Column("looks", lambda variant: run.study.looks),
            Column("look", lambda variant: variant.compared["look"]),
            Column("level", lambda variant: variant.compared["level"]),
            Column("margin", lambda variant: run.study.margin),
            Column("cells_saved", run.saved),
        ]
    if run.study.looked:
        columns.append(Column("looked", lambda variant: run.study.looked))
    if run.skewed:
        columns += [Column(name, _skewed(run, name)) for name in ("skewness", "skewness_p", "sign_flip_p")]
    return columns


def _skewed(run: View, name: str) -> Callable[[Variant], float | None]:
    return lambda variant: getattr(run.skewed.get(variant.name), name, None)


def json_text(run: View) -> str:
    """Return the table of `full_table` as JSON, with the rule of the study and what to know of its verdicts."""
    study = run.study
    content = {
        "study": study.study,
        "looks": study.looks,
        "margin": study.margin,
        "looked": study.looked,
        "provisional": run.is_provisional,
        "notes": [*rule_words.table_notes(run), *rule_words.warnings(run)],
        "variants": full_table(run).to_records(),
    }
    return json.dumps(content, indent=1, allow_nan=False)


def paper_table(run: View) -> Table[Variant]:
    """Return the table for papers, in which decided differences stand out; see `row_limits` for its rows."""
    columns: list[Column[Variant]] = [
        Column("variant", lambda variant: variant.label, "name"),
        Column(formats.metric_name(run.metric), _mean_and_half_width),
        Column("difference", _difference_and_half_width),
        Column(rule_words.p_title(run), _p_value),
        Column("seeds", lambda variant: variant.compared["seeds"]),
        Column("failed", lambda variant: variant.compared["failed"]),
        Column("epochs", lambda variant: None if variant.epochs is None else f"{variant.epochs:.4g}"),
    ]
    if any(variant.gpu_hours for variant in run.variants):
        columns.append(Column("GPU-hours", lambda variant: formats.metric(variant.gpu_hours)))
    if run.published:
        columns += [
            Column("published", lambda variant: formats.metric(variant.published[0]) if variant.published else ""),
            Column("measured \N{MINUS SIGN} published", _measured_minus_published),
            Column("same protocol", lambda variant: protocol.of(run, variant), "text"),
        ]
    rows = row_limits.shown(run, verdicts.ROWS_IN_FILE)
    return Table(columns, rows, note=_note(run), ends_section=lambda variant: variant.is_reference)


def terminal_table(run: View) -> FirstThatFits:
    """Return the table for the terminal; a narrow one has the intervals below their numbers."""
    wide: list[Column[Variant]] = [
        Column("variant", lambda variant: variant.label, "name", widths=(None, _LONGEST_NAME)),
        Column("mean", lambda variant: formats.metric(variant.compared["mean"])),
        Column(rule_words.interval_title(run), lambda variant: mean_cell(variant).detail),
        Column("difference", lambda variant: difference_cell(variant).text),
        Column(rule_words.interval_title(run), lambda variant: difference_cell(variant).detail),
        Column("verdict", lambda variant: verdicts.verdict_text(variant.verdict), "text"),
        Column("seeds", lambda variant: f"{variant.compared['seeds']}/{variant.planned}"),
        Column("failed", lambda variant: variant.compared["failed"] or ""),
    ]
    narrow: list[Column[Variant]] = [
        Column("variant", lambda variant: variant.label, "name", widths=(16, None)),
        Column("mean", mean_cell, widths=(9, None)),
        Column("difference", difference_cell, widths=(9, None)),
        Column("verdict", lambda variant: verdicts.verdict_text(variant.verdict), "text", wrap=True, widths=(9, None)),
        Column("seeds", _seeds_and_failures, widths=(9, None)),
    ]
    omitted = len(run.variants) - verdicts.ROWS_IN_TERMINAL
    notes = [
        *rule_words.table_notes(run),
        *run.refusals,
        *([run.cut_note] if run.cut_note else []),
        *([f"... and {omitted:,} more in tables/variants.csv"] if omitted > 0 else []),
    ]
    drawn = [
        Table(
            columns,
            row_limits.shown(run, verdicts.ROWS_IN_TERMINAL),
            note="\n".join(notes),
            title=run.metric_id,
            row_style=lambda variant: verdicts.terminal_style(variant.verdict),
            ends_section=lambda variant: variant.is_reference,
        )
        for columns in (wide, narrow)
    ]
    return FirstThatFits(drawn[0].to_terminal(), drawn[1].to_terminal(compact=True))


def mean_cell(variant: Variant) -> Cell:
    """Return a variant's mean with its interval."""
    row = variant.compared
    return Cell(formats.metric(row["mean"]), formats.interval(*variant.mean_interval), row["mean"])


def difference_cell(variant: Variant) -> Cell:
    """Return a variant's difference from the reference with its interval; empty if there is none."""
    row = variant.compared
    bounds = formats.interval(row["delta_low"], row["delta_high"], sign=True)
    return Cell("" if row["delta"] is None else formats.signed(row["delta"]), bounds, row["delta"])


def verdict(variant: Variant) -> str:
    """Return a variant's verdict in words, with a mark if the difference is significant."""
    return verdicts.verdict_text(variant.verdict)


def _setting(factor: str) -> Callable[[Variant], Any]:
    return lambda variant: variant.settings.get(factor)


def _declared(factor: str) -> Callable[[Variant], Any]:
    return lambda variant: variant.level(factor)


def _compared(name: str) -> Callable[[Variant], Any]:
    return lambda variant: variant.compared[name]


def _mean_and_half_width(variant: Variant) -> Cell:
    row = variant.compared
    return Cell(formats.metric(row["mean"]), half_width=formats.half_width(row["ci_low"], row["ci_high"]))


def _difference_and_half_width(variant: Variant) -> Cell:
    row = variant.compared
    if row["delta"] is None:
        return Cell("")
    half = formats.half_width(row["delta_low"], row["delta_high"])
    return Cell(formats.signed(row["delta"]), verdict=variant.verdict, half_width=half)


def _p_value(variant: Variant) -> str:
    row = variant.compared
    return "" if row["delta_low"] is None else formats.p_value(row["p_holm"])


def _measured_minus_published(variant: Variant) -> str:
    return "" if variant.less_published is None else formats.signed(variant.less_published)


def _seeds_and_failures(variant: Variant) -> Cell:
    failed = variant.compared["failed"]
    return Cell(f"{variant.compared['seeds']}/{variant.planned}", f"{failed} failed" if failed else None)


def _interval(run: View) -> str:
    return "Student-t interval of its look" if run.study.looks else "95 % Student-t interval"


def _note(run: View) -> str:
    study = run.study
    parts = [
        f"{study.study}: {run.metric_id}, profile {study.profile or 'unknown'}",
        f"data {study.data.name or 'unknown'} {(study.data.content_hash or '')[:12]}".strip(),
        f"mean ± half the {_interval(run)} over seeds; paired differences from the reference",
        "↑ significantly better, ↓ significantly worse: Holm-corrected p at most 0.05",
        *rule_words.table_notes(run),
        *([f"corrected over the whole study: {run.family_note}"] if run.family_note else []),
        *(f"no interval and no verdict: {reason}" for reason in run.refusals),
    ]
    if run.published:
        parts.append(f"published: {run.published.paper}")
    if len(run.variants) > verdicts.ROWS_IN_FILE:
        parts.append(row_limits.note(run, verdicts.ROWS_IN_FILE).removesuffix("."))
    return "; ".join(parts)
