"""Sections of a retrieval gallery: regions that SREM erases, attention maps, and nearest images of queries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dashboards.ablation.sections import section
from dashboards.gallery.elements import Detail, DisplayNames, large_picture, note, overlay_heat, small_picture
from dashboards.html import Markup, breakable_name, formats, tag

if TYPE_CHECKING:  # making these needs torch; drawing them does not
    from raysearch.inspection.retrieval import (
        InspectedCell,
        InspectedImage,
        Picture,
        QueryComparison,
        RankedQuery,
        RetrievalInspection,
    )

    DrawTile = Callable[[InspectedCell, InspectedImage, DisplayNames, Detail], Markup]

HIT = "\N{CHECK MARK}"
MISS = "\N{MULTIPLICATION X}"


def sections(inspection: RetrievalInspection, names: DisplayNames, detail: Detail) -> list[Markup | None]:
    """Draw the sections of the page.

    Args:
        inspection: the inspection of the run's cells.
        names: the names of classes and variants.
        detail: the detail of the pictures.
    """
    return [
        _erasures(inspection, names, detail),
        _attention(inspection, names, detail),
        _drawn_queries(inspection, names, detail),
        _differences(inspection, names, detail),
    ]


def _erasures(inspection: RetrievalInspection, names: DisplayNames, detail: Detail) -> Markup | None:
    """Draw the image, its ranked map and the erased image, for each variant."""
    erasing = [cell for cell in inspection.cells if _erases(cell)]
    if not erasing:
        return None
    text = (
        "Database images, drawn by a fixed seed. The map is the channel mean of the network's last features, resized "
        "to the image: dark is low, yellow is high. Each of the highest positions becomes the top left corner of an "
        "erased square. Erased pixels get the mean color, which the network receives as zeros. In training, the mask "
        "of each step comes from the network at that step and a random view of the image. Here it comes from the "
        "trained network."
    )
    without = [names.variant(cell.cell.variant) for cell in inspection.cells if not _erases(cell)]
    text += f" Trained without erasing: {formats.listed(without, most=20)}." if without else ""
    images = [cell.erasures for cell in erasing]
    return section(
        "erasures", "Regions that SREM erases", note(text), *_by_image(erasing, images, names, detail, _erasure_tile)
    )


def _erases(cell: InspectedCell) -> bool:
    return any(image.kept is not None for image in cell.erasures)


def _attention(inspection: RetrievalInspection, names: DisplayNames, detail: Detail) -> Markup:
    """Draw the attention map over the image, for each variant."""
    text = (
        "Queries, drawn by a fixed seed, with the channel mean of the last features over the image. The scale runs "
        "from dark (lowest) to yellow (highest) for each image and network: it shows where a network attends, not "
        "how strongly."
    )
    images = [cell.attention for cell in inspection.cells]
    tiles = _by_image(inspection.cells, images, names, detail, _attention_tile)
    return section("attention", "Where the networks attend", note(text), *tiles)


def _by_image(
    cells: Sequence[InspectedCell],
    images: Sequence[Sequence[InspectedImage]],
    names: DisplayNames,
    detail: Detail,
    draw_tile: DrawTile,
) -> Iterator[Markup]:
    """Yield one block per image: the unchanged image, and one tile per variant beside it."""
    for same_image in zip(*images, strict=True):
        picture: Picture = same_image[0].picture
        figure = tag("figure", large_picture(picture.pixels, _alt(picture, names), detail), _caption(picture, names))
        tiles = [draw_tile(cell, image, names, detail) for cell, image in zip(cells, same_image, strict=True)]
        yield tag("div", figure, tag("div", *tiles), class_="tiles")


def _erasure_tile(cell: InspectedCell, image: InspectedImage, names: DisplayNames, detail: Detail) -> Markup:
    assert image.kept is not None
    share = f"{100 * (1 - image.kept.mean()):.1f} % erased"
    variant = names.variant(cell.cell.variant)
    alt = _alt(image.picture, names)
    heat = overlay_heat(image.picture.pixels, image.heat)
    pictures = [
        large_picture(heat, f"{alt}: map that {variant} ranks", detail),
        large_picture(_outline_erased(image), f"{alt}: erased by {variant}, {share}", detail),
    ]
    return _tile(pictures, breakable_name(variant), tag("small", share))


def _attention_tile(cell: InspectedCell, image: InspectedImage, names: DisplayNames, detail: Detail) -> Markup:
    variant = names.variant(cell.cell.variant)
    alt = f"{_alt(image.picture, names)}: where {variant} attends"
    return _tile([large_picture(overlay_heat(image.picture.pixels, image.heat), alt, detail)], breakable_name(variant))


def _outline_erased(image: InspectedImage) -> Any:
    """Draw a thin light line around the erased regions, which would be invisible on a gray ground."""
    assert image.kept is not None
    assert image.erased is not None
    erased = np.pad(~image.kept, 1)
    inside = erased[1:-1, 1:-1] & erased[:-2, 1:-1] & erased[2:, 1:-1] & erased[1:-1, :-2] & erased[1:-1, 2:]
    outlined = image.erased.copy()
    outlined[~image.kept & ~inside] = 255
    return outlined


def _drawn_queries(inspection: RetrievalInspection, names: DisplayNames, detail: Detail) -> Markup:
    """Draw the same random queries under every variant."""
    text = (
        f"{len(inspection.cells[0].drawn)} of {inspection.queries:,} queries, drawn by a fixed seed whatever they "
        f"find, and the nearest of {inspection.database:,} database images under each variant. "
    )
    blocks = []
    for ranked in zip(*(cell.drawn for cell in inspection.cells), strict=True):
        results = [
            _nearest(names.variant(cell.cell.variant), query, inspection, names, detail)
            for cell, query in zip(inspection.cells, ranked, strict=True)
        ]
        others = results[2:]
        folded = tag("details", tag("summary", formats.count(len(others), "more variant")), *others) if others else None
        blocks.append(_query(ranked[0], inspection, names, detail, [*results[:2], folded]))
    return section("queries", "Random queries", note(text + _legend()), *blocks)


def _differences(inspection: RetrievalInspection, names: DisplayNames, detail: Detail) -> Markup | None:
    """Draw the queries on which each variant and its reference differ most, in both directions."""
    parts: list[Markup] = []
    for cell in inspection.cells:
        if cell.cell.is_reference:
            continue
        variant = names.variant(cell.cell.variant)
        reference = names.variant(cell.cell.reference)
        blocks = []
        for verdict, comparisons in (("better", cell.gains), ("worse", cell.losses)):
            blocks.append(tag("h3", breakable_name(f"{variant} {verdict} than {reference}")))
            blocks += [_comparison(pair, (reference, variant), inspection, names, detail) for pair in comparisons]
            if not comparisons:
                blocks.append(note("No query."))
        parts.append(tag("details", tag("summary", breakable_name(variant)), *blocks, open="" if not parts else None))
    if not parts:
        return None
    text = (
        "Selected, not random: the queries whose average precision exceeds the reference's most, and as many that "
        "fall below it most. They show how two variants differ, not which is better. "
    )
    return section("differences", "Largest differences", note(text + _legend()), *parts)


def _comparison(
    comparison: QueryComparison,
    variants: tuple[str, str],
    inspection: RetrievalInspection,
    names: DisplayNames,
    detail: Detail,
) -> Markup:
    results = [
        _nearest(variant, query, inspection, names, detail)
        for variant, query in zip(variants, (comparison.reference, comparison.variant), strict=True)
    ]
    return _query(comparison.variant, inspection, names, detail, results)


def _query(
    query: RankedQuery,
    inspection: RetrievalInspection,
    names: DisplayNames,
    detail: Detail,
    results: Sequence[Markup | None],
) -> Markup:
    """Draw a query's picture beside its results."""
    picture = inspection.pictures[query.number]
    figure = tag(
        "figure",
        small_picture(picture.pixels, f"query: {_alt(picture, names)}", detail),
        _caption(picture, names),
    )
    return tag("div", figure, tag("div", *results), class_="query")


def _nearest(
    variant: str, query: RankedQuery, inspection: RetrievalInspection, names: DisplayNames, detail: Detail
) -> Markup:
    """Draw the nearest images of a query under a variant."""
    items = []
    for rank, neighbor in enumerate(query.nearest, 1):
        hit = neighbor.label == query.label
        alt = f"rank {rank}, {'hit' if hit else 'miss'}: {names.classes[neighbor.label]}, distance {neighbor.distance}"
        mark = tag("b", HIT if hit else MISS, aria_hidden="true")
        picture = small_picture(inspection.pictures[neighbor.number].pixels, alt, detail)
        distance = tag("span", mark, f" {neighbor.distance}")
        items.append(tag("li", picture, distance, _class_name(neighbor.label, names), class_="hit" if hit else "miss"))
    hits = sum(neighbor.label == query.label for neighbor in query.nearest)
    summary = f" {hits} of {len(items)} of its class, average precision {formats.metric(query.precision)}"
    heading = tag("p", tag("b", breakable_name(variant)), tag("small", summary))
    return tag("div", heading, tag("ol", *items, class_="found"))


def _legend() -> str:
    return (
        f"{HIT} with a green, solid frame: same class as the query. {MISS} with a red, dashed frame: another class. "
        "The number is the Hamming distance in bits; equal distances keep the order of the database. Average "
        "precision covers the whole database and is expected over ties."
    )


def _tile(pictures: Sequence[Markup], *caption: Any) -> Markup:
    return tag("figure", tag("div", *pictures), tag("figcaption", *caption))


def _caption(picture: Picture, names: DisplayNames) -> Markup:
    return tag("figcaption", _class_name(picture.label, names))


def _class_name(label: int, names: DisplayNames) -> Markup:
    return tag("span", names.breakable_class(label), title=names.classes[label], class_="class")


def _alt(picture: Picture, names: DisplayNames) -> str:
    return names.classes[picture.label]
