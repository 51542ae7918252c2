"""A gallery from checkpoints to page, as `python -m raysearch.report RUN --gallery` makes it."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from dashboards.gallery import build
from raysearch import report
from raysearch.core import cli
from raysearch.core.errors import UserError
from raysearch.inspection.loading import open_run
from raysearch.runs import results
from raysearch.runs.checkpoints import FOLDER

from ..browser import chromium, needs_chromium
from .conftest import EVERY, Trained


@pytest.fixture
def copy(trained: Trained, tmp_path: Path) -> Path:
    return shutil.copytree(trained.directory, tmp_path / "runs" / "copy")


def call(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.run(report.app, list(words))
    assert isinstance(ended.value.code, int)
    return ended.value.code


def shown(page: str) -> Sequence[str]:
    """The variants of the table of networks."""
    return re.findall(r'<th scope="row">([^<]*(?:<wbr>[^<]*)*)</th>', page)


@needs_chromium
def test_the_command_writes_a_page_that_opens(copy: Path, capsys: pytest.CaptureFixture[str]):
    assert call(str(copy), "--gallery", "--images", "2") == 0
    told = capsys.readouterr()
    assert str(copy / "gallery.html") in told.out
    assert told.err == ""
    page = (copy / "gallery.html").read_text()
    assert [name.replace("<wbr>", "") for name in shown(page)] == EVERY
    assert page.count("the same") == len(EVERY)
    assert 'href="gallery.html"' in (copy / "report.html").read_text()
    with chromium() as browser:
        opened = browser.open((copy / "gallery.html").as_uri())
        assert list(opened.errors) == []
        assert list(opened.requests) == []
        assert opened.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0 && i.alt)")
        # 10 found by 2 queries under each variant, and whatever differs
        assert opened.evaluate("document.querySelectorAll('#queries .found li').length") == 2 * 10 * len(EVERY)
        opened.resize(390, 800)
        assert opened.evaluate("document.documentElement.scrollWidth") == 390


def test_variants_can_be_chosen_and_bring_their_reference(copy: Path):
    page = build.write(copy, 1, ["srem.regions=0"]).read_text()
    assert [name.replace("<wbr>", "") for name in shown(page)] == ["reference", "srem.regions=0"]
    with pytest.raises(UserError, match=r"no variant 'srem\.region=0'; did you mean 'srem\.regions=0'"):
        build.write(copy, 1, ["srem.region=0"])


def test_what_has_no_checkpoint_is_said(copy: Path):
    cell = open_run(copy).chosen("hash.method=itq").cell
    shutil.rmtree(copy / FOLDER / cell)
    page = build.write(copy, 1).read_text()
    assert f"Not shown: no checkpoint of the end of cell {cell}" in page
    assert len(shown(page)) == len(EVERY) - 1
    with pytest.raises(UserError, match="no checkpoint"):
        build.write(copy, 1, ["hash.method=itq"])


def test_another_metric_than_the_stored_one_is_said(copy: Path, capsys: pytest.CaptureFixture[str]):
    cell = open_run(copy).chosen("srem.regions=0")
    record = results.read_cells(copy / "cells", [cell.cell])[cell.cell]
    results.write_cell(copy / "cells", record | {"map": cell.value + 1e-9})
    page = build.write(copy, 1, ["srem.regions=0"]).read_text()
    says = f"seed {cell.seed}: the mAP computed again is {cell.value!r}, its evaluation gave {cell.value + 1e-9!r}"
    assert says in page
    assert says in capsys.readouterr().err
    assert page.count("the same") == 1


def test_flags_of_the_gallery_need_it(copy: Path, capsys: pytest.CaptureFixture[str]):
    assert call(str(copy), "--images", "3") == 2
    assert capsys.readouterr().err == "error: --images is for --gallery\n"
    assert call(str(copy), "--gallery", "--seed", "9") == 2
    assert capsys.readouterr().err.count("\n") == 1
