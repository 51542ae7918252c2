"""Compare a local sweep with a shell script of `raysearch.train` processes, on the same cells of the embedded data set.

    python benchmarks/against_a_script.py [--quick] [--cells 4 8] [--turns 2]

The script runs as many processes at a time as there are cores, as `xargs -P` does. The cells are four numbers of
erased regions times seeds, in the laptop profile. Both sides start cold, in turns: new processes, no Ray, and a cache
with nothing but the drawn data set. The sweep also writes checkpoints and its report. Both must reach the same mAP in
every cell, or the script fails.

"First step" is the time until the first checkpoint of a cell: a step is trained and written. "Trained" is the share of
the cores' time in which cells were built, trained and evaluated; the rest is starting, waiting and ending. The last
line is JSON: the ratio script / sweep of the median seconds for each number of cells, then the figures behind it.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from script import make_parser, print_figures

from raysearch.core import count_cpus
from raysearch.data import synthetic
from raysearch.runs import results
from raysearch.studies.configs import TASKS, flatten
from raysearch.studies.design import AblationPlan, Cell, PlanRequest, load_study, plan_study

STUDY = "srem_ablation"
REGIONS = (0, 10, 50, 100)  # of the study; 50 is its reference
SIZE = 32  # pixels of a side of 224, as in the study
SIZES = (4, 8, 16, 40)
_OPENED = "images: "  # the last line of `raysearch.train` before it builds its model
_SAME = 1e-12

CellName = tuple[str, int]  # variant and seed


@dataclass(frozen=True)
class Side:
    """What one side took.

    Attributes:
        seconds: from the command to its end.
        trained: share of the cores' time in which cells were built, trained and evaluated.
        metrics: variant and seed -> mAP.
        first_step: seconds until the first checkpoint; None where there are none.
    """

    seconds: float
    trained: float
    metrics: dict[CellName, float]
    first_step: float | None = None


def plan_cells(count: int) -> list[Cell]:
    """Return `count` cells of the study, which is a multiple of the number of variants, as the sweep plans them."""
    if count % len(REGIONS):
        raise SystemExit(f"--cells {count}: use multiples of {len(REGIONS)}, the number of variants")
    name, study = load_study(STUDY)
    only = {"srem.regions": REGIONS, "srem.size": [SIZE]}
    plan = plan_study(study, PlanRequest(name, "laptop", seeds=count // len(REGIONS), only=only))
    assert isinstance(plan, AblationPlan)
    return list(plan.cells)


def draw_embedded(cache: Path) -> Path:
    """Draw the images that both sides train on without `--data` into a cache, and return their directory."""
    return Path(synthetic.ensure_shards(synthetic.SyntheticSpec(**TASKS["retrieval"].embedded), cache))


def train_words(cell: Cell) -> list[str]:
    """Return the arguments by which `raysearch.train` trains a cell. A config has sizes in its own pixels."""
    config = flatten(cell.variant.config.model_dump())
    settings = [f"{path}={config[path]}" for path in ("hash.bits", "srem.regions", "srem.size")]
    return ["retrieval", "--seed", str(cell.seed), *(word for setting in settings for word in ("--set", setting))]


def cold_environment(folder: Path, data: Path) -> dict[str, str]:
    """Return the environment of a side, whose cache holds the drawn data set alone.

    Args:
        folder: of this side.
        data: directory of the drawn data set, in a cache.
    """
    cache = folder / "cache"
    shutil.copytree(data, cache / data.name)
    shown = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "RAYSEARCH_CACHE")}
    return shown | {"RAYSEARCH_CACHE": str(cache), "PYTHONUNBUFFERED": "1"}


def check_drawn(environment: Mapping[str, str], data: Path) -> None:
    """Fail if a side drew images of its own, which takes time and is not what a repeated run does.

    Args:
        environment: of the side, after it has ended.
        data: directory of the drawn data set that the side was given.
    """
    drawn = {path.name for path in Path(environment["RAYSEARCH_CACHE"]).glob("synthetic-*")}
    if drawn != {data.name}:
        raise SystemExit(f"the side used {sorted(drawn)}, not the images {data.name} that were drawn for it")


def run_sweep(cells: Sequence[Cell], folder: Path, data: Path) -> Side:
    """Run the cells by one sweep.

    Args:
        cells: to run.
        folder: an empty one.
        data: directory of the drawn data set.
    """
    run = folder / "run"
    words = [STUDY, "--seeds", str(len(cells) // len(REGIONS)), "--out", str(run)]
    words += ["--only", f"srem.regions={','.join(map(str, REGIONS))}", "--only", f"srem.size={SIZE}"]
    environment = cold_environment(folder, data)
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "raysearch.sweep", *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    first: list[float] = []
    watcher = threading.Thread(target=_watch, args=(run / "checkpoints", process, started, first))
    watcher.start()
    output, _ = process.communicate()
    seconds = time.perf_counter() - started
    watcher.join()
    if process.returncode:
        raise SystemExit(f"the sweep failed:\n{output}")
    check_drawn(environment, data)
    rows = results.load(run).to_pylist()
    metrics = {(row["variant"], row["seed"]): row["map"] for row in rows}
    trained = sum(row["seconds"] for row in rows)
    return Side(seconds, trained / (seconds * count_cpus()), metrics, first[0] if first else None)


def run_script(cells: Sequence[Cell], folder: Path, data: Path) -> Side:
    """Run each cell by a process of `raysearch.train`; as many at a time as there are cores.

    Args:
        cells: to run.
        folder: an empty one.
        data: directory of the drawn data set.
    """
    environment = cold_environment(folder, data)

    def _train(cell: Cell) -> tuple[float, float]:
        process = subprocess.Popen(
            [sys.executable, "-m", "raysearch.train", *train_words(cell)],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        opened = 0.0
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith(_OPENED):
                opened = time.perf_counter()
        ended = time.perf_counter()
        if process.wait():
            raise SystemExit(f"raysearch.train failed:\n{''.join(lines)}")
        return json.loads(lines[-1])["map"], ended - opened

    started = time.perf_counter()
    with ThreadPoolExecutor(count_cpus()) as pool:
        outcomes = list(pool.map(_train, cells))
    seconds = time.perf_counter() - started
    check_drawn(environment, data)
    names = [(cell.variant.name, cell.seed) for cell in cells]
    metrics = {name: metric for name, (metric, _) in zip(names, outcomes, strict=True)}
    return Side(seconds, sum(trained for _, trained in outcomes) / (seconds * count_cpus()), metrics)


def compare(count: int, turns: int, data: Path, folder: Path) -> tuple[list[Side], list[Side]]:
    """Return the turns of the sweep and of the script.

    Args:
        count: number of cells.
        turns: of each side.
        data: directory of the drawn data set.
        folder: for temporary files.
    """
    cells = plan_cells(count)
    sweeps: list[Side] = []
    scripts: list[Side] = []
    for turn in range(turns):
        for side, sides, run in (("sweep", sweeps, run_sweep), ("script", scripts, run_script)):
            place = folder / f"{side}-{count}-{turn}"
            place.mkdir()
            sides.append(run(cells, place, data))
            shutil.rmtree(place)
        _check_same(sweeps[-1].metrics, scripts[-1].metrics)
    return sweeps, scripts


def main() -> None:
    """Run the benchmark."""
    arguments = _parse()
    console = Console()
    table = Table("cells", "sweep", "script", "script / sweep", "first step", "trained by sweep", "by script")
    figures: dict[str, object] = {}
    details = []
    with tempfile.TemporaryDirectory(prefix="raysearch-benchmark-") as name:
        folder = Path(name)
        data = draw_embedded(folder / "drawn")
        for count in arguments.cells:
            sweeps, scripts = compare(count, arguments.turns, data, folder)
            sweep_seconds = statistics.median(side.seconds for side in sweeps)
            script_seconds = statistics.median(side.seconds for side in scripts)
            first_step = min(side.first_step for side in sweeps if side.first_step is not None)
            by_sweep = statistics.median(side.trained for side in sweeps)
            by_script = statistics.median(side.trained for side in scripts)
            figures[f"cells_{count}"] = script_seconds / sweep_seconds
            table.add_row(
                str(count),
                f"{sweep_seconds:.1f} s",
                f"{script_seconds:.1f} s",
                f"{script_seconds / sweep_seconds:.2f}",
                f"{first_step:.1f} s",
                f"{by_sweep:.0%}",
                f"{by_script:.0%}",
            )
            for side, sides in (("sweep", sweeps), ("script", scripts)):
                details += [_plain(side, count, outcome) for outcome in sides]
    console.print(table)
    print_figures({**figures, "cores": count_cpus(), "turns": details})


def _parse() -> argparse.Namespace:
    parser = make_parser(__doc__, quick="four cells")
    parser.add_argument("--cells", type=int, nargs="+", help="numbers of cells; multiples of four")
    parser.add_argument("--turns", type=int, default=1, help="turns of each side and number of cells")
    arguments = parser.parse_args()
    if arguments.cells is None:
        arguments.cells = SIZES[:1] if arguments.quick else SIZES
    return arguments


def _plain(side: str, count: int, outcome: Side) -> dict[str, object]:
    figures = asdict(outcome)
    del figures["metrics"]
    return {"side": side, "cells": count, **figures}


def _watch(checkpoints: Path, process: subprocess.Popen[str], started: float, first: list[float]) -> None:
    """Note when the first checkpoint is there."""
    while process.poll() is None:
        if any(checkpoints.glob("*/*.pt")):
            first.append(time.perf_counter() - started)
            return
        time.sleep(0.1)


def _check_same(sweep: dict[CellName, float], script: dict[CellName, float]) -> None:
    """Fail if the sides did not compute the same numbers."""
    if sweep.keys() != script.keys():
        raise SystemExit(f"the sides ran other cells: {sorted(sweep.keys() ^ script.keys())}")
    different = [cell for cell in sweep if abs(sweep[cell] - script[cell]) > _SAME]
    if different:
        raise SystemExit(f"the sides have another mAP in {different}")


if __name__ == "__main__":
    main()
