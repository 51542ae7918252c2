"""Measure the cost of a cell for the driver: 500 no-op cells and 10,000, through plan, engine and results store.

    python benchmarks/sweep_scale.py [--quick]

Each size runs in a driver of its own, which plans a study of variants and five seeds, runs its cells by the engine with
checkpoints, and stores them. The script measures the driver's own CPU seconds and the growth of its resident memory
while the cells run, each divided by the number of cells. Then it starts `python -m raysearch.sweep` again on the
finished cells of the larger study, and measures the seconds until the report is written. The last line is JSON: the
ratios of the larger study's figures per cell to the smaller's, the seconds of the restart, and their sources.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar

import psutil
from script import HIDDEN, make_parser, print_figures, run_again

SEEDS = 5
REGIONS = 20  # levels of this factor; the learning rate has as many as the size needs

STUDY = """
from raysearch.studies.space import Ablation, factor
study = Ablation(
    question="What does a cell cost the driver?",
    task="retrieval",
    reference={{"srem.regions": 0, "train.lr": 1.0}},
    factors=[factor("srem.regions", *range({regions})), factor("train.lr", *[1 / (1 + n) for n in range({rates})])],
    design="full",
    seeds={seeds},
)
"""


class NoOp:
    """A task of one step that computes nothing and has metrics."""

    steps = 1
    metric_ids: ClassVar = {"map": "none"}

    def __init__(self, config: Any, seed: int, worker: Any) -> None:
        self.seed = seed

    def advance(self) -> dict[str, Any]:
        """Return the report of the only step."""
        return {"iteration": 1, "loss": 0.0, "epochs": 1, "seconds": 0.0, "map_validation": 0.5}

    def evaluate(self) -> dict[str, float]:
        """Return a metric that depends on the seed."""
        return {"map": 0.5 + 0.001 * self.seed}

    def state_dict(self) -> dict[str, Any]:
        """Return an empty state."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Ignore the state."""


def drive(folder: Path, cells: int) -> None:
    """Run a study of about `cells` cells, and print its figures as JSON; runs in a driver of its own."""
    import ray
    from rich.console import Console

    from raysearch.data import shards, synthetic
    from raysearch.engine.cluster import capacity, connection
    from raysearch.engine.drivers import session
    from raysearch.engine.monitoring import counters, terminal
    from raysearch.engine.trials import jobs, tuner
    from raysearch.runs import results
    from raysearch.storage import cache_dir
    from raysearch.studies import configs, design

    study = folder / "study.py"
    study.write_text(STUDY.format(regions=REGIONS, rates=max(1, cells // SEEDS // REGIONS), seeds=SEEDS))
    name, ablation = design.load_study(str(study))
    manifest = shards.read_manifest(synthetic.ensure_shards(synthetic.SyntheticSpec(), cache_dir()))
    planned = design.plan_ablation(name, ablation, "laptop", manifest.content_hash)  # type: ignore[arg-type]
    run = folder / "run"
    code_version = configs.TASKS["retrieval"].version
    constant = {"data": manifest.content_hash, "code_version": code_version, "environment": "{}"}
    configs_json = {cell.hash: json.dumps(cell.variant.config.canonical()) for cell in planned.cells}

    class _Store(jobs.Listener):
        def ended(self, job: jobs.Job, record: dict[str, Any]) -> None:
            assert record["status"] == "finished", record["error"]
            results.write_cell(run / "cells", {**record, "config": configs_json[job.cell], **constant})

    ray.cloudpickle.register_pickle_by_value(sys.modules[NoOp.__module__])
    with connection.connected(None), open(os.devnull, "w") as nowhere:
        slots = capacity.Slots(capacity.TrialResources())
        counter = counters.ProgressCounter(len(planned.cells), 0, slots)
        view = terminal.TerminalView(counter, lambda: "", Console(file=nowhere))
        # The first cells bear costs that arise once, such as starting worker groups and loading modules.
        first = planned.cells[:20]
        rest = planned.cells[20:]
        policy = tuner.CheckpointPolicy(str(folder / "checkpoints"))
        listener = jobs.ListenerList(_Store(), counter, view)
        resources = tuner.Capacity(slots)
        tuner.run_trials(jobs.FixedJobs(map(session.make_job, first)), NoOp, None, resources, listener, policy)
        before = _used()
        started = time.perf_counter()
        source = jobs.FixedJobs(map(session.make_job, rest))
        complete = tuner.run_trials(source, NoOp, None, resources, listener, policy)
        after = _used()
        wall = time.perf_counter() - started
    if not complete:
        raise SystemExit("the run stopped before its last cell, so there is no figure; run the benchmark again")
    figures = {
        "cells": len(planned.cells),
        "cpu_seconds_a_cell": (after[0] - before[0]) / len(rest),
        "bytes_a_cell": (after[1] - before[1]) / len(rest),
        "wall_seconds_a_cell": wall / len(rest),
    }
    print_figures(figures)


def _used() -> tuple[float, int]:
    """Return the CPU seconds and the resident bytes of this process."""
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return spent.ru_utime + spent.ru_stime, psutil.Process().memory_info().rss


def measure(folder: Path, cells: int) -> dict[str, float]:
    """Run the driver of a study in a process of its own, and return its figures; exit if it fails."""
    folder.mkdir()
    return run_again(__file__, ["--drive", str(folder), "--cells", str(cells)], f"the driver of {cells} cells")


def restart_seconds(folder: Path) -> float:
    """Return the seconds of the sweep command on a run whose cells are all finished."""
    command = [sys.executable, "-m", "raysearch.sweep", str(folder / "study.py"), "--profile", "laptop"]
    started = time.perf_counter()
    done = subprocess.run([*command, "--out", str(folder / "run")], capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode != 0 or "nothing to run" not in done.stdout:
        raise SystemExit(f"restarting the finished study failed:\n{done.stdout}\n{done.stderr}")
    return seconds


def main() -> None:
    """Run the benchmark."""
    parser = make_parser(__doc__, quick="200 and 1,000 cells")
    parser.add_argument("--drive", type=Path, help=HIDDEN)
    parser.add_argument("--cells", type=int, help=HIDDEN)
    arguments = parser.parse_args()
    if arguments.drive:
        drive(arguments.drive, arguments.cells)
        return
    sizes = (200, 1000) if arguments.quick else (500, 10_000)
    with tempfile.TemporaryDirectory(prefix="raysearch-scale-") as scratch:
        few, many = (measure(Path(scratch) / str(size), size) for size in sizes)
        for figures in (few, many):
            print(
                f"{figures['cells']:6} cells   driver {1000 * figures['cpu_seconds_a_cell']:6.2f} CPU ms per cell   "
                f"{figures['bytes_a_cell'] / 1024:6.1f} KiB   {1000 * figures['wall_seconds_a_cell']:6.1f} ms wall",
                flush=True,
            )
        seconds = restart_seconds(Path(scratch) / str(sizes[1]))
        print(f"restart on {many['cells']} finished cells: {seconds:.1f} s")
    ratios = {
        "seconds_ratio": many["cpu_seconds_a_cell"] / few["cpu_seconds_a_cell"],
        "memory_ratio": many["bytes_a_cell"] / few["bytes_a_cell"],
        "wall_ratio": many["wall_seconds_a_cell"] / few["wall_seconds_a_cell"],
        "again_seconds": seconds,
    }
    print_figures({**ratios, "few": few, "many": many})


if __name__ == "__main__":
    main()
