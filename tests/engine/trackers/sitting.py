"""A study of three cells, whose steps are sent to trackers by a process that is killed and by one that goes on.

python -m tests.engine.trackers.sitting RUN TRACKER...      the first sitting, which ends by SIGKILL
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from raysearch.data import shards
from raysearch.engine.options import Run
from raysearch.engine.trackers import tracked
from raysearch.engine.trials.jobs import Job
from raysearch.runs import CellRecord, StudyRecord, VariantRecord, results
from raysearch.studies.configs import RetrievalConfig

STEPS = 4
SEEDS = (0, 1, 2)
VARIANTS = {"reference": 0.50, "srem.regions=9, other/level": 0.60}
METRIC_IDS = {"map": "map@all/expected-ties/test"}


def cell_of(variant: str, seed: int) -> str:
    return f"{list(VARIANTS).index(variant)}{seed}" + "ab" * 8


def report(seed: int, step: int) -> dict[str, Any]:
    return {"iteration": step, "phase": "train", "loss": 1.0 / step + seed, "seconds": 0.5}


def metric(variant: str, seed: int) -> float:
    return VARIANTS[variant] + 0.01 * seed + (0.001 * seed * seed if variant != "reference" else 0.0)


def record(variant: str, seed: int) -> dict[str, Any]:
    history = [report(seed, step) for step in range(1, STEPS + 1)]
    row = {"cell": cell_of(variant, seed), "seed": seed, "status": "finished", "error": None, "seconds": 2.0}
    row |= {"gpu_seconds": 0.0, "epochs": STEPS, "attempts": 1, "map": metric(variant, seed), "data": "d"}
    row |= {"metric_ids": json.dumps(METRIC_IDS), "history": json.dumps(history), "code_version": 1}
    return row | {"config": json.dumps({"task": "retrieval", "hash": {"bits": 12}}), "environment": "{}"}


def open_run(directory: Path) -> Run:
    study = StudyRecord(
        study="a study",
        kind="ablation",
        metric="map",
        mode="max",
        reference="reference",
        seeds=list(SEEDS),
        variants=[VariantRecord(name=variant) for variant in VARIANTS],
        cells=[
            CellRecord(cell=cell_of(variant, seed), variant=variant, seed=seed)
            for variant in VARIANTS
            for seed in SEEDS
        ],
    )
    return Run(directory, None, shards.NO_DATA, study)


def job_of(variant: str, seed: int) -> Job:
    config = RetrievalConfig.model_validate({"hash": {"bits": 12}}).model_dump(mode="json")
    return Job(cell_of(variant, seed), f"{variant} seed {seed}", config, seed, variant)


def first_sitting(run: Run, names: list[str]) -> None:
    """Send one whole cell and half of another, and die."""
    with tracked(run, names, Console()) as tracking:
        for variant, steps in zip(VARIANTS, (STEPS, 2), strict=True):
            for step in range(1, steps + 1):
                tracking.stepped(job_of(variant, 0), report(0, step), STEPS)
        write_and_end(run, tracking, "reference", 0)
        time.sleep(1.0)  # the queue is handed over
        os.kill(os.getpid(), signal.SIGKILL)


def second_sitting(run: Run, names: list[str], console: Console, patience: float = 120.0) -> None:
    """Go on from the checkpoint after the first step, end every cell, and judge the study."""
    with tracked(run, names, console, patience) as tracking:
        for variant in VARIANTS:
            for seed in SEEDS:
                if (variant, seed) == ("reference", 0):
                    continue
                for step in range(2 if seed == 0 else 1, STEPS):  # the last step comes with the end
                    tracking.stepped(job_of(variant, seed), report(seed, step), STEPS)
                write_and_end(run, tracking, variant, seed)


def write_and_end(run: Run, tracking: Any, variant: str, seed: int) -> None:
    row = record(variant, seed)
    results.write_cell(run.cells, row)
    tracking.ended(job_of(variant, seed), row)


if __name__ == "__main__":
    first_sitting(open_run(Path(sys.argv[1])), sys.argv[2:])
