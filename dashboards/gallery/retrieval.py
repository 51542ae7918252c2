"""The pictures of a retrieval run: what SREM erases, where networks look, what queries find."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dashboards.ablation.sections import section
from dashboards.gallery.names import Names
from dashboards.gallery.pictures import Detail, heated, large, small
from dashboards.html import formats
from dashboards.html.markup import Markup, name, tag

if TYPE_CHECKING:  # what makes these needs torch, which drawing them does not
    from raysearch.inspection.retrieval import Compared, Exhibit, Look, Picture, Ranked, Scene

    Tile = Callable[[Look, Scene, Names, Detail], Markup]

HIT, MISS = "\N{CHECK MARK}", "\N{MULTIPLICATION X}"


def sections(exhibit: Exhibit, names: Names, detail: Detail) -> list[Markup | None]:
    """The parts of the page.

    Args:
        exhibit: what there is to draw.
        names: of classes and variants.
        detail: of the pictures.
    """
    return [
        _erasures(exhibit, names, detail),
        _attention(exhibit, names, detail),
        _drawn(exhibit, names, detail),
        _differences(exhibit, names, detail),
    ]


def _erasures(exhibit: Exhibit, names: Names, detail: Detail) -> Markup | None:
    """Image, ranked map and erased image, for each variant."""
    without = [names.variant(look.cell.variant) for look in exhibit.looks if all(s.kept is None for s in look.erasures)]
    if len(without) == len(exhibit.looks):
        return None
    note = (
        "Database images, drawn by a fixed seed. The map is the channel mean of the network's last features, brought "
        "to the image's size: dark is low, yellow high. The highest positions become the top left corners of squares "
        "that are erased; erased pixels have the mean colour, which the network is given as zeros. In training the "
        "mask is made in each step by the network of that moment, from a random view of the image; here it is the "
        "trained network's."
    )
    note += f" Trained without erasing: {formats.listed(without, most=20)}." if without else ""
    scenes = ((look, look.erasures) for look in exhibit.looks if look.erasures[0].kept is not None)
    return section("erasures", "What SREM erases", _note(note), *_by_image(scenes, names, detail, _erasure))


def _attention(exhibit: Exhibit, names: Names, detail: Detail) -> Markup:
    """The map over the image, for each variant."""
    note = (
        "Queries, drawn by a fixed seed. The channel mean of the last features over the image, scaled for each image "
        "and network from dark (lowest) to yellow (highest): it says where a network looks, not how strongly."
    )
    scenes = ((look, look.attention) for look in exhibit.looks)
    return section("attention", "Where the networks look", _note(note), *_by_image(scenes, names, detail, _heat))


def _by_image(
    looked: Iterable[tuple[Look, Sequence[Scene]]], names: Names, detail: Detail, draw: Tile
) -> Iterator[Markup]:
    """A block an image: the image as it is, and beside it a tile a variant."""
    looks, scenes = zip(*looked, strict=True)
    for of_image in zip(*scenes, strict=True):
        picture: Picture = of_image[0].picture
        image = tag("figure", large(picture.pixels, _alt(picture, names), detail), _named(picture, names))
        tiles = [draw(look, scene, names, detail) for look, scene in zip(looks, of_image, strict=True)]
        yield tag("div", image, tag("div", *tiles), class_="tiles")


def _erasure(look: Look, scene: Scene, names: Names, detail: Detail) -> Markup:
    assert scene.kept is not None
    assert scene.erased is not None
    share = f"{100 * (1 - scene.kept.mean()):.1f} % erased"
    variant, image = names.variant(look.cell.variant), _alt(scene.picture, names)
    pictures = [
        large(heated(scene.picture.pixels, scene.heat), f"{image}: map that {variant} ranks", detail),
        large(_outlined(scene), f"{image}: as {variant} erases it, {share}", detail),
    ]
    return _tile(pictures, name(variant), tag("small", share))


def _heat(look: Look, scene: Scene, names: Names, detail: Detail) -> Markup:
    variant = names.variant(look.cell.variant)
    says = f"{_alt(scene.picture, names)}: where {variant} looks"
    return _tile([large(heated(scene.picture.pixels, scene.heat), says, detail)], name(variant))


def _outlined(scene: Scene) -> Any:
    """The erased image with a thin light line around what is erased, which on a grey ground would not be seen."""
    assert scene.kept is not None
    assert scene.erased is not None
    gone = np.pad(~scene.kept, 1)
    inside = gone[1:-1, 1:-1] & gone[:-2, 1:-1] & gone[2:, 1:-1] & gone[1:-1, :-2] & gone[1:-1, 2:]
    drawn = scene.erased.copy()
    drawn[~scene.kept & ~inside] = 255
    return drawn


def _drawn(exhibit: Exhibit, names: Names, detail: Detail) -> Markup:
    """The same queries, drawn at random, under every variant."""
    note = (
        f"{len(exhibit.looks[0].drawn)} of {exhibit.queries:,} queries, drawn by a fixed seed and not by what they "
        f"find, and the nearest of {exhibit.database:,} database images under each variant. "
    )
    blocks = []
    for ranked in zip(*(look.drawn for look in exhibit.looks), strict=True):
        found = [
            _found(names.variant(look.cell.variant), one, exhibit, names, detail)
            for look, one in zip(exhibit.looks, ranked, strict=True)
        ]
        more = found[2:]
        folded = tag("details", tag("summary", f"{formats.count(len(more), 'more variant')}"), *more) if more else None
        blocks.append(_query(ranked[0], exhibit, names, detail, [*found[:2], folded]))
    return section("queries", "Queries drawn at random", _note(note + _legend()), *blocks)


def _differences(exhibit: Exhibit, names: Names, detail: Detail) -> Markup | None:
    """The queries on which each variant and its reference differ most, either way."""
    parts: list[Markup] = []
    for look in exhibit.looks:
        if look.cell.is_reference:
            continue
        own, reference = names.variant(look.cell.variant), names.variant(look.cell.reference)
        blocks = []
        for title, pairs in (("better", look.gains), ("worse", look.losses)):
            blocks.append(tag("h3", name(f"{own} {title} than {reference}")))
            blocks += [_pair(pair, (reference, own), exhibit, names, detail) for pair in pairs]
            blocks += [] if pairs else [_note("No query.")]
        parts.append(tag("details", tag("summary", name(own)), *blocks, open="" if not parts else None))
    if not parts:
        return None
    note = (
        "Not drawn but picked: the queries where a variant's average precision lies farthest above its reference's, "
        "and as many where it lies farthest below. They show how the two differ, not which is better. "
    )
    return section("differences", "Where they differ most", _note(note + _legend()), *parts)


def _pair(pair: Compared, variants: tuple[str, str], exhibit: Exhibit, names: Names, detail: Detail) -> Markup:
    found = [
        _found(variant, one, exhibit, names, detail)
        for variant, one in zip(variants, (pair.reference, pair.own), strict=True)
    ]
    return _query(pair.own, exhibit, names, detail, found)


def _query(one: Ranked, exhibit: Exhibit, names: Names, detail: Detail, found: Sequence[Markup | None]) -> Markup:
    """A query's picture beside what it finds."""
    picture = exhibit.pictures[one.number]
    shown = tag(
        "figure",
        small(picture.pixels, f"query: {_alt(picture, names)}", detail),
        _named(picture, names),
    )
    return tag("div", shown, tag("div", *found), class_="query")


def _found(variant: str, one: Ranked, exhibit: Exhibit, names: Names, detail: Detail) -> Markup:
    """The nearest images of a query under a variant."""
    items = []
    for rank, near in enumerate(one.nearest, 1):
        hit = near.label == one.label
        says = f"rank {rank}, {'hit' if hit else 'miss'}: {names.classes[near.label]}, distance {near.distance}"
        mark = tag("b", HIT if hit else MISS, aria_hidden="true")
        picture = small(exhibit.pictures[near.number].pixels, says, detail)
        under = tag("span", mark, f" {near.distance}"), _class(near.label, names)
        items.append(tag("li", picture, *under, class_="hit" if hit else "miss"))
    hits = sum(near.label == one.label for near in one.nearest)
    says = f" {hits} of {len(items)} of its class, average precision {formats.metric(one.precision)}"
    return tag("div", tag("p", tag("b", name(variant)), tag("small", says)), tag("ol", *items, class_="found"))


def _legend() -> str:
    return (
        f"{HIT} and a green, solid frame: of the query's class; {MISS} and a red, dashed one: of another. The number "
        "is the Hamming distance in bits; equal distances stand in the order of the database. Average precision is "
        "over the whole database, expected over ties."
    )


def _tile(pictures: Sequence[Markup], *caption: Any) -> Markup:
    return tag("figure", tag("div", *pictures), tag("figcaption", *caption))


def _named(picture: Picture, names: Names) -> Markup:
    return tag("figcaption", _class(picture.label, names))


def _class(label: int, names: Names) -> Markup:
    return tag("span", names.breakable(label), title=names.classes[label], class_="class")


def _alt(picture: Picture, names: Names) -> str:
    return names.classes[picture.label]


def _note(text: str) -> Markup:
    return tag("p", text, class_="note")
