"""Every image that a task takes was sent for, in the order of taking, and a stream gives what an array gives."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raysearch.data.feed import ImageSet
from raysearch.models.backbones import Backbone
from raysearch.studies.configs import PretrainRunConfig, overrides
from raysearch.tasks.base import Feed, Task, Worker
from raysearch.tasks.common import Prefetcher
from raysearch.tasks.fewshot.task import FewshotTask
from raysearch.tasks.pretraining.task import PretrainTask
from raysearch.tasks.retrieval.task import build

from ...registries import replace_backbone
from ..fewshot import fewshot_runs
from ..retrieval import small_runs
from ..retrieval.small_runs import PIXELS, WARM

pytestmark = pytest.mark.filterwarnings("ignore:.*classes have fewer")

RETRIEVAL: dict[str, dict[str, Any]] = {
    "plain": PIXELS,
    "after a warm-up": {**WARM, **PIXELS},
    "held out": {**PIXELS, "data.validation": 0.3, "train.select": "validation"},
    "no positives": {"esrl.positive": 0.0},
    "positives of the sample, fresh outputs": {"esrl.positives": "sample", "adsh.outputs": "fresh"},
    "separate mask pass": {"srem.mask_pass": "separate"},
    "pairs": {"hash.method": "dpsh", "data.validation": 0.3, "pairs.per_class": 2},
    "exchange": {"hash.method": "exchnet", "exchnet.align_after": 0.5, "model.standardise": True},
    "fitted": {"hash.method": "itq"},
    "frozen": small_runs.FROZEN,
}


def _use(monkeypatch: pytest.MonkeyPatch, trunk: Callable[..., Backbone]) -> None:
    replace_backbone(monkeypatch, "small", trunk)
    torch.set_num_threads(1)


class Sent:
    """Pixels that know what was sent for, and count what is taken without."""

    def __init__(self, pixels: np.ndarray) -> None:
        self._pixels = pixels
        self.shape = pixels.shape
        self._sent: list[list[int]] = []
        self.taken = 0
        self.unannounced = 0

    def prefetch(self, rows: np.ndarray) -> None:
        self._sent.append(rows.tolist())

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        requested = rows.tolist()
        self.taken += len(requested)
        fits = [sent for sent in self._sent if sent[: len(requested)] == requested]
        if fits:
            del fits[0][: len(requested)]
        else:
            self.unannounced += len(requested)
        return self._pixels[rows]

    def close(self) -> None: ...

    @property
    def left(self) -> int:
        return sum(map(len, self._sent))


def streamed(feed: Feed) -> tuple[Feed, list[Sent]]:
    sets = {name: images for name in ("train", "val", "test") if (images := getattr(feed, name)) is not None}
    sent = {name: Sent(images.pixels) for name, images in sets.items()}
    return replace(feed, **{name: replace(images, pixels=sent[name]) for name, images in sets.items()}), list(
        sent.values()
    )


def agree(build: Callable[[Feed], Task], feed: Feed) -> None:
    """Run on arrays, on a stream, and on a stream with another process taking over after the first step."""
    expected = fewshot_runs.finish(build(feed))
    images, sent = streamed(feed)
    task = build(images)
    assert fewshot_runs.finish(task) == expected
    assert [pixels.unannounced for pixels in sent] == [0] * len(sent)
    assert [pixels.left for pixels in sent] == [0] * len(sent)
    assert sum(pixels.taken for pixels in sent)
    if task.steps < 2:
        return
    begun = build(feed)
    (images, sent) = streamed(feed)
    begun.advance()
    later = build(images)
    later.load_state_dict(begun.state_dict())
    assert fewshot_runs.finish(later) == expected[1:]
    assert [pixels.unannounced for pixels in sent] == [0] * len(sent)


@pytest.mark.parametrize("name", RETRIEVAL)
def test_retrieval(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _use(monkeypatch, lambda name, weights: Backbone(small_runs.TwoTaps(), ("block1", "block2"), (6, 12)))
    config = small_runs.config(RETRIEVAL[name], {"train.iterations": 3})
    feed = Feed(small_runs.image_set([7, 5, 8]), small_runs.image_set([2, 2, 2], seed=1), "hash")
    folders = iter(tmp_path / str(number) for number in range(9))  # no run finds another's features
    agree(lambda images: build(config, 0, Worker(images, next(folders))), feed)


@pytest.mark.parametrize("change", [{}, fewshot_runs.FROZEN], ids=["pixels", "frozen"])
@pytest.mark.parametrize("method", ["centroid", "relation", "helixformer", "lwfm"])
def test_fewshot(method: str, change: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _use(monkeypatch, fewshot_runs.tiny_backbone)
    config = fewshot_runs.config(fewshot_runs.METHODS[method], change, {"train.epochs": 3})
    start = fewshot_runs.start() if config.pretrain.epochs else None
    folders = iter(tmp_path / str(number) for number in range(9))  # no run finds another's maps
    agree(lambda images: FewshotTask(config, 0, Worker(images, next(folders), start=start)), fewshot_runs.feed())


def test_pretraining(monkeypatch: pytest.MonkeyPatch) -> None:
    _use(monkeypatch, fewshot_runs.tiny_backbone)
    requested = {"data.side": fewshot_runs.SIDE, "model.backbone": "small", "train.epochs": 3, "train.batch": 4}
    config = overrides.resolve("pretrain", requested)
    assert isinstance(config, PretrainRunConfig)
    agree(lambda images: PretrainTask(config, 0, Worker(images, Path())), fewshot_runs.feed())


@pytest.mark.parametrize("rank", [0, 1])
def test_a_worker_sends_for_its_own_share(rank: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without other processes: sums and broadcasts stay this worker's own, which changes numbers, not rows."""
    _use(monkeypatch, lambda name, weights: Backbone(small_runs.TinyBody(), ("block",), (5,)))
    monkeypatch.setattr(Worker, "wrap", lambda self, model: model)
    monkeypatch.setattr(Worker, "sum", lambda self, tensor: tensor)
    monkeypatch.setattr(Worker, "broadcast", lambda self, tensor: tensor)
    images, sent = streamed(Feed(small_runs.image_set([7, 5, 8]), small_runs.image_set([2, 2, 2], seed=1), "hash"))
    small_runs.finish(build(small_runs.config(PIXELS), 0, Worker(images, tmp_path, rank=rank, world_size=2)))
    assert [pixels.unannounced for pixels in sent] == [0, 0]
    images, sent = streamed(fewshot_runs.feed())
    _use(monkeypatch, fewshot_runs.tiny_backbone)
    config = fewshot_runs.config(fewshot_runs.METHODS["lwfm"], {"train.episodes": 4, "lwfm.aux_batch": 6})
    fewshot_runs.finish(FewshotTask(config, 0, Worker(images, Path(), rank=rank, world_size=2)))
    assert [pixels.unannounced for pixels in sent] == [0, 0, 0]


def test_nothing_is_computed_ahead_for_resident_images() -> None:
    requested: list[int] = []
    images = ImageSet(np.zeros((4, 2, 2, 3), np.uint8), np.arange(4))

    def rows(step: int) -> list[torch.Tensor]:
        requested.append(step)
        return [torch.tensor([step])]

    Prefetcher(images, rows).request(0, 4)
    assert requested == []
    ahead = Prefetcher(ImageSet(Sent(np.zeros((4, 2, 2, 3), np.uint8)), np.arange(4)), rows)
    for step in (0, 1, 1, 3):
        ahead.request(step, 4)
    assert requested == [0, 1, 2, 3]
