"""Figures for papers, without a browser: every kind of the reports has a paper's width, font, sizes and colors."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

import dashboards.report
from dashboards.papers.layout import PaperFigure, paper_figure

from . import reports

KINDS = {  # of figures, each in at least one of the reports
    "effects", "factor", "heat", "main", "interaction", "ties", "learning", "cost", "tradeoff", "look", "judging",
    "history", "front", "parallel", "importance", "contour", "slice", "curves", "differences", "means",
}  # fmt: skip


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, PaperFigure]:
    """The first two figures of each kind of each report, as a paper has them."""
    folder = tmp_path_factory.mktemp("reports")
    figures: dict[str, PaperFigure] = {}
    embedded = {name: reports.figures_of(reports.write_report_run(name, folder)) for name in reports.NAMES}
    for report, of_report in (embedded | {"comparison": reports.compared_figures(folder)}).items():
        for name, figure in of_report.items():
            if not re.search(r"-([2-9]|\d\d)$", name):
                figures[f"{report} {name}"] = paper_figure(figure.figure)
    return figures


def test_every_kind_of_figure_is_there(drawn: dict[str, PaperFigure]) -> None:
    assert {re.sub(r"-\d+$", "", name.split()[1]) for name in drawn} == KINDS


def test_the_figures_are_those_of_the_page(tmp_path: Path) -> None:
    for name in ("crossed", "adaptive", "groups"):
        run = reports.write_report_run(name, tmp_path)
        page = dashboards.report.write(run).read_text()
        assert re.findall(r'data-figure="plot-(.*?)"', page) == list(reports.figures_of(run))


def test_figures_fit_a_column_or_a_page(drawn: dict[str, PaperFigure]) -> None:
    for name, figure in drawn.items():
        width, height = figure.inches
        assert width == pytest.approx(6.875 if figure.is_wide else 3.25), name
        assert 1 < height <= 8.5, name
    wide = {name for name, figure in drawn.items() if figure.is_wide}
    assert {"search parallel", "groups parallel", "many effects"} <= wide
    assert not wide & {name for name in drawn if re.search(r"factor|learning|history|look|main|contour", name)}


def test_texts_are_black_and_have_a_size_that_is_read(drawn: dict[str, PaperFigure]) -> None:
    for name, figure in drawn.items():
        layout = figure.figure.layout
        assert layout.title.text is None
        assert (layout.paper_bgcolor, layout.plot_bgcolor, layout.font.color) == ("#ffffff", "#ffffff", "#000000")
        assert "Times New Roman" in layout.font.family
        points = [size * 72 / 96 for size in font_sizes(figure.figure.to_plotly_json())]
        assert points, name
        assert 6 <= min(points) <= max(points) <= 9, name


def test_marks_and_lines_differ_in_form_or_in_lightness(drawn: dict[str, PaperFigure]) -> None:
    """What a copy in gray or a color-blind reader sees: equal forms have colors at least 9 steps of 100 apart."""
    for name, figure in drawn.items():
        if name.endswith("parallel"):
            continue  # its lines are on a scale from dark to light
        colors = dict(itertools.chain.from_iterable(forms(trace) for trace in figure.figure.data))
        assert colors or re.search("heat|contour", name), name
        by_form: dict[Any, set[str]] = {}
        for trace in figure.figure.data:
            for form, color in forms(trace):
                by_form.setdefault(form, set()).add(color)
        for form, several in by_form.items():
            for first, second in itertools.combinations(sorted(several), 2):
                assert abs(lightness(first) - lightness(second)) >= 9, (name, form, first, second)


def test_row_labels_do_not_overlap(drawn: dict[str, PaperFigure]) -> None:
    for name, figure in drawn.items():
        labels = figure.figure.layout.yaxis.ticktext
        if labels:
            row = (figure.figure.layout.height - 60) / len(labels)
            lines = max(label.count("<br>") for label in labels) + 1
            assert row >= lines * 12, name  # pixels of a line of 8 pt


def forms(trace: Any) -> Iterator[tuple[Any, str]]:
    """Return (form, color) of the marks, lines and bars of a trace."""
    if isinstance(trace, go.Bar):
        yield ("bar", trace.marker.pattern.shape), trace.marker.color
    elif isinstance(trace, go.Scatter):
        if "markers" in trace.mode:
            colors = trace.marker.color if isinstance(trace.marker.color, tuple) else (trace.marker.color,)
            symbols = trace.marker.symbol if isinstance(trace.marker.symbol, tuple) else (trace.marker.symbol,)
            for symbol, color in zip(itertools.cycle(symbols), colors, strict=False):
                yield ("mark", symbol), color
        if "lines" in trace.mode and trace.line.width != 0:
            yield ("line", trace.line.dash, round(trace.line.width)), trace.line.color


def font_sizes(value: Any, parent: str = "") -> Iterator[float]:
    if isinstance(value, dict):
        for key, entry in value.items():
            if key == "size" and parent in ("font", "tickfont", "textfont"):
                yield entry
            elif key != "template":
                yield from font_sizes(entry, key)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from font_sizes(entry, parent)


def lightness(color: str) -> float:
    """CIE L* of a color, from 0 for black to 100 for white."""
    channels = re.fullmatch("#" + "([0-9a-f]{2})" * 3, color)
    assert channels, color
    shares = [int(channel, 16) / 255 for channel in channels.groups()]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    luminance = sum(weight * share for weight, share in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return 116 * luminance ** (1 / 3) - 16
