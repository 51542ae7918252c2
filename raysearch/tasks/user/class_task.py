"""A user's class as a task. It has the methods of `Task`; here its mistakes get the line of the user's file."""

import contextlib
import random
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from raysearch.core import UserError, atomic
from raysearch.studies.configs.user import metric_names
from raysearch.tasks.base import Worker
from raysearch.tasks.user import explain_user_error, pack_state, pictures, plain_numbers, unpack_state

METHODS = ("advance", "evaluate", "state_dict", "load_state_dict")


class ClassTask:
    """A user's class in training. Implements `Task`.

    Args:
        build: the class, or a function `(config, seed, worker)` that returns an object with its methods.
        reference: its name in messages, such as `my_task.py:MyTask`.
        config: its settings.
        metrics: metrics that it has to return.
        seed: the seed of everything random. The generators of Python, NumPy and torch start from it.
        worker: the worker that it runs on.
        settings: dotted paths of its config, which cannot be names of metrics.

    Raises:
        UserError: a method or `steps` is missing, or `steps` is not a positive number.
        Exception: as the constructor raised it, with the line of the user's file in its message.
    """

    def __init__(
        self,
        build: Callable[[Any, int, Worker], Any],
        reference: str,
        config: Any,
        metrics: tuple[str, ...],
        seed: int,
        worker: Worker,
        settings: Collection[str] = (),
    ) -> None:
        self.reference = reference
        self.metric_ids: dict[str, str] = {}
        self._metrics = metrics
        self._rank = worker.rank
        self._out = worker.out
        self._settings = settings
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        with _explained():
            self._task = build(config, seed, worker)
        kind = type(self._task)
        missing = [name for name in (*METHODS, "steps") if not hasattr(kind, name) and not hasattr(self._task, name)]
        if missing:
            raise UserError(f"class '{reference}' has no {', '.join(missing)}; see docs/your_model.md for a task")
        self._steps = self.steps
        self.done = 0

    @property
    def steps(self) -> int:
        """Number of calls of `advance`.

        Raises:
            UserError: it is not a positive number.
        """
        with _explained():
            steps = self._task.steps
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise UserError(
                f"{self.reference}.steps is a number from 1, not {steps!r}; make it a property or attribute"
            )
        return steps

    @property
    def metric_steps(self) -> dict[str, float]:
        """Metric -> its smallest change, where the class says so."""
        return dict(getattr(self._task, "metric_steps", {}))

    def advance(self) -> dict[str, Any] | None:
        """Train one step, and return the numbers that describe it; None if training came to its end before.

        Raises:
            NonFiniteLoss: the class found that the loss is not finite.
            UserError: a value that is not a number.
            Exception: as the class raised it, with the line of the user's file in its message.
        """
        started = time.perf_counter()
        with _explained():
            report = self._task.advance()
        if report is None:
            return None
        self.done += 1
        measured = {"iteration": self.done, "phase": "train", "epochs": 1}
        if isinstance(report, Mapping):
            measured |= {name: report[name] for name in metric_names.STEP_NUMBERS if name in report}
            report = {name: value for name, value in report.items() if name not in metric_names.STEP_NUMBERS}
        numbers = plain_numbers(report, f"{self.reference}.advance")
        return {**measured, **numbers, "seconds": time.perf_counter() - started}

    def evaluate(self) -> dict[str, Any]:
        """Return the metrics; texts, such as JSON of a whole curve, are kept as they are.

        Raises:
            UserError: something else than numbers, a name that the results use, or the study's metric is missing.
            Exception: as the class raised it, with the line of the user's file in its message.
        """
        with _explained():
            value = self._task.evaluate()
        if value is None and self._rank != 0:
            value = {}
        where = f"{self.reference}.evaluate"
        texts = {name: text for name, text in value.items() if isinstance(text, str)} if isinstance(value, dict) else {}
        for name in texts:
            metric_names.check_name(name, where)
        numbers = {name: item for name, item in value.items() if name not in texts} if texts else value
        metrics = {**plain_numbers(numbers, where), **texts}
        metric_names.check_no_setting(metrics, self._settings, where)
        for name in self._metrics:
            if name not in metrics and self._rank == 0:
                raise UserError(
                    f"{where} returned no '{name}', the metric of the study; it returned "
                    f"{', '.join(metrics) or 'nothing'}"
                )
        given = getattr(self._task, "metric_ids", {})
        self.metric_ids = {name: f"{name}@{self.reference}" for name in metrics if name not in texts} | dict(given)
        self._save_pictures()
        return metrics

    def export(self, path: Path) -> None:
        """Let the class write its trained model to a file that does not exist.

        Raises:
            UserError: it wrote no file.
            Exception: as the class raised it, with the line of the user's file in its message.
        """
        with _explained():
            self._task.export(path)
        if not path.is_file():
            raise UserError(f"{self.reference}.export wrote no file at the path that it got")

    def _save_pictures(self) -> None:
        """Write the pictures of the trained network beside the files of its cell, on rank 0, where the class has any.

        Raises:
            UserError: something else than named pictures.
            Exception: as the class raised it, with the line of the user's file in its message.
        """
        if self._rank != 0 or self._out is None or not hasattr(self._task, "inspect"):
            return
        with _explained():
            encoded = pictures.encode_pictures(self._task.inspect(), f"{self.reference}.inspect")
        for name, data in encoded.items():
            atomic.write_bytes(self._out / name, data)

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of the state of the class, of types that a checkpoint can hold.

        Raises:
            UserError: a value that cannot be saved.
            Exception: as the class raised it, with the line of the user's file in its message.
        """
        with _explained():
            state = self._task.state_dict()
        return {"done": self.done, "state": pack_state(state, "state", f"{self.reference}.state_dict")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state.

        Raises:
            Exception: as the class raised it, with the line of the user's file in its message.
        """
        self.done = state["done"]
        with _explained():
            self._task.load_state_dict(unpack_state(state["state"]))


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Add the line of the user's file to an error."""
    try:
        yield
    except Exception as error:
        raise explain_user_error(error) from error
    except SystemExit as error:  # the class must not end the worker silently
        raise explain_user_error(error) from error
