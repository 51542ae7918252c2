"""The page of a few-shot gallery, from generated episodes, pairs and hostile names."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from dashboards.gallery import fewshot, page
from dashboards.gallery.elements import DETAILS, DisplayNames
from dashboards.gallery.fewshot import matching, svg
from dashboards.gallery.fewshot.attention import resize_map
from raysearch.inspection.cell_choice import CellChoice
from raysearch.inspection.episodes import EpisodePredictions
from raysearch.inspection.fewshot import DifferingEpisode, EpisodeGroup, ImagePair, InspectedCell
from raysearch.inspection.image_pairs import CrossAttention, LayerMatches, Matching
from raysearch.inspection.planes import Plane
from raysearch.runs import StudyRecord

from ...browser import assert_opens_on_a_phone, chromium, needs_chromium
from ..conftest import Page as Parsed

HOSTILE = "</span><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
CLASSES = ["wren", HOSTILE, "owl_of_the_woods"]
STUDY = StudyRecord.model_validate(
    {"study": "s", "question": HOSTILE, "variants": [{"name": "reference"}, {"name": HOSTILE}], "cells": []}
)
NAMES = DisplayNames.of_study(STUDY, CLASSES)
RNG = np.random.default_rng(5)
WAYS = 3
SHOTS = 2
QUERIES = 10


def pixels(side: int = 24) -> np.ndarray:
    return RNG.integers(0, 256, (side, side, 3)).astype(np.uint8)


def predictions(index: int, wrong: int) -> EpisodePredictions:
    """Predict the next way for the first query of the first `wrong` ways, and the right way for all other queries."""
    logits = np.tile(np.eye(WAYS)[:, None] * np.log(8.0), (1, QUERIES, 1))
    for way in range(wrong):
        logits[way, 0] = np.roll(logits[way, 0], 1)
    rows = np.arange(WAYS * (SHOTS + QUERIES)).reshape(WAYS, -1)
    return EpisodePredictions(index, rows[:, :SHOTS], rows[:, SHOTS:], np.array([1, 0, 2]), logits)


def attention(source: str) -> CrossAttention:
    heat = RNG.random((6, 4, 4))
    heat /= heat.sum((1, 2), keepdims=True)
    return CrossAttention(source, heat[0], ((0.5, 0.25),) * 5, heat[1:])  # type: ignore[arg-type]


def layer_matches(decides: bool) -> LayerMatches:
    pixels = np.array([[0, 2], [1, 3], [2, 0], [3, 1]])
    similarity = np.array([0.9, 0.5, -0.2, 0.7])
    weights = np.array([2.0, 1.0, 0.5, 0.5]), np.ones(4)
    return LayerMatches((2, 2), pixels, similarity, similarity > 0.8, 0.9, decides, weights)


def inspected_cell(variant: str, wrong: int, recorded: int) -> InspectedCell:
    pairs = tuple(
        ImagePair(
            pixels(),
            pixels(),
            classes,
            0.8,
            (attention("support"), attention("query")) if variant == HOSTILE else (),
            Matching((layer_matches(False), layer_matches(True)), 0.4, 0.9, 0.5) if variant == HOSTILE else None,
        )
        for classes in ((1, 1), (0, 1))
    )
    points = RNG.normal(size=(WAYS, SHOTS + QUERIES, 2))
    before = Plane(points[:, :SHOTS], points[:, SHOTS:], (0.5, 0.25), 0.6)
    cell = CellChoice(variant, "reference", 1, "c" * 20, "accuracy", 0.5, (0, 1), 4, 4)
    episodes = {index: predictions(index, wrong) for index in (0, 7)}
    return InspectedCell(cell, episodes, [recorded] * 8, pairs, (before, before if variant == HOSTILE else None))


def group(recorded: int = WAYS * QUERIES - 2) -> EpisodeGroup:
    cells = (inspected_cell("reference", 0, WAYS * QUERIES), inspected_cell(HOSTILE, 2, recorded))
    pictures = {row: pixels() for row in range(WAYS * (SHOTS + QUERIES))}
    return EpisodeGroup("3-way, 2-shot", cells, (0,), (DifferingEpisode(7, HOSTILE, "reference", -2),), pictures)


def write(folder: Path, *groups: EpisodeGroup) -> Path:
    shown = list(groups or (group(),))
    networks = page.Networks([page.CheckedCell(inspected.cell, 0.5) for inspected in shown[0].cells], [], 0)
    return page.write_page(folder, STUDY, networks, NAMES, lambda detail: fewshot.sections(shown, NAMES, detail))


def test_names_cannot_become_markup(tmp_path: Path) -> None:
    elements = Parsed(write(tmp_path, group(), group()).read_text()).tags
    assert "script" not in Counter(tag for tag, _ in elements)
    for tag, attributes in elements:
        assert not any(name.startswith("on") for name in attributes), tag
        for name in ("src", "href"):
            if tag in ("img", "image") and name in attributes:
                assert (attributes[name] or "").startswith("data:image/")


def test_every_drawing_has_a_description(tmp_path: Path) -> None:
    elements = Parsed(write(tmp_path).read_text()).tags
    assert all(attributes["alt"] for tag, attributes in elements if tag == "img")
    drawings = [attributes for tag, attributes in elements if tag == "svg"]
    assert all(drawing.get("aria-label") or drawing.get("aria-hidden") for drawing in drawings)
    assert sum("between matched pixels" in (drawing.get("aria-label") or "") for drawing in drawings) == 2 * 2
    assert sum("positions 1 to 5 marked" in (drawing.get("aria-label") or "") for drawing in drawings) == 2 * 2


def test_correct_and_wrong_queries_differ_in_word_mark_and_class(tmp_path: Path) -> None:
    text = write(tmp_path).read_text()
    first = text.split("<tbody>")[2].split("</tr>")[0]  # the first class of the first episode
    queries = first.split("<td>")[1:]
    assert len(queries) == 8, "the first eight of ten"
    assert "The first 8 of 10 queries per class are drawn" in text
    alt = re.findall('alt="([^"]*)"', queries[0])[0]
    assert "reference: &lt;/span&gt;" in alt
    assert alt.count("score 0.80, correct") == 1
    assert alt.count("wren, score 0.80, wrong") == 1
    lines = re.findall(r'<span class="(\w+)"[^>]*><i>(\w)</i><b>(.)</b> ([^<]*)</span>', queries[0])
    assert lines == [("correct", "A", "\N{CHECK MARK}", "0.80"), ("wrong", "B", "\N{MULTIPLICATION X}", "0.80 for 2")]
    assert [line[0] for line in re.findall(r'<span class="(\w+)"(>|[^>]*>)<i>', queries[1])] == ["correct", "correct"]
    assert "28 of 30 correct" in text
    assert "owl_<wbr>of_<wbr>the_<wbr>woods" in text


def test_selected_episodes_and_changed_records_are_reported(tmp_path: Path) -> None:
    text = write(tmp_path).read_text()
    assert "2 fewer correct queries than reference" in text
    assert "Selected, not random" in text
    assert "Differs from the record" not in text
    changed = write(tmp_path, group(recorded=25)).read_text()
    assert "episode 0: 28 correct now, 25 on record" in changed
    assert "episode 7: 28 correct now, 25 on record" in changed


def test_lines_join_the_matched_pixels() -> None:
    drawn = matching.matching_section([group()], NAMES, DETAILS[0])
    assert drawn is not None
    layer = drawn.split("<figure")[1].split("</svg>")[0]
    ends = re.findall(
        r'<line x1="([\d.]+)" y1="([\d.]+)" x2="([\d.]+)" y2="([\d.]+)"[^>]*class="(counted|idle)"', layer
    )
    # Centers of 2 x 2 pixels, the query's image after a gap. The least similar come first, and counted ones on top.
    assert [tuple(map(float, line[:4])) for line in ends] == [
        (25, 75, 171, 25), (75, 25, 221, 75), (75, 75, 221, 25), (25, 25, 171, 75)
    ]  # fmt: skip
    assert [line[4] for line in ends] == ["idle", "idle", "idle", "counted"]
    assert "row 1, column 1 to row 2, column 1: similarity 0.90<" in layer
    radii = [float(r) for r in re.findall(r'<circle [^>]*r="([\d.]+)"', layer)]
    assert [r**2 / radii[1] ** 2 for r in radii[:4]] == pytest.approx([2, 1, 0.5, 0.5], rel=0.02)
    assert len(drawn.split("does not count")) - 1 == 2 * 2  # in the caption and in the description


def test_symbols_of_classes_differ() -> None:
    symbols = {
        (svg.draw_symbol(way, 0, 0, 1, filled=True), svg.draw_symbol(way, 0, 0, 1, filled=False)) for way in range(42)
    }
    assert len(symbols) == 42


def test_maps_are_resized_to_the_picture() -> None:
    heat = np.array([[0.0, 1.0], [0.5, 0.0]])
    wide = resize_map(heat, np.zeros((8, 6, 3), np.uint8))
    assert wide.shape == (8, 6)
    assert (wide[0, 0], wide[0, -1], wide[-1, 0]) == pytest.approx((0.0, 1.0, 0.5))
    assert wide.max() <= 1


@needs_chromium
@pytest.mark.parametrize("dark", [False, True])
def test_opens_without_errors_and_without_a_network(tmp_path: Path, dark: bool) -> None:
    with chromium() as browser:
        opened = browser.open(write(tmp_path).as_uri(), width=390, dark=dark)
        assert_opens_on_a_phone(opened)
        inside = "[...document.querySelectorAll('.plane path')].every(p => {"
        inside += "const a = p.getBoundingClientRect(), b = p.closest('svg').getBoundingClientRect();"
        inside += "return a.left >= b.left && a.right <= b.right && a.top >= b.top && a.bottom <= b.bottom })"
        assert opened.evaluate(inside)
        images = [node for node in opened.accessibility() if node.get("role", {}).get("value") in ("image", "img")]
        assert images
        assert all(node["name"]["value"] for node in images if not node.get("ignored"))
