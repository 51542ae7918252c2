"""Studies whose cells are answered by a function, in this process and without Ray."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from raysearch.core import Interrupt
from raysearch.data import shards
from raysearch.engine.drivers import Driver, open_driver, session
from raysearch.engine.drivers.cell_store import CellStore
from raysearch.engine.drivers.explanation import request as explain_request
from raysearch.engine.drivers.sweep_request import SweepRequest
from raysearch.engine.options import Options, Run, RunContext
from raysearch.engine.trials.jobs import Job
from raysearch.runs import DataRecord, StudyRecord, Surroundings, describe, results
from raysearch.studies.design import Cell, JoinedPlan, Plan, Search, plan_search

Score = Callable[[Mapping[str, Any], int], float | None]  # config and seed -> metric; None: the cell fails


class AnsweringSession:
    """Stands in for `session.Session`: every cell that has not ended is answered at once.

    Args:
        context: of the run.
        score: the metric of a cell.
        most: number of cells after which the driver is stopped; None: never.
    """

    def __init__(self, context: RunContext, score: Score, most: int | None) -> None:
        self._context = context
        self._score = score
        self._most = most
        self._store = CellStore(context.run, context.checkpoints, context.options.adopt)
        self.storage = context.checkpoints
        self.ran: list[Job] = []

    def metric_ids(self, config: Any) -> dict[str, str]:
        return {"map": "map@test"}

    def can_run(self, cell: Cell) -> bool:
        return True

    def prepare(self, cells: Any, limit: float | None) -> bool:
        return True

    def execute(self, stage: session.Stage) -> bool:
        cells = self._context.run.cells
        while (job := stage.jobs.next()) is not None:
            record = self._store.find(job.cell, stage.accept)
            if record is None:
                if self._most is not None and len(self.ran) == self._most:
                    return False
                record = answer(job, self._score(job.config, job.seed))
                results.write_cell(cells, record)
                self.ran.append(job)
            for listener in stage.listeners:
                listener.ended(job, record)
        return True


def answer(job: Job, value: float | None) -> dict[str, Any]:
    """Return the record of a cell."""
    return {
        "cell": job.cell,
        "seed": job.seed,
        "status": "failed" if value is None else "finished",
        "error": "planted" if value is None else None,
        "config": json.dumps(job.config),
        "map": value,
        "map_validation": value,
        "epoch_seconds": 1.0,
        "seconds": 1.0,
        "gpu_seconds": 0.0,
        "epochs": 1,
        "history": json.dumps([{"iteration": 1, "map_validation": value}]),
        "metric_ids": json.dumps({"map": "map@test"}),
        "data": "data",
        "code_version": 1,
        "device": "cpu",
    }


def drive(
    plan: Plan, directory: Path, score: Score, most: int | None = None, options: Options | None = None
) -> tuple[bool, list[Job]]:
    """Run a planned study; return whether it is complete, and the cells that ran."""
    driver: Driver = open_driver(plan)
    record: StudyRecord = driver.describe(_surroundings(plan))
    context = RunContext(
        Run(directory, None, shards.NO_DATA, record), options or Options(), Console(quiet=True), Interrupt()
    )
    directory.mkdir(parents=True, exist_ok=True)
    answering = AnsweringSession(context, score, most)

    @contextlib.contextmanager
    def _open(*_: object) -> Iterator[AnsweringSession]:
        yield answering

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "open_session", _open)
        complete = driver.run(context)
    return complete, answering.ran


def _surroundings(plan: Plan) -> Surroundings:
    """Return the surroundings of a study, on each of its data sets if it has several."""
    if not isinstance(plan, JoinedPlan):
        return Surroundings(settings={})
    parts = {
        name: Surroundings(settings={}, data=DataRecord(name=name, content_hash=part.data))
        for name, part in plan.parts.items()
    }
    return describe.join_surroundings(parts, plan.data)


def run_search(directory: Path, search: Search, score: Score) -> None:
    """Run a search to its end."""
    complete, _ = drive(plan_search("search", search, "laptop", "data"), directory, score)
    assert complete


def explain(
    search_run: Path, score: Score, most: int | None = None, options: Options | None = None, **request: Any
) -> tuple[bool, list[Job]]:
    """Explain a search beside its run; return whether it is complete, and the cells that ran."""
    checked = explain_request.check(SweepRequest("", **request), str(search_run))
    assert checked.request.out is not None
    return drive(checked.plan.for_data("data"), Path(checked.request.out), score, most, options)
