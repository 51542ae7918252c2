"""The table of variants, and what stands below it: whence the published numbers are, and the other metrics."""

from collections.abc import Callable

from dashboards.ablation import cost
from dashboards.ablation.tables import verdict
from dashboards.ablation.view import Variant, View, levels
from dashboards.html import formats
from dashboards.html.markup import Markup, Section, join, name, number, rows, section, tag
from dashboards.run_data import protocol, row_limits
from dashboards.run_data.result_rows import loads, mapping, mean

Column = tuple[str, Callable[[Variant], Markup]]  # header and cell


def variants(run: View) -> Section:
    """The section."""
    columns = _columns(run)
    body = [[_name(run, one), *(cell(one) for _, cell in columns)] for one in row_limits.shown(run, row_limits.IN_PAGE)]
    note = "In brackets: 95 % intervals. Differences are paired by seed and taken from the reference. "
    note = f"{note}{row_limits.note(run, row_limits.IN_PAGE)}".strip()
    table = rows(["Variant", *(header for header, _ in columns)], body, note)
    return section("variants", "Variants", table, _published_note(run), _cited(run), _other_metrics(run))


def _columns(run: View) -> list[Column]:
    """What is told of each variant; columns without a number in them are left out."""
    shown = row_limits.shown(run, row_limits.IN_PAGE)
    columns: list[Column] = [
        (f"{formats.metric_name(run.metric)}, mean", _mean),
        ("Difference", _difference),
        ("p (Holm)", _p_value),
        ("Verdict", _verdict),
        ("Seeds", _seeds),
        ("Time a cell", lambda one: number(formats.seconds(one.seconds), by=one.seconds)),
    ]
    if any(one.epochs is not None for one in shown):
        columns.append(("Epochs", _epochs))
    if any(one.gpu_hours for one in shown):
        columns.append(("GPU-hours", lambda one: number(formats.metric(one.gpu_hours), by=one.gpu_hours)))
    if paid := cost.shares(run):
        columns.append(("Cost", lambda one: number(cost.dollars(paid[one.name]), by=paid[one.name])))
    if any(one.erased is not None for one in shown):
        columns.append(("Erased", _erased))
    if run.published is not None:
        columns += [("Published", _published), ("Measured less published", _less_published)]
        columns.append(("Same protocol", lambda one: tag("td", protocol.of(run, one), class_="protocol")))
    return columns


def _name(run: View, one: Variant) -> Markup:
    detail = levels(one) if one.is_reference and run.study.design != "leave_one_out" else ""
    return join(name(one.label), tag("small", name(formats.joined(detail, ",\n"))) if detail else None)


def _mean(one: Variant) -> Markup:
    row = one.compared
    return number(formats.metric(row["mean"]), formats.interval(row["ci_low"], row["ci_high"]), row["mean"])


def _difference(one: Variant) -> Markup:
    row = one.compared
    bounds = formats.interval(row["delta_low"], row["delta_high"], sign=True)
    return number(formats.signed(row["delta"]) if row["delta"] is not None else "", bounds, row["delta"])


def _p_value(one: Variant) -> Markup:
    corrected = one.compared["p_holm"]
    return number(formats.p_value(corrected) if corrected is not None else "", by=corrected)


def _verdict(one: Variant) -> Markup:
    reason = one.compared["refused"] if one.verdict == "no interval" else None
    words = tag("span", verdict(one), class_=f"verdict {one.verdict.replace(' ', '-')}")
    return tag("td", words, tag("small", reason) if reason else None)


def _seeds(one: Variant) -> Markup:
    row = one.compared
    kinds = {"failed": row["failed"], "stopped": row["stopped"], "not run": one.missing}
    holes = [tag("small", f"{number} {kind}", class_="hole") for kind, number in kinds.items() if number]
    words = f"{row['seeds']} of {one.planned}" if holes else str(row["seeds"])
    return tag("td", words, *holes, class_="number", data_value=row["seeds"])


def _epochs(one: Variant) -> Markup:
    return number("" if one.epochs is None else f"{one.epochs:,.4g}", by=one.epochs)


def _erased(one: Variant) -> Markup:
    return number("" if one.erased is None else f"{100 * one.erased:.1f} %", by=one.erased)


def _published(one: Variant) -> Markup:
    value, table = one.published or (None, "")
    return number(formats.metric(value) if value is not None else "", f"table {table}" if table else "", value)


def _less_published(one: Variant) -> Markup:
    difference = one.less_published
    return number(formats.signed(difference) if difference is not None else "", by=difference)


def _published_note(run: View) -> Markup | None:
    if run.published is None:
        return None
    source = run.published.source
    told = {key: text for key, text in source.items() if key != "paper" and key not in protocol.ASPECTS}
    words = [f"Published: {run.published.paper}.", *(f"{key.capitalize()}: {text}." for key, text in told.items())]
    if any(one.published and protocol.of(run, one) != "yes" for one in run.variants):
        words.append("Where protocols differ, compare the shape over the levels, not the values.")
    return tag("p", " ".join(words), class_="note")


def _cited(run: View) -> Markup | None:
    """Published numbers of what the study does not run, marked as such."""
    beyond = run.published.beyond([one.declared for one in run.variants], run.metric) if run.published else []
    if not beyond:
        return None
    body = [
        [
            ", ".join(level if isinstance(level, str) else f"{factor}={level}" for factor, level in levels.items()),
            number(formats.metric(value), by=value),
            "cited, not run",
        ]
        for levels, value in beyond
    ]
    return tag(
        "details",
        tag("summary", "Published, not run here"),
        rows(["Named", "Published", ""], body, "What the paper compares with and this study does not run."),
    )


def _other_metrics(run: View) -> Markup | None:
    """Means of the other metrics that the cells report, under their ids."""
    ids: dict[str, str] = {}
    for text in dict.fromkeys(row.get("metric_ids") for row in run.rows):
        ids |= mapping(loads(text))
    others = [name for name in ids if name != run.metric and any(row.get(name) is not None for row in run.rows)]
    if not others:
        return None
    body = []
    for one in row_limits.shown(run, row_limits.IN_PAGE):
        means = [mean(row.get(name) for row in one.finished) for name in others]
        body.append([one.label, *(number(formats.metric(value), by=value) for value in means)])
    table = rows(["Variant", *(tag("code", ids[name]) for name in others)], body, "Means over seeds; not compared.")
    return tag("details", tag("summary", "Other metrics"), table)
