"""A simulated study on several data sets, which may kill its own process: arguments FOLDER NUMBER MOMENT.

The process gets SIGKILL at the cell with that number, counted from 0: "computing" it, or "writing" it, which is after
its file is complete and before the file has its name.
"""

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raysearch.core import atomic
from raysearch.studies.design import JoinedPlan, join_plans, plan_ablation
from tests.dashboards import several_sets_runs
from tests.engine.drivers import without_cluster

SETS = {"Birds": "b" * 64, "Planes": "p" * 64, "Food": "f" * 64}


def plan() -> JoinedPlan:
    """Return the plan: four methods at two code lengths, on three sets with three seeds."""
    study = several_sets_runs.ablation(seeds=3)
    return join_plans({name: plan_ablation("table", study, "laptop", data) for name, data in SETS.items()})


def score(config: Mapping[str, Any], seed: int) -> float:
    """Return the metric of a cell. The learning rate stands for the method."""
    return 0.5 + 20 * config["train"]["lr"] + config["hash"]["bits"] / 1000 + seed**2 * config["train"]["lr"] / 10


def _run(directory: Path, number: int, moment: str) -> None:
    rename = os.replace
    begun = 0

    def _die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def _score(config: Mapping[str, Any], seed: int) -> float:
        nonlocal begun
        begun += 1
        if begun > number and moment == "computing":
            _die()
        return score(config, seed)

    def _replace(source: Any, target: Any) -> None:
        if Path(target).parent.name == "cells" and begun > number:
            _die()
        rename(source, target)

    atomic.os.replace = _replace  # type: ignore[attr-defined, assignment]
    without_cluster.drive(plan(), directory, _score)


if __name__ == "__main__":
    _run(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
