"""An ended task frees its memory at once, without Python's collector of reference cycles, however it ended."""

import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from raysearch.models.fewshot import EpisodicNetwork
from raysearch.studies.configs import overrides
from raysearch.tasks.base import Worker
from raysearch.tasks.fewshot.task import FewshotTask
from raysearch.tasks.pretraining.task import Classifier, PretrainTask

from .fewshot_runs import FROZEN, METHODS, SGD, feed, make

pytestmark = [pytest.mark.usefixtures("tiny_taps"), pytest.mark.filterwarnings("ignore:.*classes have fewer")]

PRETRAIN = {"data.side": 16, "data.zoom": 1.0, "model.backbone": "small", "train.epochs": 2, "train.batch": 7}
CASES: dict[str, Callable[[], Any]] = {
    **{name: lambda method=method: make(method) for name, method in METHODS.items()},
    "frozen": lambda: make(METHODS["lwfm"], FROZEN, SGD),
    "nothing to learn": lambda: make(METHODS["centroid"], {"train.epochs": 0}),
    "pre-training": lambda: PretrainTask(overrides.resolve("pretrain", PRETRAIN), 0, Worker(feed(), Path())),  # type: ignore[arg-type]
}
FAILURES = {"an exception": ValueError("broken"), "out of memory": torch.OutOfMemoryError("CUDA out of memory.")}


@pytest.fixture(autouse=True)
def _uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def references(task: FewshotTask | PretrainTask) -> list[weakref.ref[Any]]:
    """Return references to the task and to what it holds: the network with its parameters, and the optimizer."""
    network = task.network if isinstance(task, FewshotTask) else task.classifier
    held = [task, network, next(network.parameters()), task.optimizer, task.loader]
    return [weakref.ref(item) for item in held if item is not None]


@pytest.mark.parametrize("case", CASES)
def test_a_task_that_came_to_its_end_is_freed(case: str) -> None:
    task = CASES[case]()
    for _ in range(task.steps):
        task.advance()
    task.state_dict()
    task.evaluate()
    held = references(task)
    del task
    assert [reference() for reference in held] == [None] * len(held)


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("case", [case for case in CASES if case != "nothing to learn"])
def test_a_task_that_failed_in_a_step_is_freed(case: str, failure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task = CASES[case]()
    task.advance()
    held = references(task)
    for network in (EpisodicNetwork, Classifier):  # the second one's backward never comes
        monkeypatch.setattr(network, "forward", fail_at_second_call(network.forward, FAILURES[failure]))
    with pytest.raises(type(FAILURES[failure]), match=str(FAILURES[failure])) as caught:
        task.advance()
    caught.value.__traceback__ = None  # holds the frames of the step
    del task, caught
    assert [reference() for reference in held] == [None] * len(held)


def fail_at_second_call(forward: Callable[..., Any], failure: Exception) -> Callable[..., Any]:
    calls: list[int] = []

    def failing(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise failure
        return forward(*arguments)

    return failing
