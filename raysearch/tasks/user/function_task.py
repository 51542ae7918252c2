"""A user's function as a task: each `run.report` of `train(run)` is a step, and what it returns are the metrics.

The engine advances a task step by step. So the function runs in a thread, and is held at each report until the next
step is asked for.
"""

import random
import time
import weakref
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter

from raysearch.core import UserError, user_code
from raysearch.data.feed import ImageSet
from raysearch.studies.configs.paths import flatten_values
from raysearch.studies.configs.user import metric_names
from raysearch.tasks.base import Feed, Task, Worker
from raysearch.tasks.common import hold_out
from raysearch.tasks.user import (
    class_task,
    explain_user_error,
    held_thread,
    pack_state,
    plain_numbers,
    ranks,
    unpack_state,
)


@dataclass(frozen=True)
class RunImages:
    """The images of `--data`: `images.train`, `images.validation` and `images.test`.

    Each has `labels` (n,), `images` (n, side, side, 3) as bytes, and `batch(rows, device)`, which returns normalized
    floats (B, 3, side, side).
    """

    train: ImageSet
    validation: ImageSet
    test: ImageSet


class Run:
    """What a user's function gets: the config and the seed of a cell, its state so far, and where to report.

    Attributes:
        config: the settings, as a dict, or as the dataclass or pydantic model of the study.
        seed: the seed of everything random. The generators of Python, NumPy and torch start from it.
        device: the device to train on.
        rank: number of this worker, from 0.
        world_size: number of workers that share the cell.
        state: what was given to `report` last, after a kill or on another machine; None at the start.
        images: the images of `--data`; None where none are given.
    """

    def __init__(self, task: "FunctionTask", images: RunImages | None, state: Any) -> None:
        worker = task.worker
        self.config = task.config
        self.seed = task.seed
        self.device = worker.device
        self.rank = worker.rank
        self.world_size = worker.world_size
        self.state = state
        self.images = images
        self.wrap = worker.wrap
        self._out = worker.out
        self._done = task.done
        self._steps: int | None = None
        self._thread: held_thread.HeldThread | None = None

    @property
    def out(self) -> Path:
        """A directory for files to keep of this cell; it is made at the first use.

        Raises:
            UserError: nothing keeps the files of this run.
        """
        if self._out is None:
            raise UserError("run.out: nothing keeps the files of this run")
        self._out.mkdir(parents=True, exist_ok=True)
        return self._out

    def steps(self, count: int) -> range:
        """Return the steps to run, from the one where the state ends; each of them ends with a `report`.

        Args:
            count: steps of the whole run.

        Raises:
            UserError: no positive number, or a second call.
        """
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise UserError(f"run.steps takes a number of steps from 1, not {count!r}")
        if self._steps is not None:
            raise UserError("run.steps is called twice; call it once, with all steps of the run")
        assert self._thread is not None
        self._steps = count
        self._thread.hold(held_thread.Started(count))
        return range(min(self._done, count), count)

    def report(self, metrics: Mapping[str, Any], state: Any = None) -> None:
        """End a step, and wait until the next one is to run.

        Args:
            metrics: name -> number, such as a loss, or an accuracy on the validation part.
            state: what a later process needs to continue: tensors, arrays, numbers, texts, bytes, and dicts or lists of
                them. None: a run that is killed continues from the last state that was given.

        Raises:
            UserError: a value that is no number, a state that cannot be saved, or a report that is no step.
        """
        if self._steps is None:
            raise UserError("run.report is called before run.steps; loop by `for step in run.steps(10):`")
        if self._done >= self._steps:
            raise UserError(f"run.report is called more often than the {self._steps} steps of run.steps")
        assert self._thread is not None
        reported = held_thread.Reported(
            plain_numbers(metrics, "run.report"), None if state is None else pack_state(state)
        )
        self._done += 1
        self._thread.hold(reported)


class FunctionTask:
    """A user's function in training. Implements `Task`.

    Args:
        code: the function.
        config: its settings.
        metrics: metrics that it has to return or report.
        validation: share of train that is held out where there is no validation part.
        seed: the seed of everything random.
        worker: the worker that it runs on.
        settings: dotted paths of its config, which cannot be names of metrics.
    """

    def __init__(
        self,
        code: user_code.UserCode,
        config: Any,
        metrics: tuple[str, ...],
        validation: float,
        seed: int,
        worker: Worker,
        settings: Collection[str] = (),
    ) -> None:
        self.config = config
        self.seed = seed
        self.worker = worker
        self.done = 0
        self.metric_ids: dict[str, str] = {}
        self._code = code
        self._function = user_code.load(code)
        self._metrics = metrics
        self._settings = settings
        self._images = _open_images(worker.feed, validation)
        self._saved: dict[str, Any] = {"done": 0, "state": None, "last": {}}
        self._last: dict[str, Any] = {}
        self._count: int | None = None
        self._returned: held_thread.Returned | None = None
        self._thread: held_thread.HeldThread | None = None
        self._ranks = ranks.Ranks(worker, code.reference) if worker.world_size > 1 else None

    @property
    def steps(self) -> int:
        """Number of steps. The function runs until it knows them."""
        if self._count is None:
            self._begin()
        assert self._count is not None
        return self._count

    def advance(self) -> dict[str, Any] | None:
        """Let the function run to its next report, and return that; None if it returned before.

        Raises:
            NonFiniteLoss: the reported loss is not finite.
            UserError: the function uses `run` in another way than its methods say.
            Exception: as the function raised it, with the line of the user's file in its message.
        """
        started = time.perf_counter()
        if self.steps == 1 and self._returned is not None:
            report: dict[str, Any] = {}
        else:
            event = self._next_event()
            if not isinstance(event, held_thread.Reported):
                self._count = self.done
                return None
            report = event.report
            if event.state is not None:
                self._saved = {"done": self.done + 1, "state": event.state, "last": report}
        self.done += 1
        self._last = report
        measured = {"iteration": self.done, "phase": "train", "epochs": 1}
        return {**measured, **report, "seconds": time.perf_counter() - started}

    def evaluate(self) -> dict[str, Any]:
        """Let the function return, and return its metrics, with the last report's values of names that it left out.

        Raises:
            UserError: it returns something else than numbers, a name that the results use, or no metric of the study.
            Exception: as `advance`.
        """
        assert self.steps >= 0
        while self._returned is None:
            self._next_event()
        value = {} if self._returned.value is None else self._returned.value
        returned = plain_numbers(value, self._code.reference)
        metric_names.check_no_setting(returned, self._settings, self._code.reference)
        # The last learning rate of a schedule, for example, is no metric and must not hide the level of a factor.
        reported = {name: number for name, number in self._last.items() if name not in self._settings}
        metrics = {**reported, **returned}
        for name in self._metrics:
            if name not in metrics:
                raise UserError(
                    f"{self._code.reference} returned no '{name}', the metric of the study; it returned "
                    f"{', '.join(metrics) or 'nothing'}"
                )
        self.metric_ids = {name: f"{name}@{self._code.reference}" for name in metrics}
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Return the last state that the function gave, with its report and the number of steps before it."""
        return dict(self._saved)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state; the function starts with it."""
        self._last = dict(state.get("last", {}))  # earlier versions kept none
        self._saved = {"done": state["done"], "state": state["state"], "last": self._last}
        self.done = state["done"]

    def _begin(self) -> None:
        """Start the function, and let it run until it knows its steps or returns."""
        run = Run(self, self._images, unpack_state(self._saved["state"]))
        function = self._function
        seed = self.seed

        def _call() -> Any:
            random.seed(seed)
            np.random.seed(seed % 2**32)
            torch.manual_seed(seed)
            return function(run)

        self._thread = run._thread = held_thread.HeldThread(_call, self.worker.device)
        weakref.finalize(self, self._thread.end)  # a cell that is given up leaves no thread behind
        event = self._next_event()
        self._count = event.steps if isinstance(event, held_thread.Started) else 1

    def _next_event(self) -> held_thread.Started | held_thread.Reported | held_thread.Returned:
        assert self._thread is not None
        if self._ranks is None:
            event = self._thread.next_event()
        else:
            event = self._thread.next_event(self._ranks.look)
            if isinstance(event, held_thread.Raised):
                event = held_thread.Raised(explain_user_error(event.error))
            event = self._ranks.agree(event, self.done, self._count or 1)
        if isinstance(event, held_thread.Raised):
            raise event.error if self._ranks else explain_user_error(event.error) from event.error
        if isinstance(event, held_thread.Returned):
            self._returned = event
        return event


def build_from_plain(
    code: user_code.UserCode,
    typed_code: user_code.UserCode | None,
    metrics: tuple[str, ...],
    plain: Mapping[str, Any],
    seed: int,
    worker: Worker,
) -> Task:
    """Return the task of a user's function or class.

    Args:
        code: the function or class.
        typed_code: the dataclass or pydantic model of the settings; None for a dict.
        metrics: metrics that it has to return.
        plain: the config as plain values.
        seed: the seed of everything random.
        worker: the worker that it runs on.

    Raises:
        UserError: code that does not run here.
    """
    settings = {name: value for name, value in plain.items() if name not in ("task", "data")}
    config = settings if typed_code is None else TypeAdapter(user_code.load(typed_code)).validate_python(settings)
    item = user_code.load(code)
    paths = frozenset(flatten_values(settings))
    if isinstance(item, type):
        return class_task.ClassTask(item, code.reference, config, metrics, seed, worker, paths)
    return FunctionTask(code, config, metrics, plain["data"]["validation"], seed, worker, paths)


def _open_images(feed: Feed | None, validation: float) -> RunImages | None:
    """Return the images of a run; a part of train is held out where the data has no validation part."""
    if feed is None:
        return None
    if feed.val is not None:
        return RunImages(feed.train, feed.val, feed.test)
    train, held_out = hold_out(feed.train, validation)
    return RunImages(train, held_out, feed.test)
