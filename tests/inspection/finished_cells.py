"""Cells as a sweep leaves them, trained in this process: a checkpoint and a record in the run directory."""

import json
from pathlib import Path
from typing import Any

from raysearch.engine.trials.mailbox import Begin
from raysearch.engine.trials.running_cell import RunningCell
from raysearch.runs import results
from raysearch.runs.checkpoints import FOLDER
from raysearch.studies.configs import TASKS
from raysearch.studies.design import Cell
from raysearch.tasks import registry
from raysearch.tasks.base import Worker


def train_cell(cell: Cell, worker: Worker, directory: Path) -> Any:
    """Train a cell to its end, write its record, and return its task."""
    config = cell.variant.config
    begin = Begin(cell.hash, config.model_dump(mode="json"), cell.seed, str(directory / FOLDER))
    running = RunningCell(begin, registry.build_from_plain, worker)
    steps = [running.step() for _ in range(running._task.steps)]
    record = {"seed": cell.seed, "cell": cell.hash, "status": "finished", "error": None, "config": "{}"}
    record |= {"code_version": TASKS[config.task].version, "history": json.dumps([step.report for step in steps])}
    results.write_cell(directory / "cells", record | (steps[-1].metrics or {}))
    return running._task
