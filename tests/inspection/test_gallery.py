"""A gallery from checkpoints to the page, as `python -m raysearch.report RUN --gallery` makes it."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from dashboards.gallery import build
from raysearch import report
from raysearch.core import UserError, cli
from raysearch.inspection.finished_run import open_run
from raysearch.runs import results
from raysearch.runs.checkpoints import FOLDER

from ..browser import chromium, needs_chromium
from ..study_json import read_study_json, write_study_json
from .conftest import EVERY, Trained


@pytest.fixture
def copy(trained: Trained, tmp_path: Path) -> Path:
    return shutil.copytree(trained.directory, tmp_path / "runs" / "copy")


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_info:
        cli.run(report.app, list(arguments))
    assert isinstance(exit_info.value.code, int)
    return exit_info.value.code


def shown_variants(page: str) -> Sequence[str]:
    """Return the variants in the table of networks."""
    return re.findall(r'<th scope="row">([^<]*(?:<wbr>[^<]*)*)</th>', page)


@needs_chromium
def test_the_command_writes_a_page_that_opens(copy: Path, capsys: pytest.CaptureFixture[str]):
    assert call(str(copy), "--gallery", "--images", "2") == 0
    captured = capsys.readouterr()
    assert str(copy / "gallery.html") in captured.out
    assert captured.err == ""
    page = (copy / "gallery.html").read_text()
    assert [name.replace("<wbr>", "") for name in shown_variants(page)] == EVERY
    assert page.count(">equal<") == len(EVERY)
    assert 'href="gallery.html"' in (copy / "report.html").read_text()
    with chromium() as browser:
        opened = browser.open((copy / "gallery.html").as_uri())
        assert list(opened.errors) == []
        assert list(opened.requests) == []
        assert opened.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0 && i.alt)")
        # 10 images for each of 2 queries under each variant
        assert opened.evaluate("document.querySelectorAll('#queries .found li').length") == 2 * 10 * len(EVERY)
        opened.resize(390, 800)
        assert opened.evaluate("document.documentElement.scrollWidth") == 390


def test_requested_variants_are_shown_with_their_reference(copy: Path):
    page = build.write_gallery(copy, 1, ["srem.regions=0"]).read_text()
    assert [name.replace("<wbr>", "") for name in shown_variants(page)] == ["reference", "srem.regions=0"]
    with pytest.raises(UserError, match=r"no variant 'srem\.region=0'; did you mean 'srem\.regions=0'"):
        build.write_gallery(copy, 1, ["srem.region=0"])


def test_a_missing_checkpoint_is_reported(copy: Path):
    cell = open_run(copy).choose_cell("hash.method=itq").cell
    shutil.rmtree(copy / FOLDER / cell)
    page = build.write_gallery(copy, 1).read_text()
    assert f"Not shown: no final checkpoint of cell {cell}" in page
    assert len(shown_variants(page)) == len(EVERY) - 1
    with pytest.raises(UserError, match="no final checkpoint"):
        build.write_gallery(copy, 1, ["hash.method=itq"])


def test_a_metric_that_differs_from_the_stored_one_is_reported(copy: Path, capsys: pytest.CaptureFixture[str]):
    cell = open_run(copy).choose_cell("srem.regions=0")
    record = results.read_cells(copy / "cells", [cell.cell])[cell.cell]
    results.write_cell(copy / "cells", record | {"map": cell.value + 1e-9})
    page = build.write_gallery(copy, 1, ["srem.regions=0"]).read_text()
    message = f"seed {cell.seed}: the recomputed mAP is {cell.value!r}, the stored one is {cell.value + 1e-9!r}"
    assert message in page
    assert message in capsys.readouterr().err
    assert page.count(">equal<") == 1


def test_gallery_flags_need_the_gallery(copy: Path, capsys: pytest.CaptureFixture[str]):
    assert call(str(copy), "--images", "3") == 2
    assert capsys.readouterr().err == "error: --images is for --gallery\n"
    assert call(str(copy), "--gallery", "--seed", "9") == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("task", ["pretrain", "hostile", "hostile:run"])
def test_a_task_without_a_gallery_is_refused_and_never_imported(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
):
    """A run directory may come from anyone: the task that it names is looked up, and is never a module to import."""
    (tmp_path / "hostile.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    monkeypatch.syspath_prepend(str(tmp_path))
    write_study_json(copy, read_study_json(copy) | {"task": task})
    with pytest.raises(UserError, match=rf"unknown gallery for the task '{task}'; known: fewshot, retrieval") as raised:
        build.write_gallery(copy, 1)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "executed").exists()
