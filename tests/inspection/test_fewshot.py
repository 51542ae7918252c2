"""Few-shot networks from checkpoints predict as in their evaluation, and shown episodes and pairs are as described."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from dashboards.gallery import build
from raysearch.inspection import fewshot
from raysearch.inspection.fewshot import EpisodeGroup
from raysearch.inspection.finished_run import open_run
from raysearch.runs import results
from raysearch.tasks.fewshot import evaluation
from raysearch.tasks.fewshot.task import FewshotTask

from ..browser import chromium, needs_chromium
from .fewshot_run import EPISODES


@pytest.fixture(scope="module")
def inspected(fewshot_run: Path) -> tuple[list[EpisodeGroup], list[float]]:
    run = open_run(fewshot_run)
    cells = [run.choose_cell(variant.name) for variant in run.record.variants]
    try:
        return fewshot.inspect_cells(run, cells, 6)
    finally:
        run.close()


@pytest.fixture(scope="module")
def groups(inspected: tuple[list[EpisodeGroup], list[float]]) -> list[EpisodeGroup]:
    return inspected[0]


def test_a_loaded_network_reproduces_every_recorded_episode(fewshot_run: Path) -> None:
    run = open_run(fewshot_run)
    records = set()
    for row in run.rows:
        task = run.task(run.choose_cell(row["variant"]))
        assert isinstance(task, FewshotTask)
        network, episodes = task.judged()
        test = task.worker.feed.test
        accuracies = evaluation.accuracies(network, test, episodes, EPISODES, task.worker, task.loader)
        queries = task.config.episodes.queries * task.config.episodes.ways
        assert np.rint(accuracies * queries).astype(int).tolist() == json.loads(row["right_by_episode"])
        assert evaluation.mean_and_half_width(accuracies)[0] == row["accuracy"]
        records.add(row["right_by_episode"])
    assert len(records) == len(run.rows), "the test needs networks with different predictions"


def test_the_recomputed_accuracy_equals_the_stored_one_exactly(
    fewshot_run: Path, inspected: tuple[list[EpisodeGroup], list[float]]
) -> None:
    groups, values = inspected
    stored = {row["cell"]: row["accuracy"] for row in open_run(fewshot_run).rows}
    cells = [cell for group in groups for cell in group.cells]
    assert sorted(values) == sorted(stored[cell.cell.cell] for cell in cells)
    assert all(cell.changed == {} for cell in cells)
    assert all(set(range(10)) <= set(cell.predictions) for cell in cells)


def test_only_variants_with_the_same_episodes_are_grouped(groups: list[EpisodeGroup]) -> None:
    shots = [
        {episode.support.shape[1] for cell in group.cells for episode in cell.predictions.values()} for group in groups
    ]
    assert shots == [{1}, {2}]
    first = groups[0]
    assert len(first.cells) == 4
    for index in first.first:
        episodes = [cell.predictions[index] for cell in first.cells]
        rows = [(episode.support.tolist(), episode.query.tolist()) for episode in episodes]
        assert all(pair == rows[0] for pair in rows)
    assert groups[1].differing == (), "their reference met other episodes"


def test_differing_episodes_are_the_extremes_of_the_record(groups: list[EpisodeGroup]) -> None:
    recorded = {cell.cell.variant: cell.recorded for cell in groups[0].cells}
    reference = groups[0].cells[0].cell.variant
    assert groups[0].first == (0, 1)
    for variant, correct in recorded.items():
        differing = [episode for episode in groups[0].differing if episode.variant == variant]
        deltas = [a - b for a, b in zip(correct, recorded[reference], strict=True)]
        expected = [max(deltas)] * (max(deltas) > 0) + [min(deltas)] * (min(deltas) < 0)
        assert [episode.delta for episode in differing] == (expected if variant != reference else [])
        assert [episode.index for episode in differing] == [deltas.index(episode.delta) for episode in differing]


def test_pairs_are_the_first_queries_with_their_class_and_their_rival(groups: list[EpisodeGroup]) -> None:
    for cell in groups[0].cells:
        episode = cell.predictions[0]
        assert [pair.same_class for pair in cell.pairs] == [True, False] * 2
        for index, pair in enumerate(cell.pairs):
            way = index // 2
            support_way = way if index % 2 == 0 else 1 - way
            assert (pair.query == groups[0].pictures[int(episode.query[way, 0])]).all()
            assert (pair.support == groups[0].pictures[int(episode.support[support_way, 0])]).all()
            assert pair.score == pytest.approx(episode.scores[way, 0, support_way])
    pairs = [cell.pairs[0] for cell in groups[0].cells]
    drawn = [(bool(pair.attention), pair.matching is not None) for pair in pairs]
    assert drawn == [(False, False), (True, False), (False, True), (True, True)]


def test_a_changed_record_is_reported(fewshot_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = shutil.copytree(fewshot_run, tmp_path / "runs" / "copy")
    cell = open_run(copy).choose_cell(open_run(copy).record.variants[1].name)
    record = results.read_cells(copy / "cells", [cell.cell])[cell.cell]
    altered = json.loads(record["right_by_episode"])
    altered[3] += -1 if altered[3] else 1
    results.write_cell(copy / "cells", record | {"right_by_episode": json.dumps(altered)})
    page = build.write_gallery(copy, 1, [cell.variant]).read_text()
    before = json.loads(record["right_by_episode"])[3]
    assert f"episode 3: {before} correct now, {altered[3]} on record" in page
    assert "recomputed" in capsys.readouterr().err


@needs_chromium
def test_the_page_opens(fewshot_run: Path, tmp_path: Path) -> None:
    page = build.write_gallery(shutil.copytree(fewshot_run, tmp_path / "runs" / "copy"), 3)
    assert "Differs from the record" not in page.read_text()
    assert torch.get_num_threads() == 1
    with chromium() as browser:
        opened = browser.open(page.as_uri(), width=390)
        assert list(opened.errors) == []
        assert list(opened.requests) == []
        assert opened.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0 && i.alt)")
        sections = opened.evaluate("[...document.querySelectorAll('main > section')].map(s => s.id)")
        assert set(sections) >= {"networks", "episodes", "differences", "cross-attention", "matches", "planes"}
        assert opened.evaluate("document.documentElement.scrollWidth") == 390
