"""Few-shot networks from checkpoints: they answer as their evaluation did, and what is shown is what it says it is."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from dashboards.gallery import build
from raysearch.inspection import fewshot
from raysearch.inspection.fewshot import Group
from raysearch.inspection.loading import open_run
from raysearch.runs import results
from raysearch.tasks.fewshot import evaluation
from raysearch.tasks.fewshot.task import FewshotTask

from ..browser import chromium, needs_chromium
from .fewshot_run import EPISODES


@pytest.fixture(scope="module")
def looked(fewshot_run: Path) -> tuple[list[Group], list[float]]:
    run = open_run(fewshot_run)
    cells = [run.chosen(variant.name) for variant in run.record.variants]
    try:
        return fewshot.look(run, cells, 6)
    finally:
        run.close()


@pytest.fixture(scope="module")
def groups(looked: tuple[list[Group], list[float]]) -> list[Group]:
    return looked[0]


def test_a_loaded_network_answers_every_episode_as_on_record(fewshot_run: Path) -> None:
    run, records = open_run(fewshot_run), set()
    for row in run.rows:
        task = run.task(run.chosen(row["variant"]))
        assert isinstance(task, FewshotTask)
        network, drawn = task.judged()
        test, loader = task.worker.feed.test, task.loader
        each = evaluation.accuracies(network, test, drawn, EPISODES, task.worker, loader)
        queries = task.config.episodes.queries * task.config.episodes.ways
        assert np.rint(each * queries).astype(int).tolist() == json.loads(row["right_by_episode"])
        assert evaluation.mean_and_half_width(each)[0] == row["accuracy"]
        records.add(row["right_by_episode"])
    assert len(records) == len(run.rows), "networks that answer alike prove little"


def test_the_accuracy_computed_again_is_the_stored_one_to_the_last_digit(
    fewshot_run: Path, looked: tuple[list[Group], list[float]]
) -> None:
    found, values = looked
    stored = {row["cell"]: row["accuracy"] for row in open_run(fewshot_run).rows}
    shown = [one for group in found for one in group.shown]
    assert sorted(values) == sorted(stored[one.cell.cell] for one in shown)
    assert all(one.changed == {} for one in shown)
    assert all(set(range(10)) <= set(one.answers) for one in shown)


def test_only_who_met_the_same_episodes_stands_side_by_side(groups: list[Group]) -> None:
    shots = [{answers.support.shape[1] for one in group.shown for answers in one.answers.values()} for group in groups]
    assert shots == [{1}, {2}]
    first = groups[0]
    assert len(first.shown) == 4
    for index in first.first:
        rows = [(one.answers[index].support.tolist(), one.answers[index].query.tolist()) for one in first.shown]
        assert all(both == rows[0] for both in rows)
    assert groups[1].differing == (), "their reference met other episodes"


def test_differing_episodes_are_the_extremes_of_the_record(groups: list[Group]) -> None:
    recorded = {one.cell.variant: one.recorded for one in groups[0].shown}
    reference = groups[0].shown[0].cell.variant
    assert groups[0].first == (0, 1)
    for variant, right in recorded.items():
        found = [one for one in groups[0].differing if one.variant == variant]
        deltas = [a - b for a, b in zip(right, recorded[reference], strict=True)]
        expected = [max(deltas)] * (max(deltas) > 0) + [min(deltas)] * (min(deltas) < 0)
        assert [one.delta for one in found] == (expected if variant != reference else [])
        assert [one.index for one in found] == [deltas.index(one.delta) for one in found]


def test_pairs_are_the_first_queries_with_their_class_and_their_rival(groups: list[Group]) -> None:
    for one in groups[0].shown:
        answers = one.answers[0]
        assert [pair.own for pair in one.pairs] == [True, False] * 2
        for at, pair in enumerate(one.pairs):
            way, other = at // 2, at // 2 if at % 2 == 0 else 1 - at // 2
            assert (pair.query == groups[0].pictures[int(answers.query[way, 0])]).all()
            assert (pair.support == groups[0].pictures[int(answers.support[other, 0])]).all()
            assert pair.score == pytest.approx(answers.scores[way, 0, other])
    drawn = [(bool(one.pairs[0].looks), one.pairs[0].matching is not None) for one in groups[0].shown]
    assert drawn == [(False, False), (True, False), (False, True), (True, True)]


def test_another_record_is_said(fewshot_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = shutil.copytree(fewshot_run, tmp_path / "runs" / "copy")
    cell = open_run(copy).chosen(open_run(copy).record.variants[1].name)
    record = results.read_cells(copy / "cells", [cell.cell])[cell.cell]
    right = json.loads(record["right_by_episode"])
    right[3] += -1 if right[3] else 1
    results.write_cell(copy / "cells", record | {"right_by_episode": json.dumps(right)})
    page = build.write(copy, 1, [cell.variant]).read_text()
    before = json.loads(record["right_by_episode"])[3]
    assert f"episode 3: {before} right here, {right[3]} on record" in page
    assert "computed again" in capsys.readouterr().err


@needs_chromium
def test_the_page_opens(fewshot_run: Path, tmp_path: Path) -> None:
    page = build.write(shutil.copytree(fewshot_run, tmp_path / "runs" / "copy"), 3)
    assert "Not as on record" not in page.read_text()
    assert torch.get_num_threads() == 1
    with chromium() as browser:
        opened = browser.open(page.as_uri(), width=390)
        assert list(opened.errors) == []
        assert list(opened.requests) == []
        assert opened.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0 && i.alt)")
        sections = opened.evaluate("[...document.querySelectorAll('main > section')].map(s => s.id)")
        assert set(sections) >= {"networks", "episodes", "differences", "cross-attention", "matches", "planes"}
        assert opened.evaluate("document.documentElement.scrollWidth") == 390
