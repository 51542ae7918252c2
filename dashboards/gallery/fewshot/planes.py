"""The images of an episode as points, before and after they are compared (LWFM-SPM, arXiv 2411.06363, figure 4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dashboards.ablation.sections import section
from dashboards.gallery.elements import DisplayNames, note
from dashboards.gallery.fewshot import svg
from dashboards.html import Markup, breakable_name, tag

if TYPE_CHECKING:  # making these needs torch; drawing them does not
    from raysearch.inspection.fewshot import EpisodeGroup, InspectedCell
    from raysearch.inspection.planes import Plane

_WIDTH = 320.0
_HEIGHT = 230.0
_PADDING = 14.0


def planes_section(groups: Sequence[EpisodeGroup], names: DisplayNames) -> Markup:
    """Draw episode 0 of every variant."""
    text = (
        "The images of episode 0, as points on the two directions with the most variance. Before: the features of "
        "each image alone, averaged over its pixels. After: the compared features. They depend on both images of a "
        "pair, so a point is the mean over all pairs of its image; no label is involved. HelixFormer transforms "
        "supports and queries by different weights. Its second plane centers each side at its own mean, and distances "
        "between a support and a query mean little there. Large filled symbols are supports, small hollow ones are "
        "queries; each class has a symbol and a color. Distances in the plane ignore all other directions."
    )
    blocks: list[Markup] = []
    for group in groups:
        classes = [names.classes[label] for label in group.cells[0].predictions[0].classes]
        if len(groups) > 1:
            blocks.append(tag("h3", group.title))
        blocks.append(_key(classes))
        blocks.append(tag("div", *(_variant(cell, classes, names) for cell in group.cells), class_="planes"))
    return section("planes", "Features before and after comparison", note(text), *blocks)


def _variant(cell: InspectedCell, classes: Sequence[str], names: DisplayNames) -> Markup:
    before, after = cell.planes
    variant = names.variant(cell.cell.variant)
    figures = [_plane(before, "before", variant, classes)]
    if after is None:
        figures.append(note("This variant compares images without transforming pairs."))
    else:
        figures.append(_plane(after, "after", variant, classes))
    return tag("div", tag("h4", breakable_name(variant)), tag("div", *figures))


def _plane(plane: Plane, when: str, variant: str, classes: Sequence[str]) -> Markup:
    caption = f"{when}: the plane keeps {100 * sum(plane.variance):.0f} % of the variance"
    if plane.nearest_share is not None:
        share = f"{100 * plane.nearest_share:.0f} %"
        caption += f"; for {share} of the queries the nearest class mean, in all dimensions, is their own class"
    description = f"{variant}, {when}: supports and queries of {', '.join(classes)} as points. {caption}"
    place = _scale_to_frame(plane)
    symbols = []
    for side, points, size, filled in (("query", plane.query, 3.4, False), ("support", plane.support, 6.5, True)):
        for way, members in enumerate(points):
            title = f"{side}: {classes[way]}"
            symbols += [svg.draw_symbol(way, *place(point), size, filled, title) for point in members]
    frame = tag("rect", width=_WIDTH, height=_HEIGHT, rx=6, class_="frame")
    drawing = svg.draw_svg(_WIDTH, _HEIGHT, description, frame, *symbols, class_="plane")
    return tag("figure", drawing, tag("figcaption", caption))


def _scale_to_frame(plane: Plane) -> Callable[[np.ndarray], tuple[float, float]]:
    """Return the mapping from the plane to the drawing: both axes have one scale, and y points up."""
    points = np.concatenate([plane.support.reshape(-1, 2), plane.query.reshape(-1, 2)])
    low = points.min(0)
    high = points.max(0)
    available = np.array([_WIDTH - 2 * _PADDING, _HEIGHT - 2 * _PADDING])
    scale = float((available / np.maximum(high - low, 1e-12)).min())
    middle = (low + high) / 2

    def _place(point: np.ndarray) -> tuple[float, float]:
        x, y = (point - middle) * scale
        return _WIDTH / 2 + x, _HEIGHT / 2 - y

    return _place


def _key(classes: Sequence[str]) -> Markup:
    """Draw the symbols of the classes."""
    items = []
    for way, label in enumerate(classes):
        symbol = svg.draw_symbol(way, 10, 10, 6, filled=True)
        items.append(tag("li", tag("svg", symbol, viewBox="0 0 20 20", aria_hidden="true"), label))
    return tag("ul", *items, class_="symbols")
