"""A cell while a worker trains it: its task, its reports so far, and its checkpoints."""

import json
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from raysearch.engine.trials.device import device_name
from raysearch.engine.trials.mailbox import Begin, Reply
from raysearch.runs.cell_files import CellFiles
from raysearch.runs.checkpoint_writer import CheckpointWriter
from raysearch.runs.checkpoints import Checkpoints, decode_state
from raysearch.studies.analysis.devices import BETWEEN
from raysearch.studies.configs import replace_values
from raysearch.tasks.base import NonFiniteLoss, Worker
from raysearch.tasks.builders import BuildTask


class RunningCell:
    """A task, its reports so far, and its checkpoints, which rank 0 writes.

    Args:
        command: the cell to begin.
        build: makes the task.
        worker: the worker that it runs on.
    """

    def __init__(self, command: Begin, build: BuildTask, worker: Worker) -> None:
        self._worker = worker
        self._objective = command.objective
        self._checkpoints = Checkpoints(command.storage, command.cell) if command.storage else None
        self._writer = CheckpointWriter(self._checkpoints) if self._checkpoints and worker.rank == 0 else None
        self._history: list[dict[str, Any]] = []
        self._seconds = 0.0
        self._best: float | None = None
        state = self._read_state(command)
        self._files = CellFiles(command.storage, command.cell) if command.storage else None
        if self._files is not None:
            worker = replace(worker, out=self._files.directory)
            if state:
                self._files.restore()
        # The state holds what a population has changed so far; the command holds what it changes now.
        self._settings = {**(json.loads(state["settings"]) if state else {}), **command.settings}
        self._task = build(replace_values(command.config, self._settings), command.seed, worker)
        if state:
            self._task.load_state_dict(state["task"])
            # A user's function may have given no state with its last reports.
            self._history = json.loads(state["history"])[: getattr(self._task, "done", None)]
            self._seconds = state["seconds"]
            self._best = state["best"]
        # A cell that continues elsewhere may have been computed on several kinds of GPU. Earlier versions kept none.
        before = state.get("device") if state else None
        devices = {*(before.split(BETWEEN) if before else ()), device_name(worker.device)}
        self._device = BETWEEN.join(sorted(devices))

    def begun(self) -> Reply:
        """Return the reply to `Begin`: the number of steps, and the history of a cell that continues."""
        return Reply(
            {"steps": self._task.steps},
            history=self._history,
            spent=self._seconds,
            settings=self._settings,
            device=self._device,
        )

    def step(self) -> Reply:
        """Advance once and save a checkpoint; after the last step evaluate too.

        The checkpoint is written while the next step is trained. A failure of the store is raised there, or at the end.

        Raises:
            NonFiniteLoss: the loss became infinite or not a number.
            UserError: the store of the checkpoints fails.
        """
        started = time.perf_counter()
        if self._writer is not None:
            self._writer.check()
        if len(self._history) < self._task.steps:  # otherwise it was killed between the last step and its result
            advanced = self._task.advance()
            if advanced is None:  # it came to its end before
                return self._finish(self._history[-1] if self._history else {})
            report = advanced
            if not math.isfinite(report.get("loss", 0.0)):
                raise NonFiniteLoss(f"the loss became {report['loss']}")
            report |= self._settings  # learning curves of a population show the settings in force
            self._history.append(report)
            self._seconds += time.perf_counter() - started
            self._save(report)
        report = self._history[-1]
        if len(self._history) < self._task.steps:
            return Reply(report, device=self._device)
        return self._finish(report)

    def _finish(self, report: dict[str, Any]) -> Reply:
        """Evaluate the task, and return the last reply."""
        metrics = self._evaluate()
        self._save_files()
        self.flush()
        return Reply(report, metrics=metrics, metric_ids=self._task.metric_ids, device=self._device)

    def flush(self) -> None:
        """Return when the checkpoint of the last step is written.

        Raises:
            UserError: the store of the checkpoints fails.
        """
        if self._writer is not None:
            self._writer.wait()

    def close(self) -> None:
        """Write what is pending, when the cell does not go on here. A failure changes nothing then, and is logged."""
        if self._writer is None:
            return
        try:
            self._writer.close()
        except Exception as error:
            logging.getLogger(__name__).warning("the last checkpoint of an ended cell was not written: %s", error)

    def _evaluate(self) -> dict[str, Any]:
        """Return the task's metrics, with their steps if the task states any."""
        steps = getattr(self._task, "metric_steps", None)
        return self._task.evaluate() | ({"metric_steps": json.dumps(steps)} if steps else {})

    def _save_files(self) -> None:
        """Upload the files that the task keeps of its cell, on rank 0."""
        if self._files is not None and self._worker.rank == 0:
            self._files.save()

    def _save(self, report: Mapping[str, Any]) -> None:
        """Write a checkpoint after a step, on rank 0."""
        if self._writer is None:
            return
        self._save_files()  # first: a state must not name a file that is not there
        value = report.get(self._objective.metric) if self._objective else None
        is_best = value is not None and self._objective is not None and self._objective.is_better(value, self._best)
        self._best = value if is_best else self._best
        state = {
            "task": self._task.state_dict(),
            "history": json.dumps(self._history),
            "seconds": self._seconds,
            "best": self._best,
            "settings": json.dumps(self._settings),
            "device": self._device,
        }
        self._writer.save(state, is_best)

    def _read_state(self, command: Begin) -> dict[str, Any] | None:
        """Return the state to continue from. One rank reads, so that all continue from the same."""
        data = None
        if self._worker.rank == 0 and command.storage:
            if command.take_over:
                cell, name = command.take_over
                data = Checkpoints(command.storage, cell).read(name)
            elif self._checkpoints:
                data = self._checkpoints.read()
        return _share_state(data, self._worker)


def read_start(command: Begin, worker: Worker) -> dict[str, Any]:
    """Return the backbone that a pre-training left. One rank reads, so that all start from the same.

    Args:
        command: with `start` and `storage`.
        worker: the worker that reads.

    Raises:
        RuntimeError: the pre-training did not come to its end.
    """
    assert command.start is not None
    assert command.storage is not None
    data = Checkpoints(command.storage, command.start).read() if worker.rank == 0 else None
    state = _share_state(data, worker)
    backbone = state["task"]["trunk"] if state else None
    if backbone is None:
        raise RuntimeError(f"its pre-training, cell {command.start}, did not come to its end")
    return backbone


def _share_state(data: bytes | None, worker: Worker) -> dict[str, Any] | None:
    """Return on every rank the state that rank 0 has read; None if there is none."""
    if worker.world_size > 1:
        box = [data]
        torch.distributed.broadcast_object_list(box, src=0, device=worker.device)
        data = box[0]
    return decode_state(data, worker.device) if data else None
