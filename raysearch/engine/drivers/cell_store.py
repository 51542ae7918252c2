"""The results of a run while it goes on: each cell that ends is written, and cells that ended before are found."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from raysearch.core import UserError, environment
from raysearch.engine.options import Run
from raysearch.engine.trials.jobs import Job, Listener
from raysearch.runs import results
from raysearch.runs.checkpoints import Checkpoints
from raysearch.studies.analysis import devices
from raysearch.studies.configs import TASKS


class CellStore(Listener):
    """The cells of a run, on disk. It must be the first listener: what others read is then already written.

    Args:
        run: the run's directory, data and record.
        checkpoints: path or URI of the run's checkpoints.
        adopt: whether cells that runs beside this one have finished are taken over.
        further: directories of runs elsewhere whose cells are taken over too.
    """

    def __init__(self, run: Run, checkpoints: str, adopt: bool = True, further: Sequence[Path] = ()) -> None:
        self._run = run
        self._adopt = adopt
        self._further = further
        self._directory = run.directory.resolve()
        self._checkpoints = checkpoints
        self._opened = time.time()
        self._constant = {
            "environment": json.dumps({"versions": environment.versions(), "hardware": run.record.hardware}),
        }

    def ended(self, job: Job, record: dict[str, Any]) -> None:
        """Write the cell's file."""
        task = TASKS[job.config["task"]]
        # Settings that do not matter are left out, so that studies that share a cell agree on its config.
        config = json.dumps(task.config.model_validate(job.config).canonical())
        data = self._run.data_sets[job.data_set].manifest.content_hash
        columns = {"config": config, "code_version": task.version, "data": data, **self._constant}
        results.write_cell(self._run.cells, {**record, **columns})

    def find(self, cell: str, accept: Sequence[str]) -> dict[str, Any] | None:
        """Return the record of a cell that ended, in this run or in one beside it; None if it is to run.

        The file is looked for by name, since a store can be large.

        Args:
            cell: the cell's hash.
            accept: statuses that count as an end.
        """
        name = f"cells/{cell}.parquet"
        if not (self._directory / name).is_file():
            if not self._adopt or not self._is_elsewhere(name):
                return None
            self._run.note_adopted(results.adopt(self._directory, [cell], self._run.device, self._further))
        record = results.read_cells(self._directory / "cells", [cell]).get(cell)
        if record is None or devices.is_foreign(record, self._run.device):
            return None
        if record["status"] in accept and not results.failed_by_input(self._run.cells, record):
            return record
        # Retry failures from earlier runs. Accept failures that another driver recorded during this run.
        is_recent = (self._directory / name).stat().st_mtime >= self._opened
        return record if record["status"] == "failed" and is_recent else None

    def _is_elsewhere(self, name: str) -> bool:
        """Return whether another run has a file of that name."""
        beside = self._directory.parent.glob(f"*/{name}")
        return any(beside) or any((run / name).is_file() for run in self._further)

    def find_pre_training(self, cell: str) -> dict[str, Any] | None:
        """Return the record of a pre-training that finished and whose state is in this run's storage; else None.

        The state may be copied from a run beside this one. A failure that another driver recorded counts as an end.
        """
        record = self.find(cell, ("finished",))
        if record is None or record["status"] != "finished":
            return record
        runs = self._directory.parent if self._adopt else None
        adopted = Checkpoints(self._checkpoints, cell).adopt(runs, has_backbone, self._is_alike(cell))
        return record if adopted else None

    def _is_alike(self, cell: str) -> Callable[[Path], bool]:
        """Return whether a run has not computed a cell on another kind of device than this one."""

        def _check(run: Path) -> bool:
            try:
                record = results.read_cells(run / "cells", [cell]).get(cell)
            except UserError:  # a damaged file
                return False
            return record is None or not devices.is_foreign(record, self._run.device)

        return _check


def has_backbone(state: Mapping[str, Any]) -> bool:
    """Return whether a checkpoint is that of a pre-training that has come to its end."""
    return state["task"].get("trunk") is not None
