"""The images of an episode as points, before and after they met (LWFM-SPM, arXiv 2411.06363, figure 4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dashboards.ablation.sections import section
from dashboards.gallery import svg
from dashboards.gallery.names import Names
from dashboards.html.markup import Markup, name, tag

if TYPE_CHECKING:  # what makes these needs torch, which drawing them does not
    from raysearch.inspection.fewshot import Group, Shown
    from raysearch.inspection.planes import Plane

_WIDTH, _HEIGHT, _PAD = 320.0, 230.0, 14.0


def planes(groups: Sequence[Group], names: Names) -> Markup:
    """Episode 0 of every variant."""
    note = (
        "The images of episode 0, each a point on the two directions in which the features vary most. Before: features "
        "of each image alone, the mean over its pixels. After: what is compared, which depends on both images of a "
        "pair, so a point is the mean over all pairs of its image; no label has a part in it. HelixFormer treats "
        "supports and queries by weights of their own, so after it each side is drawn from its own mean, and being "
        "near means little. Large filled symbols are supports, small hollow ones queries; a symbol and a colour is a "
        "class. Distances in a plane leave out what other directions hold."
    )
    blocks: list[Markup] = []
    for group in groups:
        labels = group.shown[0].answers[0].classes
        called = [names.classes[label] for label in labels]
        if len(groups) > 1:
            blocks.append(tag("h3", group.episodes))
        blocks.append(_key(called))
        blocks.append(tag("div", *(_variant(one, called, names) for one in group.shown), class_="planes"))
    return section("planes", "Before and after meeting", tag("p", note, class_="note"), *blocks)


def _variant(one: Shown, called: Sequence[str], names: Names) -> Markup:
    before, after = one.planes
    variant = names.variant(one.cell.variant)
    drawn = [_plane(before, "before", variant, called)]
    if after is None:
        drawn.append(tag("p", "Under this variant images do not meet before they are compared.", class_="note"))
    else:
        drawn.append(_plane(after, "after", variant, called))
    return tag("div", tag("h4", name(variant)), tag("div", *drawn))


def _plane(one: Plane, when: str, variant: str, called: Sequence[str]) -> Markup:
    caption = f"{when}: the plane keeps {100 * sum(one.kept):.0f} % of the variance"
    if one.near is not None:
        caption += (
            f"; for {100 * one.near:.0f} % of the queries the nearest supports, in all dimensions, are of their class"
        )
    says = f"{variant}, {when}: supports and queries of {', '.join(called)} as points. {caption}"
    place = _placed(one)
    points = [
        svg.symbol(way, *place(at), 3.4, False, f"query: {called[way]}")
        for way, ats in enumerate(one.query)
        for at in ats
    ]
    points += [
        svg.symbol(way, *place(at), 6.5, True, f"support: {called[way]}")
        for way, ats in enumerate(one.support)
        for at in ats
    ]
    frame = tag("rect", width=_WIDTH, height=_HEIGHT, rx=6, class_="frame")
    return tag("figure", svg.drawing(_WIDTH, _HEIGHT, says, frame, *points, class_="plane"), tag("figcaption", caption))


def _placed(one: Plane) -> Callable[[np.ndarray], tuple[float, float]]:
    """Where a point of the plane lies in the drawing: both axes on one scale, upwards is more."""
    points = np.concatenate([one.support.reshape(-1, 2), one.query.reshape(-1, 2)])
    low, high = points.min(0), points.max(0)
    room = np.array([_WIDTH - 2 * _PAD, _HEIGHT - 2 * _PAD])
    scale = float((room / np.maximum(high - low, 1e-12)).min())
    middle = (low + high) / 2

    def place(at: np.ndarray) -> tuple[float, float]:
        x, y = (at - middle) * scale
        return _WIDTH / 2 + x, _HEIGHT / 2 - y

    return place


def _key(called: Sequence[str]) -> Markup:
    """The symbols of the classes."""
    items = [
        tag("li", tag("svg", svg.symbol(way, 10, 10, 6, True), viewBox="0 0 20 20", aria_hidden="true"), label)
        for way, label in enumerate(called)
    ]
    return tag("ul", *items, class_="symbols")
