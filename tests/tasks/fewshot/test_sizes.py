"""On a GPU, sizes of the evaluation follow from its free memory; a stand-in for that memory decides them here."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor

from raysearch.models import fewshot_heads
from raysearch.models.helix import scores
from raysearch.tasks.common import Loader
from raysearch.tasks.fewshot import evaluation
from raysearch.tasks.fewshot.task import FewshotTask

from .fewshot_runs import METHODS, make

pytestmark = pytest.mark.usefixtures("tiny_taps")

HEADS = {"centroid": "CentroidHead", "relation": "RelationNet", "lwfm": "LwfmHead", "helix_lwfm": "HelixLwfmHead"}


def give(monkeypatch: pytest.MonkeyPatch, free: int | None) -> None:
    """Let each loader report that many free bytes."""
    monkeypatch.setattr(Loader, "free_memory", lambda self: free)


def correct(task: FewshotTask) -> Any:
    return json.loads(task.evaluate()["right_by_episode"])


def listen(monkeypatch: pytest.MonkeyPatch, owner: type, method: str, size: Callable[..., int]) -> list[int]:
    """Return the sizes of the calls of a method from now on."""
    seen: list[int] = []
    original = getattr(owner, method)

    def call(*given: Any) -> Any:
        seen.append(size(*given))
        return original(*given)

    monkeypatch.setattr(owner, method, call)
    return seen


def episodes(head: Any, support: list[Tensor], query: list[Tensor]) -> int:
    return len(support[0])


@pytest.mark.parametrize("method", HEADS)
def test_more_memory_means_more_episodes_at_once_and_the_same_answers(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make(METHODS[method], {"episodes.test": 40})
    task.advance()
    expected = correct(task)
    counts = {}
    for free in (None, 1, 1 << 34):
        give(monkeypatch, free)
        with monkeypatch.context() as patch:
            seen = listen(patch, getattr(fewshot_heads, HEADS[method]), "forward", episodes)
            assert correct(task) == expected
            counts[free] = max(seen)
    assert counts[1] == 1
    assert counts[1 << 34] == 40
    assert counts[None] == min(40, getattr(fewshot_heads, HEADS[method]).episodes_at_once)


def test_helixformer_compares_as_many_pairs_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    task = make(METHODS["helixformer"], {"episodes.test": 40})
    task.advance()
    expected = correct(task)
    assert task.network.head.pairs_at_once == 64
    calls: dict[int | None, int] = {}
    for free in (None, 1, 1 << 34):
        give(monkeypatch, free)
        with monkeypatch.context() as patch:
            count = listen(patch, scores.HelixFormer, "relate", lambda *given: 1)
            assert correct(task) == expected
            calls[free] = len(count)
        if free is not None:
            pairs = task.network.head.pairs_at_once
            assert pairs == evaluation._PAIRS[free > 1]
    assert calls[1] == calls[None] >= 44, "an episode at a time, of test and validation"
    assert calls[1 << 34] == 2


def test_a_wide_helixformer_needs_more_memory_per_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    free = 4 * 1024 * (96 * 4 * 24)
    pairs = []
    for width in (None, 24):
        task = make(METHODS["helixformer"], {"helix.width": width})
        evaluation.fit_head(task.network.head, task._val_episodes, values=96, free=free)
        pairs.append(task.network.head.pairs_at_once)
    assert task.network.backbone.channels == 6
    assert pairs == [1024, 256]


def test_images_go_through_the_backbone_in_batches_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    task = make(METHODS["lwfm"])
    images = task.worker.feed.test
    counts = {}
    for free in (None, 64 * evaluation._BYTES_PER_PIXEL * 16 * 16, 1 << 40):
        give(monkeypatch, free)
        with monkeypatch.context() as patch:
            patch.setattr(evaluation, "_IMAGES", (4, 1024))
            patch.setattr(evaluation, "BATCH", 8)
            seen = listen(patch, Loader, "take", lambda loader, taken, rows: len(rows))
            evaluation.MapStore(task.network, images, task.loader, "auto", budget=1 << 30)
            counts[free] = seen
    assert list(counts.values()) == [[2, 8, 8], [2, 16], [2, 16]]


def test_the_maps_that_stay_take_a_quarter_of_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    task = make(METHODS["lwfm"])
    bytes_per_image = 4 * (4 + 6) * 2 * 2
    for free, fits in ((4 * 16 * bytes_per_image, True), (4 * 15 * bytes_per_image, False)):
        give(monkeypatch, free)
        store = evaluation.MapStore(task.network, task.worker.feed.test, task.loader, "auto")
        assert store.images_at_once == free // 4 // bytes_per_image
        assert store.complete == fits
