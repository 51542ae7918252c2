"""The section that compares few-shot variants episode by episode."""

from dashboards.ablation.view import View
from dashboards.html import Markup, breakable_name, formats, number_cell, section, table_element, tag, verdicts
from dashboards.run_data import row_limits
from raysearch.studies.analysis import paired_episodes

_NOTE = (
    "The same trained networks on the same episodes: differences from the reference, paired by episode, with 95 % "
    "intervals over episodes. They describe these networks on other episodes, not networks that are trained again."
)


def same_episodes(run: View) -> Markup | None:
    """Return the table of differences; None for a study without episodes."""
    compared = paired_episodes.compare(run.rows, run.study.references or run.reference.name)
    row_of = {row["variant"]: row for row in compared.to_pylist()}
    if not row_of:
        return None
    body = []
    for variant in row_limits.shown(run, verdicts.ROWS_IN_PAGE):
        if variant.name in row_of:
            row = row_of[variant.name]
            bounds = formats.interval(row["delta_low"], row["delta_high"], sign=True)
            cells = [number_cell(formats.signed(row["delta"]), bounds, row["delta"])]
            cells += [
                number_cell(f"{row['episodes']:,}", by=row["episodes"]),
                number_cell(str(row["seeds"]), by=row["seeds"]),
            ]
            body.append([breakable_name(variant.label), *cells])
    return section(
        "episodes",
        "On the same episodes",
        table_element(["Variant", "Difference", "Episodes", "Seeds"], body, tag("span", _NOTE)),
    )
