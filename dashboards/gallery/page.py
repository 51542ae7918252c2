"""The page of a gallery: the cells that it shows, whether their metrics were reproduced, and the pictures."""

from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from dashboards.ablation import header as ablation_header
from dashboards.gallery.elements import Detail, DisplayNames, fit_page
from dashboards.html import Markup, breakable_name, formats, join, page_parts, plain_document, table_element, tag
from dashboards.report import GALLERY
from raysearch.core import atomic
from raysearch.inspection.cell_choice import CellChoice
from raysearch.runs import StudyRecord

Draw = Callable[[Detail], Sequence[Markup | None]]


class CheckedCell(NamedTuple):
    """A shown cell, with its metric computed again by the network of the pictures; None where it was not."""

    cell: CellChoice
    recomputed: float | None

    @property
    def reproduced(self) -> bool:
        """Whether the metric equals the stored one, or was not computed again."""
        return self.recomputed is None or self.recomputed == self.cell.value


class Skipped(NamedTuple):
    """A variant that cannot be shown."""

    variant: str
    reason: str


class Networks(NamedTuple):
    """The networks of a gallery."""

    shown: Sequence[CheckedCell]  # in the order of the page
    skipped: Sequence[Skipped]
    left_out: int  # variants beyond the page's limit


def write_page(directory: str | Path, study: StudyRecord, networks: Networks, names: DisplayNames, draw: Draw) -> Path:
    """Write gallery.html atomically.

    Args:
        directory: the directory of the page.
        study: the contents of `study.json`.
        networks: the networks that are shown.
        names: the names of variants.
        draw: returns the sections with the pictures at a detail.

    Returns:
        The path of the page.
    """
    title = f"{study.study}: gallery"
    style = resources.files("dashboards.gallery").joinpath("style.css").read_text(encoding="utf-8")
    head = [_header(study), _networks_section(networks, names)]
    page = fit_page(lambda detail: plain_document(title, style, *head, *draw(detail)))
    path = Path(directory) / GALLERY
    return atomic.write_text(path, page)


def difference_text(checked: CheckedCell) -> str:
    """Describe how a recomputed metric differs from the stored one; empty if it does not."""
    if checked.reproduced:
        return ""
    cell = checked.cell
    metric = formats.metric_name(cell.metric)
    return (
        f"variant '{cell.variant}', seed {cell.seed}: the recomputed {metric} is {checked.recomputed!r}, "
        f"the stored one is {cell.value!r}"
    )


def _header(study: StudyRecord) -> Markup:
    facts = [
        ("Profile", study.profile or "not recorded"),
        ("Data", ablation_header.data(study.data, whole=bool(study.splits))),
        ("Report", tag("a", "report.html", href="report.html")),
    ]
    brand = f"{study.study} \N{MIDDLE DOT} gallery"
    return page_parts.header(brand, study.question or study.study, facts)


def _networks_section(networks: Networks, names: DisplayNames) -> Markup:
    """List the networks that the pictures come from."""
    metric = formats.metric_name(networks.shown[0].cell.metric)
    header: list[Any] = ["Variant", "Seed shown", "Of seeds", metric]
    if any(checked.recomputed is not None for checked in networks.shown):
        header[-1:] = [f"{metric}, stored", f"{metric}, recomputed"]
    body = [[breakable_name(names.variant(checked.cell.variant)), *_row(checked)] for checked in networks.shown]
    note = (
        "Each picture comes from one trained network. Unless you name a seed, it is the seed with the median metric "
        "among the variant's finished seeds; the pictures play no part in the choice. One seed decides nothing: the "
        "report compares the variants over all seeds. Use --seed N to show every variant with the same seed."
    )
    parts: list[Any] = [table_element(header, body), tag("p", note, class_="note")]
    if differences := [text for checked in networks.shown if (text := difference_text(checked))]:
        caution = "These metrics differ from the stored ones, for example because of another device or library: "
        parts.append(tag("p", caution, "; ".join(differences), class_="caution"))
    if networks.skipped:
        reasons = " ".join(f"Not shown: {skipped.reason.rstrip('.')}." for skipped in networks.skipped)
        parts.append(tag("p", reasons, class_="caution"))
    if networks.left_out:
        more = f"{formats.count(networks.left_out, 'more variant')} can be shown with --variant NAME."
        parts.append(tag("p", more, class_="note"))
    return tag("section", tag("h2", "Networks"), *parts, id="networks")


def _row(checked: CheckedCell) -> list[Markup]:
    cell = checked.cell
    values: list[Any] = [str(cell.seed), formats.seeds(cell.seeds), formats.metric(cell.value)]
    if checked.recomputed is not None:
        differing = join(formats.metric(checked.recomputed), tag("small", "differs", class_="hole"))
        values.append("equal" if checked.reproduced else differing)
    return [tag("td", value, class_="number") for value in values]
