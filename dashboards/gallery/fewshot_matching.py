"""The pixels that LWFM-SPM (arXiv 2411.06363, figures 1 and 3) matches, as lines between two images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dashboards.ablation.sections import section
from dashboards.gallery import svg
from dashboards.gallery.fewshot_attention import pair_title
from dashboards.gallery.names import Names
from dashboards.gallery.pictures import Detail, uri
from dashboards.html import formats
from dashboards.html.markup import Markup, name, tag

if TYPE_CHECKING:  # what makes these needs torch, which drawing them does not
    from raysearch.inspection.fewshot import Group, Pair
    from raysearch.inspection.matched_pixels import LayerMatches

_SIDE, _GAP = 100.0, 46.0  # of an image, and between two


def matches(groups: Sequence[Group], names: Names, detail: Detail) -> Markup | None:
    """Some pairs of each variant that matches pixels; None without any."""
    shown = [(group, one) for group in groups for one in group.shown if any(pair.matching for pair in one.pairs)]
    if not shown:
        return None
    note = (
        "Of episode 0, the first query of some classes: with the support of its own class, and of the wrong class that "
        "it resembles most; the support is on the left. In each layer a line joins two pixels of its map that were "
        "matched: the wider and less transparent, the more similar. Strong yellow lines are the matches that the "
        "layer's score is the mean of; broken white ones are not counted. A larger dot is a pixel with more weight in "
        "the layer-wise embedding."
    )
    blocks: list[Markup] = []
    for group, one in shown:
        title = names.variant(one.cell.variant) + (f" ({group.episodes})" if len(groups) > 1 else "")
        blocks.append(tag("h3", name(title)))
        blocks.append(tag("div", *(_pair(pair, names, detail) for pair in one.pairs), class_="matchings"))
    return section("matches", "Which pixels are matched", tag("p", note, class_="note"), *blocks)


def _pair(pair: Pair, names: Names, detail: Detail) -> Markup:
    assert pair.matching is not None
    found = pair.matching
    pictures = [uri(pixels, detail.side, detail.quality) for pixels in (pair.support, pair.query)]
    layers = [
        _layer(one, f"layer {at} of {len(found.layers)}", pictures, pair, names)
        for at, one in enumerate(found.layers, 1)
    ]
    weight = formats.metric(found.weight)
    words = f"cosine of the embeddings {found.whole:.2f}, of the matches {found.score:.2f}, which has weight {weight}"
    kind = f"pair {'own' if pair.own else 'other'}"
    return tag("div", pair_title(pair, names), *layers, tag("p", words, class_="note"), class_=kind)


def _layer(one: LayerMatches, called: str, pictures: Sequence[str], pair: Pair, names: Names) -> Markup:
    """A layer's matches."""
    support, query = (names.classes[label] for label in pair.classes)
    counts = "counts" if one.decides else "does not count: the other layers' matches are more similar"
    caption = f"{called}: {formats.metric(one.score)}, {counts}"
    says = (
        f"support ({support}) and query ({query}), {formats.count(len(one.pixels), 'line')} between matched pixels; "
        f"{caption}"
    )
    images = [
        tag("image", href=href, x=svg.number(x), width=100, height=100, preserveAspectRatio="none")
        for x, href in zip((0.0, _SIDE + _GAP), pictures, strict=True)
    ]
    order = sorted(range(len(one.pixels)), key=lambda at: (bool(one.counted[at]), one.similarity[at]))
    lines = [_line(one, at) for at in order]
    dots = [_dot(one, side, pixel) for side in (0, 1) for pixel in range(len(one.weights[side]))]
    drawing = svg.drawing(2 * _SIDE + _GAP, _SIDE, says, *images, *dots, *lines, class_="matching")
    return tag("figure", drawing, tag("figcaption", caption), class_=None if one.decides else "idle")


def _line(one: LayerMatches, at: int) -> Markup:
    (i, j), similarity, counted = one.pixels[at].tolist(), float(one.similarity[at]), bool(one.counted[at])
    (x1, y1), (x2, y2) = _place(one, 0, i), _place(one, 1, j)
    ends = {"x1": svg.number(x1), "y1": svg.number(y1), "x2": svg.number(x2), "y2": svg.number(y2)}
    share = max(0.0, similarity)
    width, opacity = (1.4 + 1.8 * share, 1.0) if counted else (0.5 + 0.9 * share, 0.25 + 0.6 * share)
    columns = one.grid[1]
    where = " to ".join(f"row {pixel // columns + 1}, column {pixel % columns + 1}" for pixel in (i, j))
    title = tag("title", f"{where}: similarity {similarity:.2f}{'' if counted else ', not counted'}")
    halo = tag("line", **ends, stroke_width=svg.number(width + 1), class_="halo")
    strong = tag("line", title, **ends, stroke_width=svg.number(width), class_="counted" if counted else "idle")
    return tag("g", halo, strong, opacity=svg.number(opacity))


def _dot(one: LayerMatches, side: int, pixel: int) -> Markup:
    x, y = _place(one, side, pixel)
    radius = 2.2 * math.sqrt(max(0.0, float(one.weights[side][pixel])))  # the area is the weight
    return tag("circle", cx=svg.number(x), cy=svg.number(y), r=svg.number(radius))


def _place(one: LayerMatches, side: int, pixel: int) -> tuple[float, float]:
    """The middle of a pixel in the drawing."""
    rows, columns = one.grid
    x, y = _SIDE * (pixel % columns + 0.5) / columns, _SIDE * (pixel // columns + 0.5) / rows
    return x + side * (_SIDE + _GAP), y
