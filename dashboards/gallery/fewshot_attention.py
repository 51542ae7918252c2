"""HelixFormer's cross-image attention (arXiv 2207.00784): where a support and a query look in each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from dashboards.ablation.sections import section
from dashboards.gallery import svg
from dashboards.gallery.names import Names
from dashboards.gallery.pictures import Detail, Pixels, heated, small, uri
from dashboards.html.markup import Markup, name, tag

if TYPE_CHECKING:  # what makes these needs torch, which drawing them does not
    from raysearch.inspection.cross_attention import Looks
    from raysearch.inspection.fewshot import Group, Pair


def attention(groups: Sequence[Group], names: Names, detail: Detail) -> Markup | None:
    """Both directions of some pairs, for each variant that attends across images; None without any."""
    shown = [(group, one) for group in groups for one in group.shown if any(pair.looks for pair in one.pairs)]
    if not shown:
        return None
    note = (
        "Of episode 0, the first query of some classes: with the support of its own class, and of the wrong class that "
        "it resembles most. Every position of one image shares out its attention over the positions of the other. All: "
        "what each position receives of all that ask. 1 to 5: where the five marked positions look, the same five of "
        "every image. Dark is nothing, yellow the most of that map, which is told as a multiple of an even share; near "
        "1 an image is looked at all over. Mean over heads, last layer."
    )
    blocks: list[Markup] = []
    for at, (group, one) in enumerate(shown):
        title = names.variant(one.cell.variant) + (f" ({group.episodes})" if len(groups) > 1 else "")
        pairs = [_pair(pair, names, detail) for pair in one.pairs if pair.looks]
        blocks.append(tag("details", tag("summary", name(title)), *pairs, open=None if at else ""))
    return section("cross-attention", "Where images look in each other", tag("p", note, class_="note"), *blocks)


def pair_title(pair: Pair, names: Names) -> Markup:
    """What a pair is of: its classes and how the query scores."""
    support, query = (names.classes[label] for label in pair.classes)
    words = f"{query} with its own class" if pair.own else f"{query} with {support} (wrong)"
    return tag("h4", words, tag("small", f" score {pair.score:.2f}"))


def _pair(pair: Pair, names: Names, detail: Detail) -> Markup:
    rows = [_direction(pair, one, names, detail) for one in pair.looks]
    return tag("div", pair_title(pair, names), *rows, class_=f"pair {'own' if pair.own else 'other'}")


def _direction(pair: Pair, one: Looks, names: Names, detail: Detail) -> Markup:
    """An image that asks, and the other under what it receives."""
    support, query = (names.classes[label] for label in pair.classes)
    from_query = one.asking == "query"
    asking, other = (pair.query, pair.support) if from_query else (pair.support, pair.query)
    who, whom = ("query", "support") if from_query else ("support", "query")
    label, other_label = (query, support) if from_query else (support, query)
    heats = [("all", one.received), *((str(at), heat) for at, heat in enumerate(one.from_marks, 1))]
    tiles = [
        _tile(
            small(heated(other, resized(heat / heat.max(), other)), f"{whom} ({other_label}): {_says(key)}", detail),
            f"{key} \N{MIDDLE DOT} {heat.max() * heat.size:.1f}\N{MULTIPLICATION SIGN}",
        )
        for key, heat in heats
    ]
    marked = _marked(asking, one, f"{who} ({label}) with the positions 1 to {len(one.marks)} marked", detail)
    caption = tag("p", f"the {who} looks at the {whom}")
    return tag("div", caption, tag("div", _tile(marked, who), *tiles, class_="looks"))


def resized(heat: np.ndarray, pixels: Pixels) -> np.ndarray:
    """A map (h, w) brought to the size of a picture (H, W, 3), bilinearly.

    >>> resized(np.array([[0.0, 1.0]]), np.zeros((1, 4, 3), np.uint8)).round(2).tolist()
    [[0.0, 0.25, 0.75, 1.0]]
    """
    height, width = pixels.shape[:2]
    image = Image.fromarray(heat.astype(np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)).clip(0, 1)


def _marked(pixels: Pixels, one: Looks, says: str, detail: Detail) -> Markup:
    """A picture with the numbers of its marked positions."""
    dots = [
        tag(
            "g",
            tag("circle", r=7),
            tag("text", at, y=3.6),
            transform=f"translate({svg.number(100 * across)} {svg.number(100 * down)})",
        )
        for at, (down, across) in enumerate(one.marks, 1)
    ]
    image = tag(
        "image", href=uri(pixels, detail.small, detail.quality), width=100, height=100, preserveAspectRatio="none"
    )
    return svg.drawing(100, 100, says, image, *dots, class_="marked")


def _says(key: str) -> str:
    return "what it receives of all positions" if key == "all" else f"where position {key} looks"


def _tile(picture: Markup, caption: str) -> Markup:
    return tag("figure", picture, tag("figcaption", caption))
