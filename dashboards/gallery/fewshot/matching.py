"""The pixels that LWFM-SPM (arXiv 2411.06363, figures 1 and 3) matches, as lines between two images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dashboards.ablation.sections import section
from dashboards.gallery.elements import Detail, DisplayNames, data_uri, note
from dashboards.gallery.fewshot import svg
from dashboards.gallery.fewshot.attention import pair_class, pair_title
from dashboards.html import Markup, breakable_name, formats, tag

if TYPE_CHECKING:  # making these needs torch; drawing them does not
    from raysearch.inspection.fewshot import EpisodeGroup, ImagePair
    from raysearch.inspection.image_pairs import LayerMatches

_SIDE = 100.0  # of an image
_GAP = 46.0  # between two images


def matching_section(groups: Sequence[EpisodeGroup], names: DisplayNames, detail: Detail) -> Markup | None:
    """Draw some pairs of each variant that matches pixels; None without any."""
    matching = [(group, cell) for group in groups for cell in group.cells if any(pair.matching for pair in cell.pairs)]
    if not matching:
        return None
    text = (
        "Pairs from episode 0: for some classes, the first query with a support of its own class, and with a support "
        "of the wrong class that scores highest; the support is on the left. In each layer a line joins two matched "
        "pixels: the wider and more opaque, the more similar. The layer's score is the mean of the solid yellow "
        "lines; dashed white lines are not counted. A larger dot is a pixel with more weight in the layer-wise "
        "embedding."
    )
    blocks: list[Markup] = []
    for group, cell in matching:
        title = names.variant(cell.cell.variant) + (f" ({group.title})" if len(groups) > 1 else "")
        blocks.append(tag("h3", breakable_name(title)))
        blocks.append(tag("div", *(_pair(pair, names, detail) for pair in cell.pairs), class_="matchings"))
    return section("matches", "Matched pixels", note(text), *blocks)


def _pair(pair: ImagePair, names: DisplayNames, detail: Detail) -> Markup:
    matching = pair.matching
    assert matching is not None
    pictures = [data_uri(pixels, detail.large, detail.quality) for pixels in (pair.support, pair.query)]
    layers = [
        _layer(layer, f"layer {number} of {len(matching.layers)}", pictures, pair, names)
        for number, layer in enumerate(matching.layers, 1)
    ]
    weight = formats.metric(matching.weight)
    text = f"cosine of the embeddings {matching.whole:.2f}; score of the matches {matching.score:.2f}, weight {weight}"
    return tag("div", pair_title(pair, names), *layers, note(text), class_=pair_class(pair))


def _layer(layer: LayerMatches, title: str, pictures: Sequence[str], pair: ImagePair, names: DisplayNames) -> Markup:
    """Draw the matches of a layer."""
    support, query = (names.classes[label] for label in pair.classes)
    counts = "counts" if layer.decides else "does not count: another layer's matches are more similar"
    caption = f"{title}: {formats.metric(layer.score)}, {counts}"
    lines_text = formats.count(len(layer.pixels), "line")
    description = f"support ({support}) and query ({query}), {lines_text} between matched pixels; {caption}"
    images = [
        tag("image", href=href, x=svg.format_number(x), width=100, height=100, preserveAspectRatio="none")
        for x, href in zip((0.0, _SIDE + _GAP), pictures, strict=True)
    ]
    order = sorted(range(len(layer.pixels)), key=lambda match: (bool(layer.counted[match]), layer.similarity[match]))
    lines = [_line(layer, match) for match in order]
    dots = [_dot(layer, side, pixel) for side in (0, 1) for pixel in range(len(layer.weights[side]))]
    drawing = svg.draw_svg(2 * _SIDE + _GAP, _SIDE, description, *images, *dots, *lines, class_="matching")
    return tag("figure", drawing, tag("figcaption", caption), class_=None if layer.decides else "idle")


def _line(layer: LayerMatches, match: int) -> Markup:
    i, j = layer.pixels[match].tolist()
    similarity = float(layer.similarity[match])
    counted = bool(layer.counted[match])
    x1, y1 = _center(layer, 0, i)
    x2, y2 = _center(layer, 1, j)
    ends = {key: svg.format_number(value) for key, value in (("x1", x1), ("y1", y1), ("x2", x2), ("y2", y2))}
    strength = max(0.0, similarity)
    width = 1.4 + 1.8 * strength if counted else 0.5 + 0.9 * strength
    opacity = 1.0 if counted else 0.25 + 0.6 * strength
    columns = layer.grid[1]
    positions = " to ".join(f"row {pixel // columns + 1}, column {pixel % columns + 1}" for pixel in (i, j))
    title = tag("title", f"{positions}: similarity {similarity:.2f}{'' if counted else ', not counted'}")
    halo = tag("line", **ends, stroke_width=svg.format_number(width + 1), class_="halo")
    line = tag("line", title, **ends, stroke_width=svg.format_number(width), class_="counted" if counted else "idle")
    return tag("g", halo, line, opacity=svg.format_number(opacity))


def _dot(layer: LayerMatches, side: int, pixel: int) -> Markup:
    x, y = _center(layer, side, pixel)
    radius = 2.2 * math.sqrt(max(0.0, float(layer.weights[side][pixel])))  # the area is the weight
    return tag("circle", cx=svg.format_number(x), cy=svg.format_number(y), r=svg.format_number(radius))


def _center(layer: LayerMatches, side: int, pixel: int) -> tuple[float, float]:
    """Return the center of a pixel in the drawing."""
    rows, columns = layer.grid
    x = _SIDE * (pixel % columns + 0.5) / columns
    y = _SIDE * (pixel // columns + 0.5) / rows
    return x + side * (_SIDE + _GAP), y
