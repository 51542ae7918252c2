"""The page of a gallery, of pictures and names made up for it."""

import base64
import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dashboards.report
from dashboards.gallery import page, pictures, retrieval
from dashboards.gallery.names import Names
from raysearch.inspection.choosing import CellChoice
from raysearch.inspection.retrieval import Compared, Exhibit, Look, Neighbour, Picture, Ranked, Scene
from raysearch.runs.study_record import StudyRecord

from ..browser import chromium, needs_chromium
from .conftest import Page as Parsed
from .conftest import ablation, write_run

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


def scene(erases: bool) -> Scene:
    picture, kept = Picture(pixels(), 1), np.ones((24, 24), bool)
    kept[4:10, 4:10] = False
    heat = RNG.random((24, 24)).astype(np.float32)
    return Scene(picture, heat, kept if erases else None, picture.pixels if erases else None)


def ranked(number: int, precision: float) -> Ranked:
    return Ranked(number, 1, precision, tuple(Neighbour(10 + rank, rank % 2, rank) for rank in range(10)))


def chosen(variant: str) -> CellChoice:
    return CellChoice(variant, "reference", 1, "c" * 20, "map", 0.5, (0, 1, 2), 4, 4)


def exhibit() -> Exhibit:
    looks = (
        Look(chosen("reference"), (scene(True),), (scene(True),), (ranked(0, 0.25),), (), ()),
        Look(
            chosen(HOSTILE),
            (scene(False),),
            (scene(False),),
            (ranked(0, 0.75),),
            gains=(Compared(ranked(1, 0.1), ranked(1, 0.9)),),
            losses=(),
        ),
    )
    return Exhibit(looks, {number: Picture(pixels(), number % 2) for number in range(20)}, 800, 1080)


def write(folder: Path, again: float = 0.5) -> Path:
    names, shown = Names.of(STUDY, ["wren", HOSTILE]), [page.Checked(one.cell, again) for one in exhibit().looks]
    networks = page.Networks(shown, [page.Untold(HOSTILE, f"no checkpoint of {HOSTILE}")], left_out=3)
    drawn = exhibit()
    return page.write(folder, STUDY, networks, names, lambda detail: retrieval.sections(drawn, names, detail))


def test_names_cannot_become_markup(tmp_path: Path):
    elements = Parsed(write(tmp_path).read_text()).tags
    assert "script" not in Counter(tag for tag, _ in elements)
    for tag, attributes in elements:
        assert not any(name.startswith("on") for name in attributes), tag
        if tag == "img":
            assert (attributes["src"] or "").startswith("data:image/")


def test_every_picture_says_what_it_is(tmp_path: Path):
    alts = [attributes["alt"] or "" for tag, attributes in Parsed(write(tmp_path).read_text()).tags if tag == "img"]
    assert all(alts)
    found = [alt for alt in alts if alt.startswith("rank ")]
    assert len(found) == 10 * (2 + 2)  # a drawn query under two variants, a picked one too
    assert found[:2] == ["rank 1, miss: wren, distance 0", f"rank 2, hit: {HOSTILE}, distance 1"]
    assert sum("map that reference ranks" in alt for alt in alts) == 1
    assert sum("as reference erases it, 6.2 % erased" in alt for alt in alts) == 1
    assert sum("where" in alt and "looks" in alt for alt in alts) == 2


def test_hits_and_misses_are_told_by_frame_and_by_mark(tmp_path: Path):
    text = write(tmp_path).read_text()
    items = text.split("<li ")[1:]
    assert len(items) == 40
    for index, item in enumerate(items):
        hit = index % 2 == 1
        assert item.startswith('class="hit"' if hit else 'class="miss"')
        assert (retrieval.HIT in item.split("</li>")[0]) == hit
        assert (retrieval.MISS in item.split("</li>")[0]) != hit
    assert "5 of 10 of its class, average precision 0.250" in text


def test_what_is_missing_and_what_differs_is_said(tmp_path: Path):
    text = write(tmp_path, again=0.5000001).read_text()
    assert "computed again is 0.5000001, its evaluation gave 0.5" in text
    assert "Not shown: no checkpoint of" in text
    assert "3 more variants can be shown with --variant NAME" in text
    assert "No query." in text  # is there a loss against the reference
    assert page.difference(page.Checked(chosen("a"), 0.5)) == ""


@needs_chromium
@pytest.mark.parametrize("dark", [False, True])
def test_opens_without_errors_and_without_a_network(tmp_path: Path, dark: bool):
    with chromium() as browser:
        opened = browser.open(write(tmp_path).as_uri(), width=390, dark=dark)
        assert list(opened.errors) == []
        assert list(opened.requests) == []
        assert opened.evaluate("document.documentElement.scrollWidth") == 390
        assert opened.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
        assert opened.evaluate("document.querySelector('h1').textContent") == HOSTILE


def test_a_picture_survives_its_way_into_the_page():
    flat = np.zeros((40, 30, 3), np.uint8)
    flat[10:] = 200
    slope = np.linspace(60, 180, 60)[:, None, None] + np.zeros((60, 60, 3))
    photo = (slope + RNG.normal(0, 12, slope.shape)).astype(np.uint8)
    for array, kind in ((flat, "png"), (photo, "jpeg")):
        head, data = pictures.uri(array, 60, 90).split(",")
        assert head == f"data:image/{kind};base64"
        back = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"), int)
        assert back.shape == array.shape
        assert abs(back - array).mean() < (1 if kind == "png" else 12)
    assert 'width="30" height="40"' in pictures.large(flat, "flat", pictures.DETAILS[0])
    small = Image.open(io.BytesIO(base64.b64decode(pictures.uri(flat, 20, 90).split(",")[1])))
    assert small.size == (15, 20)


def test_the_page_takes_the_most_detail_that_fits():
    lengths = {detail: 1000 - 100 * index for index, detail in enumerate(pictures.DETAILS)}
    for budget, index in ((2000, 0), (1000, 0), (999, 1), (650, 4), (10, 4)):
        drawn = pictures.fitted(lambda detail: "x" * lengths[detail], budget)
        assert len(drawn) == 1000 - 100 * index


def test_heat_runs_from_dark_to_bright_over_grey():
    grey = pictures.heated(np.full((1, 3, 3), 100, np.uint8), np.array([[0.0, 0.5, 1.0]]), share=1.0)
    assert grey[0].sum(1).tolist() == sorted(grey[0].sum(1).tolist())
    assert grey[0, 2, 0] > grey[0, 2, 2], "yellow"
    none = pictures.heated(np.array([[[30, 60, 90]]], np.uint8), np.array([[1.0]]), share=0.0)
    assert none.tolist() == [[[60, 60, 60]]]


def test_the_report_links_to_a_gallery_that_is_there(tmp_path: Path):
    run = write_run(tmp_path / "run", ablation())
    assert "gallery.html" not in dashboards.report.write(run).read_text()
    (run / "gallery.html").write_text("<!DOCTYPE html>")
    assert 'href="gallery.html"' in dashboards.report.write(run).read_text()
