"""The figure of a page as a figure of a two-column paper: its width, height, font, sizes and colors.

Figures of the page are made to be read on a phone, which is little wider than a column. So all of their lengths are
scaled by the same factor, which turns the page's text into the paper's. The papers' columns are 3.25 in (CVPR, ICML) to
3.5 in (IEEE) wide, with text of 9 to 10 pt and figures of 8 pt. Files have the smaller width, so that LaTeX enlarges
and never shrinks.
"""

import json
import math
import re
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
import plotly.io

from dashboards.papers import palette

PIXELS_PER_INCH = 96  # of CSS, and so of a PDF that a browser writes
COLUMN_INCHES = 3.25
PAGE_INCHES = 6.875  # both columns and the gap between them
TALLEST_INCHES = 8.5  # leaves room for a caption
TEXT_POINTS = 8.0
SMALLEST_POINTS = 6.0
FONT = "'Times New Roman', 'Liberation Serif', 'Nimbus Roman', 'TeX Gyre Termes', Times, serif"

_PAGE_TEXT = 13.0  # pixels of the page's text
_SCALE = TEXT_POINTS / 72 * PIXELS_PER_INCH / _PAGE_TEXT
_ASPECT = 0.72  # largest height over the column's width of a figure whose height is free
_ASPECT_OF_PANELS = 1.05  # the same of a figure with panels
_LETTER = 0.5  # mean width of a letter over the size of its font
_LINE = 13.0  # pixels of a line of a label
_ROW_GAP = 8.0
_LEAST_ROW = 26.0  # of a row with dots below its interval
_AXIS_GAP = 14.0  # between the figure, its labels, and the title of the axis
_FIELD = 26.0  # pixels of a field of a heat map with a number in it
_LEGEND = {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"}
_LENGTHS = {"ticklen", "standoff", "xshift", "yshift", "borderpad", "thickness", "tickwidth", "xgap", "ygap"}
_NESTED_LENGTHS = {  # key -> keys in it that hold lengths; elsewhere these have other units
    "font": {"size"},
    "tickfont": {"size"},
    "textfont": {"size"},
    "marker": {"size"},
    "line": {"width"},
    "error_x": {"width"},
    "error_y": {"width"},
    "margin": {"l", "r", "t", "b"},
}


@dataclass(frozen=True)
class PaperFigure:
    """A figure as it is drawn for a paper.

    Attributes:
        figure: the figure; its layout has width and height in CSS pixels.
        is_wide: whether it takes both columns.
    """

    figure: go.Figure
    is_wide: bool

    @property
    def inches(self) -> tuple[float, float]:
        """Width and height in inches."""
        return self.figure.layout.width / PIXELS_PER_INCH, self.figure.layout.height / PIXELS_PER_INCH


def paper_figure(figure: go.Figure) -> PaperFigure:
    """Return a figure of the page as it is drawn for a paper. It has no title: that is the caption's.

    Args:
        figure: a figure of the page; its layout has a height in pixels.
    """
    content = palette.print_colors(_scale(json.loads(plotly.io.to_json(figure, validate=False))))
    layout = content["layout"]
    column = COLUMN_INCHES * PIXELS_PER_INCH
    tallest = TALLEST_INCHES * PIXELS_PER_INCH
    height = layout["height"] * _SCALE
    is_wide = _width_needed(content) > column or height > tallest
    width = PAGE_INCHES * PIXELS_PER_INCH if is_wide else column
    if height > tallest:
        height = tallest
        _write_rows_on_one_line(layout)
    elif _has_rows(layout) and not layout.get("showlegend"):  # with a legend there are several marks in a row
        height = min(height, _height_of_rows(layout))
    elif not is_wide and not _has_rows(layout):
        height = min(height, (_ASPECT if len(_axes(layout, "y")) == 1 else _ASPECT_OF_PANELS) * column)
    layout |= {"width": width, "height": round(height), "autosize": False, "title": None, "template": None}
    _set_style(content)
    drawn = go.Figure(content)
    drawn.update_layout(template="none", colorway=list(palette.PRINTED.values()))
    return PaperFigure(drawn, is_wide)


def _scale(value: Any, parent: str = "") -> Any:
    """Return a part of a figure's JSON with all lengths in pixels scaled from the page to the paper.

    Args:
        value: the part.
        parent: the key under which it is.
    """
    if isinstance(value, list):
        return [_scale(entry, parent) for entry in value]
    if not isinstance(value, dict):
        return value
    lengths = _LENGTHS | _NESTED_LENGTHS.get(parent, set())
    return {key: _scale_lengths(entry) if key in lengths else _scale(entry, key) for key, entry in value.items()}


def _scale_lengths(value: Any) -> Any:
    if isinstance(value, list):
        return [_scale_lengths(entry) for entry in value]
    return value * _SCALE if isinstance(value, int | float) else value


def _axes(layout: dict[str, Any], letter: str) -> list[dict[str, Any]]:
    """Return the axes of one direction: x or y."""
    return [axis for key, axis in layout.items() if re.fullmatch(f"{letter}axis\\d*", key)]


def _has_rows(layout: dict[str, Any]) -> bool:
    """Return whether the figure has a row per variant or parameter, so that its height is not free."""
    return any(axis.get("ticktext") or axis.get("type") == "category" for axis in _axes(layout, "y"))


def _height_of_rows(layout: dict[str, Any]) -> float:
    """Return the height that the labels of the rows need; infinite without labels."""
    labels = [axis["ticktext"] for axis in _axes(layout, "y") if axis.get("ticktext")]
    if not labels:
        return math.inf
    lines = max(text.count("<br>") for text in labels[0]) + 1
    return _bottom_margin(layout) + 2 * _ROW_GAP + len(labels[0]) * max(_LEAST_ROW, lines * _LINE + _ROW_GAP)


def _width_needed(content: dict[str, Any]) -> float:
    """Return the pixels that the labels below the figure, or the fields of a heat map, need side by side."""
    size = TEXT_POINTS / 72 * PIXELS_PER_INCH
    labels = [text for axis in _axes(content["layout"], "x") for text in axis.get("ticktext") or ()]
    needed = sum((_longest_line(text) + 1) * _LETTER * size for text in labels)
    for trace in content["data"]:
        if trace["type"] == "heatmap" and trace.get("texttemplate"):
            names = max((_longest_line(str(name)) for name in trace["y"]), default=0)
            needed = max(needed, _FIELD * len(trace["x"]) + names * _LETTER * size + 4 * size)
    return needed


def _bottom_margin(layout: dict[str, Any]) -> float:
    """Return the pixels for labels and title below the figure; plotly's own margin is too small for low figures."""
    needed = 0.0
    for axis in _axes(layout, "x"):
        if axis.get("visible", True) and axis.get("side") != "top":
            title = (axis.get("title") or {}).get("text")
            labels = max((text.count("<br>") + 1 for text in axis.get("ticktext") or ()), default=1)
            needed = max(needed, _LINE * (labels + (title.count("<br>") + 1 if title else 0)) + _AXIS_GAP)
    return needed


def _longest_line(text: str) -> int:
    """Return the characters of the longest line of a text with plotly's markup.

    >>> _longest_line("<b>128</b><br>64 px")
    5
    """
    return max(len(re.sub(r"<[^>]*>|&\w+;", "", line)) for line in text.split("<br>"))


def _write_rows_on_one_line(layout: dict[str, Any]) -> None:
    for axis in _axes(layout, "y"):
        if axis.get("ticktext"):
            axis["ticktext"] = [text.replace("<br>", " ") for text in axis["ticktext"]]


def _set_style(content: dict[str, Any]) -> None:
    """Set the font, the background and the axes, which the style sheet of the page sets there."""
    layout = content["layout"]
    size = TEXT_POINTS / 72 * PIXELS_PER_INCH
    layout["font"] = {"family": FONT, "size": size, "color": palette.TEXT}
    layout["paper_bgcolor"] = palette.PAPER
    layout["plot_bgcolor"] = palette.PAPER
    if layout.get("showlegend"):  # beside the figure it would take half of a column
        layout["legend"] = (layout.get("legend") or {}) | _LEGEND
    layout["minreducedheight"] = 20  # else the title of an axis is cut off below few rows
    margin = layout.get("margin") or {}
    layout["margin"] = margin | {"b": max(margin.get("b", 0), _bottom_margin(layout))}
    for axis in (*_axes(layout, "x"), *_axes(layout, "y")):
        axis |= {"gridcolor": palette.GRID, "gridwidth": 0.5, "tickwidth": 0.7, "tickcolor": palette.TEXT}
    for trace in content["data"]:
        if trace.get("colorbar"):
            trace["colorbar"]["tickfont"] = {"size": size}
            trace["colorbar"]["title"]["font"] = {"size": size}
            trace["colorbar"]["outlinewidth"] = 0
