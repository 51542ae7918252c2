"""Compare cells that share the maps of a frozen backbone with cells that compute them anew.

    python benchmarks/frozen_maps.py [--quick]

The images are embedded. A cell is one of the laptop profile with one worker; building its task counts. Three ways:

- anew: validation maps are computed after each epoch, and nothing is read from files;
- first: maps are computed once by the cell, and written for others;
- next: maps are read from those files.

All ways have to give equal numbers. The last line is JSON: the ratios of seconds anew / first and anew / next, by
method.
"""

import itertools
import tempfile
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import measuring
import numpy as np
import torch
from script import make_parser, print_figures

from raysearch.data.feed import ImageSet
from raysearch.data.synthetic import SyntheticSpec, draw_images
from raysearch.studies.configs import TASKS, FewshotConfig, overrides
from raysearch.tasks.base import Feed, Worker
from raysearch.tasks.fewshot import evaluation
from raysearch.tasks.fewshot.task import FewshotTask

METHODS = ("centroid", "lwfm", "helixformer")
TIMES = ("seconds", "episodes_per_second", "feed_wait_share", "gpu_memory_bytes")


def draw_feed(config: FewshotConfig, classes: int, per_class: int) -> Feed:
    """Draw embedded images, and divide their classes into three parts."""
    spec = SyntheticSpec(classes=classes, train_per_class=per_class, test_per_class=2, side=config.data.side)
    _, labels, _, images = zip(*draw_images(spec), strict=True)
    every = ImageSet(np.stack(images), np.array(labels, dtype=np.int64))
    third = every.labels * 3 // classes
    train, val, test = (every.subset(third == part) for part in range(3))
    return Feed(train, test, "embedded", val, "thirds")


def run_cell(config: FewshotConfig, worker: Worker, keep: bool) -> list[dict[str, Any]]:
    """Run a cell; return its reports without their times, and its metrics.

    Args:
        config: the config of the cell.
        worker: whose cache holds the maps of other cells.
        keep: False computes validation maps after each epoch and reads no file.
    """
    limit = evaluation.FILE_LIMIT
    evaluation.FILE_LIMIT = limit if keep else 0
    try:
        task = FewshotTask(config, 0, worker)
        reports = []
        for _ in range(task.steps):
            reports.append(task.advance())
            if not keep:
                task._stores._kept.pop("val", None)
        reports.append(task.evaluate())
    finally:
        evaluation.FILE_LIMIT = limit
    return [{name: value for name, value in report.items() if name not in TIMES} for report in reports]


def time_method(method: str, quick: bool, turns: int, device: torch.device) -> dict[str, list[float]]:
    """Return seconds per turn for each way, after checking that the numbers are equal."""
    settings = {**TASKS["fewshot"].profiles["laptop"], "model.method": method}
    if method == "centroid":
        settings["centroid.distance"] = "cosine"  # with a scale to learn
    if quick:
        settings |= {"train.epochs": 2, "train.episodes": 4, "episodes.validation": 4, "episodes.test": 4}
    config = overrides.resolve("fewshot", settings)
    assert isinstance(config, FewshotConfig)
    feed = draw_feed(config, classes=18 if quick else 36, per_class=4 if quick else 40)
    with tempfile.TemporaryDirectory() as folder:
        fresh = (Path(folder) / f"first-{number}" for number in itertools.count())

        def _run(cache: Path, keep: bool) -> list[dict[str, Any]]:
            return run_cell(config, Worker(feed, cache, device), keep)

        calls = {
            "anew": partial(_run, Path(folder) / "unused", keep=False),
            "first": lambda: _run(next(fresh), keep=True),
            "next": partial(_run, Path(folder) / "shared", keep=True),
        }
        numbers = [call() for call in calls.values()]
        if device.type == "cpu" and any(other != numbers[0] for other in numbers[1:]):
            raise SystemExit(f"{method}: the numbers differ; compare MapStores with and without files")
        return measuring.alternate(calls, turns, device)


def main() -> None:
    """Run the benchmark."""
    parser = make_parser(__doc__, quick="few images and episodes")
    parser.add_argument("--threads", type=int, default=1, help=measuring.THREADS)
    parser.add_argument("--turns", type=int, default=3, help="turns of all ways")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(measuring.machine(device))
    figures: dict[str, Any] = {"device": device.type}
    for method in METHODS:
        seconds = time_method(method, arguments.quick, arguments.turns, device)
        for way in ("first", "next"):
            speedup = measuring.ratio(seconds["anew"], seconds[way])
            medians = f"{median(seconds['anew']):.2f} s / {median(seconds[way]):.2f} s"
            print(f"{method:12} anew / {way:5} {medians}   {speedup}", flush=True)
            figures[f"{method}_{way}_speed"] = speedup.median
    print_figures(figures)


if __name__ == "__main__":
    main()
