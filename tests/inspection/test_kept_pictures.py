"""The gallery of a user's task: the pictures that cells kept, read from the run's storage, without any code of it."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dashboards.gallery import build
from raysearch import report
from raysearch.core import UserError

from ..browser import assert_opens_on_a_phone, chromium, needs_chromium
from ..commands import run_app
from ..dashboards.written import write

HOSTILE = "</h3><script>alert(1)</script>"
VALUES = {"reference": {0: 0.5, 1: 0.7, 2: 0.6}, "width=4": {0: 0.1, 1: 0.2, 2: 0.3}}
CODE = {"task": "my_study.py:train", "code": {"my_study.py": "0" * 16}}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of a user's task; cells 2 and 4 are those of the median seeds."""
    return write(tmp_path / "runs" / "a", VALUES, cells={"history": "[]"}, **CODE)


def keep(run: Path, cell: int, name: str, color: str, kind: str = "png", size: int = 20) -> Path:
    """Write a picture of a cell."""
    folder = run / "checkpoints" / f"{run.name}-{cell}" / "files"
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), color).save(folder / name, kind)
    return folder / name


def colors(page: str) -> list[tuple[str, tuple[int, ...]]]:
    """Return text and mean color of each picture on a page."""
    pictures = re.findall(r'<img src="data:image/\w+;base64,([^"]*)" alt="([^"]*)"', page)
    decoded = [(alt, np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))) for data, alt in pictures]
    return [(alt, tuple(pixels.reshape(-1, 3).mean(0).round().astype(int))) for alt, pixels in decoded]


def test_each_picture_is_shown_under_each_variant_from_the_median_seed(run: Path) -> None:
    keep(run, 0, "mask.png", "white")
    keep(run, 2, "mask.png", "red")
    keep(run, 4, "mask.png", "blue")
    keep(run, 4, "plot.JPG", "black", "jpeg")
    (run / "checkpoints" / "a-4" / "files" / "note.txt").write_text("no picture")
    assert run_app(report.app, str(run), "--gallery") in (0, None)
    page = (run / "gallery.html").read_text()
    assert colors(page) == [
        ("mask: reference", (255, 0, 0)),
        ("mask: width=4", (0, 0, 255)),
        ("plot: width=4", (0, 0, 0)),
    ]
    assert "recomputed" not in page
    assert 'href="gallery.html"' in (run / "report.html").read_text()
    page = build.write_gallery(run, 1, ["reference"], seed=0).read_text()
    assert colors(page) == [("mask: reference", (255, 255, 255))]


def test_a_run_without_pictures_is_one_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(report.app, str(run), "--gallery") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "the runs of my_study.py:train kept no pictures; write PNG or JPEG files to run.out" in error


def test_the_pictures_of_a_cell_that_another_run_has_finished_are_found_there(run: Path, tmp_path: Path) -> None:
    (tmp_path / "runs" / "b").mkdir()
    keep(run, 2, "mask.png", "red")
    (run / "checkpoints").rename(tmp_path / "runs" / "b" / "checkpoints")
    assert colors(build.write_gallery(run, 3).read_text()) == [("mask: reference", (255, 0, 0))]


def test_the_storage_of_a_run_can_be_named(run: Path, tmp_path: Path) -> None:
    keep(run, 2, "mask.png", "red")
    store = (run / "checkpoints").rename(tmp_path / "store")
    assert colors(build.write_gallery(run, 3, storage=str(store)).read_text()) == [("mask: reference", (255, 0, 0))]


@pytest.mark.parametrize("content", [b"", b"<svg/>", b"\x89PNG\r\n\x1a\n" + b"x" * 100])
def test_a_damaged_picture_is_named(run: Path, content: bytes) -> None:
    keep(run, 2, "mask.png", "red").write_bytes(content)
    with pytest.raises(UserError, match=r"'mask\.png' of cell a-2 \(variant 'reference'\) is no picture: "):
        build.write_gallery(run, 3)


def test_a_link_to_a_file_outside_the_run_is_not_followed(run: Path, tmp_path: Path) -> None:
    picture = keep(run, 2, "mask.png", "red")
    picture.rename(tmp_path / "private.png")
    picture.symlink_to(tmp_path / "private.png")
    with pytest.raises(UserError, match="a link that leads out"):
        build.write_gallery(run, 3)


@needs_chromium
def test_names_of_pictures_are_text(run: Path) -> None:
    keep(run, 2, HOSTILE.replace("/", "\N{DIVISION SLASH}") + ".png", "red")
    keep(run, 4, '" onload="alert(1).png', "red", size=900)
    page = build.write_gallery(run, 3)
    with chromium() as browser:
        opened = browser.open(page.as_uri(), width=390)
        assert_opens_on_a_phone(opened)
        assert opened.evaluate("document.images.length") == 2
        assert opened.evaluate("document.querySelectorAll('script').length") <= 1
