"""A process that runs a user's function: `python -m tests.tasks.user_ranks_process RANK WORLD_SIZE FOLDER`."""

import json
import os
import sys
import time
from pathlib import Path

import torch

from raysearch.core import user_code
from raysearch.tasks.base import Worker
from raysearch.tasks.user import ranks
from raysearch.tasks.user.function_task import FunctionTask

from .worker_group import join_group

STEPS = 3


def trains(run):
    """Train a wrapped model on this rank's share; only rank 0 returns metrics and gives a state."""
    model = torch.nn.Linear(2, 1)
    if run.state:
        model.load_state_dict(run.state["model"])
    wrapped = run.wrap(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in run.steps(STEPS):
        inputs = torch.randn(4, 2, generator=torch.Generator().manual_seed(step))[run.rank :: run.world_size]
        loss = wrapped(inputs).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if run.rank == 0:
            run.report({"loss": loss, "rank": run.rank}, {"model": model.state_dict()})
        else:
            run.report({"other": 1})
    return {"score": model.weight.sum()} if run.rank == 0 else None


def ends_early(run):
    """Return on rank 1 while rank 0 waits for it."""
    for step in run.steps(STEPS):
        if run.rank == 1 and step == 1:
            return {"score": 1.0}
        torch.distributed.all_reduce(torch.zeros(1))
        run.report({"loss": 1.0})
    return {"score": 1.0}


def raises(run):
    """Raise on rank 1 while rank 0 waits for it."""
    for step in run.steps(STEPS):
        if run.rank == 1 and step == 1:
            raise ValueError("no such row")
        torch.distributed.all_reduce(torch.zeros(1))
        run.report({"loss": 1.0})
    return {"score": 1.0}


def counts_otherwise(run):
    """Have fewer steps on rank 1."""
    for _ in run.steps(STEPS - run.rank):
        run.report({"loss": 1.0})
    return {"score": 1.0}


def reports_once_more(run):
    """Return on rank 0 where rank 1 reports."""
    for step in run.steps(STEPS):
        if run.rank == 0 and step == 2:
            break
        run.report({"loss": 1.0})
    return {"score": 1.0}


def returns_a_text(run):
    """Return no number on rank 0."""
    return {"score": "high"}


FUNCTIONS = (trains, returns_a_text, counts_otherwise, reports_once_more)
STUCK = (raises, ends_early)  # each leaves a thread of rank 0 in a collective, and so has a group to itself


def main(rank: int, world_size: int, folder: Path) -> None:
    """Run functions, and write what came of each. The process ends at once: a thread may wait for ever."""
    ranks.PATIENCE_SECONDS = 1.0
    join_group(rank, world_size, folder)
    stuck = [function for function in STUCK if function.__name__ == folder.name]
    for function in stuck or (FUNCTIONS if world_size > 1 else [trains]):
        if function in STUCK and world_size == 1:
            break
        text = json.dumps(outcome(function, rank, world_size))
        (folder / f"{function.__name__}-{world_size}-{rank}").write_text(text)
    (folder / f"end-{world_size}-{rank}").touch()
    while len(list(folder.glob(f"end-{world_size}-*"))) < world_size:
        time.sleep(0.05)
    os._exit(0)


def outcome(function, rank, world_size):
    """Return the reports, metrics and state of a run, or its error."""
    code = user_code.code_of(function)
    user_code.set_loaded(code, function)
    worker = Worker(None, Path(), rank=rank, world_size=world_size)
    try:
        task = FunctionTask(code, {}, ("score",), 0.1, 0, worker)
        reports = []
        while task.done < task.steps:
            report = task.advance()
            if report is None:
                break
            times = ("seconds", "phase", "epochs")
            reports.append({name: value for name, value in report.items() if name not in times})
        metrics = task.evaluate()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return [reports, metrics]


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
