"""The page of a retrieval gallery, from generated pictures and hostile names."""

import base64
import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dashboards.report
from dashboards.gallery import elements, page, retrieval
from dashboards.gallery.elements import DisplayNames
from raysearch.inspection.cell_choice import CellChoice
from raysearch.inspection.retrieval import (
    InspectedCell,
    InspectedImage,
    Neighbor,
    Picture,
    QueryComparison,
    RankedQuery,
    RetrievalInspection,
)
from raysearch.runs import StudyRecord

from ...browser import assert_opens_on_a_phone, chromium, needs_chromium
from ..conftest import Page as Parsed
from ..conftest import ablation, write_run

HOSTILE = "</span><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
STUDY = StudyRecord.model_validate(
    {
        "study": "s",
        "question": HOSTILE,
        "data": {"name": HOSTILE},
        "variants": [{"name": "reference"}, {"name": HOSTILE}],
        "cells": [],
    }
)
RNG = np.random.default_rng(5)


def pixels(side: int = 24) -> np.ndarray:
    return RNG.integers(0, 256, (side, side, 3)).astype(np.uint8)


def inspected_image(erases: bool) -> InspectedImage:
    picture = Picture(pixels(), 1)
    kept = np.ones((24, 24), bool)
    kept[4:10, 4:10] = False
    heat = RNG.random((24, 24)).astype(np.float32)
    return InspectedImage(picture, heat, kept if erases else None, picture.pixels if erases else None)


def ranked_query(number: int, precision: float) -> RankedQuery:
    return RankedQuery(number, 1, precision, tuple(Neighbor(10 + rank, rank % 2, rank) for rank in range(10)))


def cell_choice(variant: str) -> CellChoice:
    return CellChoice(variant, "reference", 1, "c" * 20, "map", 0.5, (0, 1, 2), 4, 4)


def inspection() -> RetrievalInspection:
    cells = (
        InspectedCell(
            cell_choice("reference"),
            (inspected_image(True),),
            (inspected_image(True),),
            (ranked_query(0, 0.25),),
            (),
            (),
        ),
        InspectedCell(
            cell_choice(HOSTILE),
            (inspected_image(False),),
            (inspected_image(False),),
            (ranked_query(0, 0.75),),
            gains=(QueryComparison(ranked_query(1, 0.1), ranked_query(1, 0.9)),),
            losses=(),
        ),
    )
    return RetrievalInspection(cells, {number: Picture(pixels(), number % 2) for number in range(20)}, 800, 1080)


def write(folder: Path, recomputed: float = 0.5) -> Path:
    drawn = inspection()
    names = DisplayNames.of_study(STUDY, ["wren", HOSTILE])
    checked = [page.CheckedCell(inspected.cell, recomputed) for inspected in drawn.cells]
    networks = page.Networks(checked, [page.Skipped(HOSTILE, f"no checkpoint of {HOSTILE}")], left_out=3)
    return page.write_page(folder, STUDY, networks, names, lambda detail: retrieval.sections(drawn, names, detail))


def test_names_cannot_become_markup(tmp_path: Path):
    tags = Parsed(write(tmp_path).read_text()).tags
    assert "script" not in Counter(tag for tag, _ in tags)
    for tag, attributes in tags:
        assert not any(name.startswith("on") for name in attributes), tag
        if tag == "img":
            assert (attributes["src"] or "").startswith("data:image/")


def test_every_picture_has_an_alternative_text(tmp_path: Path):
    alts = [attributes["alt"] or "" for tag, attributes in Parsed(write(tmp_path).read_text()).tags if tag == "img"]
    assert all(alts)
    nearest = [alt for alt in alts if alt.startswith("rank ")]
    assert len(nearest) == 10 * (2 + 2)  # a random query under two variants, and a selected one
    assert nearest[:2] == ["rank 1, miss: wren, distance 0", f"rank 2, hit: {HOSTILE}, distance 1"]
    assert sum("map that reference ranks" in alt for alt in alts) == 1
    assert sum("erased by reference, 6.2 % erased" in alt for alt in alts) == 1
    assert sum("where" in alt and "attends" in alt for alt in alts) == 2


def test_hits_and_misses_differ_in_frame_and_mark(tmp_path: Path):
    text = write(tmp_path).read_text()
    items = text.split("<li ")[1:]
    assert len(items) == 40
    for index, item in enumerate(items):
        hit = index % 2 == 1
        assert item.startswith('class="hit"' if hit else 'class="miss"')
        assert (retrieval.HIT in item.split("</li>")[0]) == hit
        assert (retrieval.MISS in item.split("</li>")[0]) != hit
    assert "5 of 10 of its class, average precision 0.250" in text


def test_missing_variants_and_different_metrics_are_reported(tmp_path: Path):
    text = write(tmp_path, recomputed=0.5000001).read_text()
    assert "the recomputed mAP is 0.5000001, the stored one is 0.5" in text
    assert "Not shown: no checkpoint of" in text
    assert "3 more variants can be shown with --variant NAME" in text
    assert "No query." in text  # is worse than the reference
    assert page.difference_text(page.CheckedCell(cell_choice("a"), 0.5)) == ""


@needs_chromium
@pytest.mark.parametrize("dark", [False, True])
def test_opens_without_errors_and_without_a_network(tmp_path: Path, dark: bool):
    with chromium() as browser:
        opened = browser.open(write(tmp_path).as_uri(), width=390, dark=dark)
        assert_opens_on_a_phone(opened)
        assert opened.evaluate("document.querySelector('h1').textContent") == HOSTILE


def test_a_picture_survives_encoding():
    flat = np.zeros((40, 30, 3), np.uint8)
    flat[10:] = 200
    slope = np.linspace(60, 180, 60)[:, None, None] + np.zeros((60, 60, 3))
    photo = (slope + RNG.normal(0, 12, slope.shape)).astype(np.uint8)
    for array, kind in ((flat, "png"), (photo, "jpeg")):
        head, data = elements.data_uri(array, 60, 90).split(",")
        assert head == f"data:image/{kind};base64"
        decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"), int)
        assert decoded.shape == array.shape
        assert abs(decoded - array).mean() < (1 if kind == "png" else 12)
    assert 'width="30" height="40"' in elements.large_picture(flat, "flat", elements.DETAILS[0])
    small = Image.open(io.BytesIO(base64.b64decode(elements.data_uri(flat, 20, 90).split(",")[1])))
    assert small.size == (15, 20)


def test_the_page_uses_the_most_detail_that_fits():
    lengths = {detail: 1000 - 100 * index for index, detail in enumerate(elements.DETAILS)}
    for budget, index in ((2000, 0), (1000, 0), (999, 1), (650, 4), (10, 4)):
        text = elements.fit_page(lambda detail: "x" * lengths[detail], budget)
        assert len(text) == 1000 - 100 * index


def test_heat_runs_from_dark_to_bright_over_gray():
    heated = elements.overlay_heat(np.full((1, 3, 3), 100, np.uint8), np.array([[0.0, 0.5, 1.0]]), share=1.0)
    assert heated[0].sum(1).tolist() == sorted(heated[0].sum(1).tolist())
    assert heated[0, 2, 0] > heated[0, 2, 2], "yellow"
    unheated = elements.overlay_heat(np.array([[[30, 60, 90]]], np.uint8), np.array([[1.0]]), share=0.0)
    assert unheated.tolist() == [[[60, 60, 60]]]


def test_the_report_links_to_an_existing_gallery(tmp_path: Path):
    run = write_run(tmp_path / "run", ablation())
    assert "gallery.html" not in dashboards.report.write(run).read_text()
    (run / "gallery.html").write_text("<!DOCTYPE html>")
    assert 'href="gallery.html"' in dashboards.report.write(run).read_text()
