"""Cross-image attention of HelixFormer (arXiv 2207.00784): where a support and a query attend to each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from dashboards.ablation.sections import section
from dashboards.gallery.elements import Detail, DisplayNames, Pixels, data_uri, note, overlay_heat, small_picture
from dashboards.gallery.fewshot import svg
from dashboards.html import Markup, breakable_name, tag

if TYPE_CHECKING:  # making these needs torch; drawing them does not
    from raysearch.inspection.fewshot import EpisodeGroup, ImagePair
    from raysearch.inspection.image_pairs import CrossAttention


def attention_section(groups: Sequence[EpisodeGroup], names: DisplayNames, detail: Detail) -> Markup | None:
    """Draw both directions of some pairs, for each variant with cross-image attention; None without any."""
    attending = [
        (group, cell) for group in groups for cell in group.cells if any(pair.attention for pair in cell.pairs)
    ]
    if not attending:
        return None
    text = (
        "Pairs from episode 0: for some classes, the first query with a support of its own class, and with a support "
        "of the wrong class that scores highest. Every position of one image distributes its attention over the "
        "positions of the other. All: the mean attention that each position receives. 1 to 5: the attention of the "
        "five marked positions, the same in every image. Dark is zero and yellow is the maximum of that map. The "
        "number is this maximum as a multiple of uniform attention; near 1 the image is attended to evenly. Mean over "
        "heads, last layer."
    )
    blocks: list[Markup] = []
    for index, (group, cell) in enumerate(attending):
        title = names.variant(cell.cell.variant) + (f" ({group.title})" if len(groups) > 1 else "")
        pairs = [_pair(pair, names, detail) for pair in cell.pairs if pair.attention]
        blocks.append(tag("details", tag("summary", breakable_name(title)), *pairs, open=None if index else ""))
    return section("cross-attention", "Attention between images", note(text), *blocks)


def pair_title(pair: ImagePair, names: DisplayNames) -> Markup:
    """Return the heading of a pair: its classes, and the query's score."""
    support, query = (names.classes[label] for label in pair.classes)
    text = f"{query} with its own class" if pair.same_class else f"{query} with {support} (wrong)"
    return tag("h4", text, tag("small", f" score {pair.score:.2f}"))


def pair_class(pair: ImagePair) -> str:
    """Return the CSS class of a pair."""
    return f"pair {'own' if pair.same_class else 'rival'}"


def resize_map(heat: np.ndarray, pixels: Pixels) -> np.ndarray:
    """Resize a map (h, w) to a picture (H, W, 3) bilinearly.

    >>> resize_map(np.array([[0.0, 1.0]]), np.zeros((1, 4, 3), np.uint8)).round(2).tolist()
    [[0.0, 0.25, 0.75, 1.0]]
    """
    height, width = pixels.shape[:2]
    image = Image.fromarray(heat.astype(np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)).clip(0, 1)


def _pair(pair: ImagePair, names: DisplayNames, detail: Detail) -> Markup:
    rows = [_direction(pair, attention, names, detail) for attention in pair.attention]
    return tag("div", pair_title(pair, names), *rows, class_=pair_class(pair))


def _direction(pair: ImagePair, attention: CrossAttention, names: DisplayNames, detail: Detail) -> Markup:
    """Draw the source image with its marks, and the target image under the attention that it receives."""
    classes = dict(zip(("support", "query"), (names.classes[label] for label in pair.classes), strict=True))
    pixels = {"support": pair.support, "query": pair.query}
    source = attention.source
    target = "support" if source == "query" else "query"
    heats = {"all": attention.received}
    heats |= {str(mark): heat for mark, heat in enumerate(attention.from_marks, 1)}
    marks = f"{source} ({classes[source]}) with the positions 1 to {len(attention.marks)} marked"
    tiles = [_tile(_marked(pixels[source], attention, marks, detail), source)]
    for key, heat in heats.items():
        picture = overlay_heat(pixels[target], resize_map(heat / heat.max(), pixels[target]))
        alt = f"{target} ({classes[target]}): {_description(key)}"
        ratio = f"{key} \N{MIDDLE DOT} {heat.max() * heat.size:.1f}\N{MULTIPLICATION SIGN}"
        tiles.append(_tile(small_picture(picture, alt, detail), ratio))
    caption = tag("p", f"the {source} attends to the {target}")
    return tag("div", caption, tag("div", *tiles, class_="maps"))


def _marked(pixels: Pixels, attention: CrossAttention, description: str, detail: Detail) -> Markup:
    """Draw a picture with the numbers of its marked positions."""
    dots = [
        tag(
            "g",
            tag("circle", r=7),
            tag("text", number, y=3.6),
            transform=f"translate({svg.format_number(100 * across)} {svg.format_number(100 * down)})",
        )
        for number, (down, across) in enumerate(attention.marks, 1)
    ]
    uri = data_uri(pixels, detail.small, detail.quality)
    image = tag("image", href=uri, width=100, height=100, preserveAspectRatio="none")
    return svg.draw_svg(100, 100, description, image, *dots, class_="marked")


def _description(key: str) -> str:
    return "mean attention that it receives" if key == "all" else f"attention of position {key}"


def _tile(picture: Markup, caption: str) -> Markup:
    return tag("figure", picture, tag("figcaption", caption))
