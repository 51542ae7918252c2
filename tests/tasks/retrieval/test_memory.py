"""The memory of a task is free as soon as the task has ended, without a run of the garbage collector."""

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from raysearch.models.backbones import Backbone
from raysearch.tasks.base import Feed, Worker
from raysearch.tasks.retrieval.task import RetrievalTask, build
from raysearch.tasks.retrieval.views import CachedViews, PixelViews

from ...registries import replace_backbone
from . import small_runs
from .small_runs import FROZEN, PIXELS, WARM

CASES: dict[str, dict[str, Any]] = {
    "fcaenet": PIXELS,
    "after a warm-up": {**WARM, **PIXELS},
    "frozen": FROZEN,
    "held out": {**PIXELS, "data.validation": 0.3, "train.select": "validation"},
    "adsh": {"esrl.positive": 0.0, "esrl.erased": 0.0},
    "dpsh": {"hash.method": "dpsh"},
    "dsh": {"hash.method": "dsh"},
    "hashnet": {"hash.method": "hashnet"},
    "exchnet": {"hash.method": "exchnet", "exchnet.align_after": 0.5, "model.standardise": True},
    "lsh": {"hash.method": "lsh"},
    "sh": {"hash.method": "sh"},
    "itq": {"hash.method": "itq"},
    "sdh": {"hash.method": "sdh"},
}


@pytest.fixture(autouse=True)
def without_collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    replace_backbone(
        monkeypatch, "small", lambda name, weights: Backbone(small_runs.TwoTaps(), ("block1", "block2"), (6, 12))
    )
    torch.set_num_threads(1)
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def make(name: str, cache: Path) -> Any:
    feed = Feed(small_runs.image_set([7, 5, 8]), small_runs.image_set([2, 2, 2], seed=1), "hash")
    return build(small_runs.config(CASES[name]), 0, Worker(feed, cache))


def parts(task: Any) -> list[weakref.ref[Any]]:
    """The task and the parts of it that hold memory of a GPU."""
    names = ("network", "optimizer", "method", "encoder", "loader")
    return [weakref.ref(part) for part in (task, *(getattr(task, name, None) for name in names)) if part is not None]


@pytest.mark.parametrize("name", CASES)
def test_an_ended_task_is_dead(name: str, tmp_path: Path) -> None:
    task = make(name, tmp_path)
    for _ in range(task.steps):
        task.advance()
    task.state_dict()
    task.evaluate()
    references = parts(task)
    del task
    assert [reference() for reference in references] == [None] * len(references)


def fail(task: Any) -> None:
    """Advance a task that fails, and forget the error."""
    with pytest.raises(torch.OutOfMemoryError):
        small_runs.finish(task)


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("lsh", "sh", "itq", "sdh")])
@pytest.mark.parametrize("step", [0, 3])
def test_a_task_is_dead_after_an_error_in_a_step(
    name: str, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in (PixelViews, CachedViews):
        original = kind.forward
        calls = iter(range(100))

        def forward(self: Any, batch: Any, *inputs: Any, original: Any = original, calls: Any = calls) -> Any:
            outputs = original(self, batch, *inputs)
            if next(calls) == step:
                raise torch.OutOfMemoryError("CUDA out of memory. A stand-in.")
            return outputs

        monkeypatch.setattr(kind, "forward", forward)
    task = make(name, tmp_path)
    assert isinstance(task, RetrievalTask)
    references = parts(task)
    fail(task)
    del task
    assert [reference() for reference in references] == [None] * len(references)
