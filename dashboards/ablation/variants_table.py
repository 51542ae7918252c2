"""The table of variants on the page, with the sources of published numbers and the other metrics below it."""

from dashboards.ablation import cost, protocol, row_limits, tables, view
from dashboards.ablation.judging import rule_words
from dashboards.ablation.variant import Variant, levels
from dashboards.html import Cell, Column, Markup, Section, Table, breakable_name, formats, join, section, tag, verdicts
from dashboards.run_data import data_sets, loads, mapping, mean


def variants(run: view.View) -> Section:
    """Return the section."""
    note = f"In brackets: {rule_words.interval_words(run)}. "
    note += "Differences are paired by seed and taken from the reference. "
    if notes := rule_words.as_sentences(rule_words.table_notes(run)):
        note += f"{notes} "
    if run.family_note:
        note += f"p is corrected over the whole study; these are {run.family_note}. "
    if run.cut_note:
        note += f"{run.cut_note} "
    note = f"{note}{row_limits.note(run, verdicts.ROWS_IN_PAGE)}".strip()
    table = Table(_columns(run), row_limits.shown(run, verdicts.ROWS_IN_PAGE), note)
    return section("variants", "Variants", table.to_html(), _published_note(run), _cited(run), _other_metrics(run))


def _columns(run: view.View) -> list[Column[Variant]]:
    """Return the columns; those that would be empty are left out."""
    shown = row_limits.shown(run, verdicts.ROWS_IN_PAGE)
    columns: list[Column[Variant]] = [
        Column("Variant", lambda variant: _name(run, variant), "name"),
        Column(f"{formats.metric_name(run.metric)}, mean", tables.mean_cell),
        Column("Difference", tables.difference_cell),
        Column(rule_words.p_title(run), _p_value),
        *([Column("p (sign flips)", lambda variant: _sign_flip(run, variant))] if run.skewed else []),
        Column("Verdict", lambda variant: _verdict(run, variant), "verdict"),
        Column("Seeds", _seeds),
        Column("Time per cell", lambda variant: Cell(formats.seconds(variant.seconds), sort_key=variant.seconds)),
    ]
    if any(variant.epochs is not None for variant in shown):
        columns.append(Column("Epochs", _epochs))
    if any(variant.gpu_hours for variant in shown):
        columns.append(Column("GPU-hours", lambda variant: _number(variant.gpu_hours)))
    if dollars := cost.cost_by_variant(run):
        columns.append(
            Column("Cost", lambda variant: Cell(cost.dollars(dollars[variant.name]), sort_key=dollars[variant.name]))
        )
    if any(variant.erased is not None for variant in shown):
        columns.append(Column("Erased", _erased))
    if run.published is not None:
        columns += [
            Column("Published", _published),
            Column("Measured \N{MINUS SIGN} published", _measured_minus_published),
            Column("Same protocol", lambda variant: protocol.of(run, variant), "text", css_class="protocol"),
        ]
    return columns


def _name(run: view.View, variant: Variant) -> Cell:
    has_levels = variant.is_reference and run.study.design != "leave_one_out"
    detail = levels(variant) if has_levels else ""
    return Cell(variant.label, tag("small", breakable_name(formats.joined(detail, ",\n"))) if detail else None)


def _number(value: float | None) -> Cell:
    return Cell("" if value is None else formats.metric(value), sort_key=value)


def _p_value(variant: Variant) -> Cell:
    corrected = variant.compared["p_holm"] if variant.compared["delta_low"] is not None else None
    return Cell("" if corrected is None else formats.p_value(corrected), sort_key=corrected)


def _sign_flip(run: view.View, variant: Variant) -> Cell:
    test = run.skewed.get(variant.name)
    if test is None:
        return Cell("")
    text = "too few seeds" if test.sign_flip_p is None else formats.p_value(test.sign_flip_p)
    return Cell(text, f"skewness {formats.signed(test.skewness)}", test.sign_flip_p)


def _verdict(run: view.View, variant: Variant) -> Cell:
    detail = variant.compared["refused"] if variant.verdict == "no interval" else None
    if run.study.looks and not variant.is_reference and variant.compared["look"]:
        look = rule_words.look_text(run, variant.compared["look"])
        detail = f"{look}: {detail}" if detail else look
    return Cell(verdicts.verdict_text(variant.verdict), detail, verdict=variant.verdict)


def _seeds(variant: Variant) -> Cell:
    row = variant.compared
    counts = {"failed": row["failed"], "stopped": row["stopped"], "not run": variant.missing}
    holes = [tag("small", f"{count} {kind}", class_="hole") for kind, count in counts.items() if count]
    text = f"{row['seeds']} of {variant.planned}" if holes else str(row["seeds"])
    return Cell(text, join(*holes), row["seeds"])


def _epochs(variant: Variant) -> Cell:
    return Cell("" if variant.epochs is None else f"{variant.epochs:,.4g}", sort_key=variant.epochs)


def _erased(variant: Variant) -> Cell:
    return Cell("" if variant.erased is None else f"{100 * variant.erased:.1f} %", sort_key=variant.erased)


def _published(variant: Variant) -> Cell:
    value, source = variant.published or (None, "")
    return Cell(_number(value).text, f"table {source}" if source else None, value)


def _measured_minus_published(variant: Variant) -> Cell:
    difference = variant.less_published
    return Cell("" if difference is None else formats.signed(difference), sort_key=difference)


def _published_note(run: view.View) -> Markup | None:
    if run.published is None:
        known = data_sets(run.study.published)
        if not known:
            return None
        text = f"Published: no numbers for this data set ({run.study.data.layout or 'unknown'}), only for "
        return tag("p", f"{text}{', '.join(known)}.", class_="note")
    details = {
        key: text for key, text in run.published.source.items() if key != "paper" and key not in protocol.ASPECTS
    }
    sentences = [
        f"Published: {run.published.paper}.",
        *(f"{key.capitalize()}: {text}." for key, text in details.items()),
    ]
    if any(variant.published and protocol.of(run, variant) != "yes" for variant in run.variants):
        sentences.append("Where protocols differ, compare the shape over the levels, not the values.")
    return tag("p", " ".join(sentences), class_="note")


def _cited(run: view.View) -> Markup | None:
    """Return the published numbers of methods that the study does not run, marked as such."""
    if run.published is None:
        return None
    beyond = run.published.beyond([variant.published_levels for variant in run.variants], run.metric)
    if not beyond:
        return None
    table = Table(
        [
            Column("Named", lambda entry: _levels_text(entry[0]), "name"),
            Column("Published", lambda entry: _number(entry[1])),
            Column("", lambda entry: "cited, not run", "text"),
        ],
        beyond,
        "Numbers in the paper that this study does not run.",
    )
    return tag("details", tag("summary", "Published, not run here"), table.to_html())


def _levels_text(levels: dict) -> str:
    return ", ".join(level if isinstance(level, str) else f"{factor}={level}" for factor, level in levels.items())


def _other_metrics(run: view.View) -> Markup | None:
    """Return the means of the other metrics that the cells report, under their ids."""
    ids: dict[str, str] = {}
    for text in dict.fromkeys(row.get("metric_ids") for row in run.rows):
        ids |= mapping(loads(text))
    others = [metric for metric in ids if metric != run.metric and any(row.get(metric) is not None for row in run.rows)]
    if not others:
        return None
    columns: list[Column[Variant]] = [Column("Variant", lambda variant: variant.label, "name")]
    columns += [_mean_column(metric, ids[metric]) for metric in others]
    table = Table(columns, row_limits.shown(run, verdicts.ROWS_IN_PAGE), "Means over seeds; not compared.")
    return tag("details", tag("summary", "Other metrics"), table.to_html())


def _mean_column(metric: str, metric_id: str) -> Column[Variant]:
    def _cell(variant: Variant) -> Cell:
        value = mean(row.get(metric) for row in variant.finished)
        return Cell(formats.metric(value), sort_key=value)

    return Column(tag("code", metric_id), _cell)
