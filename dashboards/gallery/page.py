"""The page of a gallery: which cells are shown and whether they are the evaluated ones, then the pictures."""

from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from dashboards.ablation import header as ablation_header
from dashboards.gallery.names import Names
from dashboards.gallery.pictures import Detail, fitted
from dashboards.html import formats
from dashboards.html.document import plain
from dashboards.html.markup import Markup, join, name, rows, tag
from dashboards.report import GALLERY
from raysearch.core import atomic
from raysearch.inspection.choosing import CellChoice
from raysearch.runs.study_record import StudyRecord

Draw = Callable[[Detail], Sequence[Markup | None]]


class Checked(NamedTuple):
    """A cell that is shown, and its metric as computed again with the network that the pictures are of."""

    cell: CellChoice
    again: float

    @property
    def same(self) -> bool:
        return self.again == self.cell.value


class Untold(NamedTuple):
    """A variant that cannot be shown."""

    variant: str
    why: str


class Networks(NamedTuple):
    """The networks that the pictures are of."""

    shown: Sequence[Checked]  # in the order of the page
    untold: Sequence[Untold]  # that should be there and cannot be
    left_out: int  # variants that nobody asked for


def write(run_dir: str | Path, study: StudyRecord, networks: Networks, names: Names, draw: Draw) -> Path:
    """Write RUN/gallery.html, whole or not at all.

    Args:
        run_dir: of the run.
        study: what `study.json` holds.
        networks: that are shown.
        names: of variants.
        draw: the sections with the pictures, of a detail.
    """
    title = f"{study.study}: gallery"
    style = resources.files("dashboards.gallery").joinpath("style.css").read_text(encoding="utf-8")
    head = [_opening(study), _networks(networks, names)]
    page = fitted(lambda detail: plain(title, style, *head, *draw(detail)))
    path = Path(run_dir) / GALLERY
    return atomic.replace_file(path, lambda temporary: temporary.write_text(page, encoding="utf-8", newline="\n"))


def difference(one: Checked) -> str:
    """What to say of a metric that did not come out as it was stored; empty where it did."""
    if one.same:
        return ""
    metric = formats.metric_name(one.cell.metric)
    return (
        f"variant '{one.cell.variant}', seed {one.cell.seed}: the {metric} computed again is {one.again!r}, "
        f"its evaluation gave {one.cell.value!r}"
    )


def _opening(study: StudyRecord) -> Markup:
    facts = [
        ("Profile", study.get("profile") or "not recorded"),
        ("Data", ablation_header.data(study.data, whole=bool(study.splits))),
        ("Report", tag("a", "report.html", href="report.html")),
    ]
    return tag(
        "header",
        tag("p", f"raysearch \N{MIDDLE DOT} {study.study} \N{MIDDLE DOT} gallery", class_="brand"),
        tag("h1", study.get("question") or study.get("study") or "A run"),
        tag("dl", *(tag("div", tag("dt", term), tag("dd", fact)) for term, fact in facts), class_="facts"),
    )


def _networks(networks: Networks, names: Names) -> Markup:
    """Which networks the pictures are of."""
    metric = formats.metric_name(networks.shown[0].cell.metric)
    header: list[Any] = ["Variant", "Seed shown", "Of seeds", f"{metric}, stored", f"{metric}, computed again"]
    body = [[name(names.variant(one.cell.variant)), *_row(one)] for one in networks.shown]
    note = (
        "A picture is of one trained network. Unless a seed was asked for, it is the one whose metric is the median of "
        "its variant's finished seeds: chosen by the number, not by the pictures. One seed decides nothing: how the "
        "variants differ stands in the report. --seed N shows all of them with one seed."
    )
    parts: list[Any] = [rows(header, body), tag("p", note, class_="note")]
    if wrong := [text for one in networks.shown if (text := difference(one))]:
        says = "Not quite the networks that were evaluated (another device or library has other last digits): "
        parts.append(tag("p", says, "; ".join(wrong), class_="caution"))
    if networks.untold:
        says = " ".join(f"Not shown: {one.why}." for one in networks.untold)
        parts.append(tag("p", says, class_="caution"))
    if networks.left_out:
        more = f"{formats.count(networks.left_out, 'more variant')} can be shown with --variant NAME."
        parts.append(tag("p", more, class_="note"))
    return tag("section", tag("h2", "The networks"), *parts, id="networks")


def _row(one: Checked) -> list[Markup]:
    again = "the same" if one.same else join(formats.metric(one.again), tag("small", "differs", class_="hole"))
    values = (str(one.cell.seed), formats.seeds(one.cell.seeds), formats.metric(one.cell.value), again)
    return [tag("td", value, class_="number") for value in values]
