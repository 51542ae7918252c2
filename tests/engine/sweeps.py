"""Whole sweeps of a small data set, started as a user does, and their results."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import psutil
import torch

from raysearch.data import feed
from raysearch.runs import results
from raysearch.studies.configs import RetrievalConfig
from raysearch.tasks.base import Feed, Worker
from raysearch.tasks.retrieval.task import RetrievalTask

STUDY = """
from raysearch.studies.space import Ablation, factor
study = Ablation(
    question="Does erasing help?",
    task="retrieval",
    base={{"hash.bits": 12, "train.iterations": {iterations}, "train.epochs": 4, "train.batch": 8, "data.side": 32}},
    reference={{"srem.regions": 5}},
    factors=[factor("srem.regions", {regions})],
    seeds={seeds},
)
"""
TIMES = ("seconds", "images_per_second", "feed_wait_share")


def prepare(folder: Path, data: Path, iterations: int, variants: int, seeds: int) -> None:
    """Write a study of `variants` times `seeds` cells, and link the data beside it."""
    regions = ", ".join(str(10 + regions) for regions in range(variants - 1))
    (folder / "study.py").write_text(STUDY.format(iterations=iterations, regions=regions, seeds=seeds))
    (folder / "data").symlink_to(data)


class Sweeps:
    """Drivers of the study in a folder. Use as a context: none outlives it.

    Args:
        folder: with the study and its data.
        address: of a cluster; None lets each driver start a Ray of its own.
    """

    def __init__(self, folder: Path, address: str | None = None) -> None:
        self._folder = folder
        self._address = address
        self._started: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            if process.poll() is None:
                kill(process)

    def start(self, out: str, *words: str) -> subprocess.Popen[str]:
        """Start or continue the study. Each run has a folder of its own: in one folder they would share their cells."""
        command = [sys.executable, "-m", "raysearch.sweep", str(self._folder / "study.py"), "--profile", "laptop"]
        command += ["--data", str(self._folder / "data"), "--out", str(self._folder / out / "run"), *words]
        command += ["--address", self._address] if self._address else []
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
            start_new_session=True,
        )
        self._started.append(process)
        return process


def finish(process: subprocess.Popen[str], seconds: float = 300.0) -> str:
    output, _ = process.communicate(timeout=seconds)
    assert process.returncode == 0, output
    return output


def kill(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Kill a driver; return the processes that it had started."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate(timeout=30)
    return children


def ended(folder: Path, out: str) -> dict[str, int]:
    """Return the cells that have ended, and when their files were last changed."""
    return {path.stem: path.stat().st_mtime_ns for path in (folder / out / "run" / "cells").glob("*.parquet")}


def rows(folder: Path, out: str) -> list[dict[str, Any]]:
    """Return the results, a row per cell, in the order of their hashes."""
    return sorted(results.load(folder / out / "run").to_pylist(), key=lambda row: row["cell"])


def numbers(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a history without what was measured by a clock."""
    return [{name: value for name, value in step.items() if name not in TIMES} for step in history]


def undisturbed(data: Path, row: dict[str, Any]) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Train a cell of the results again without Ray; return its metrics and reports."""
    torch.set_num_threads(1)
    config = RetrievalConfig.model_validate(json.loads(row["config"]))
    sets = feed.decode_dataset(data, config.data.side, config.data.zoom)
    task = RetrievalTask(config, row["seed"], Worker(Feed(**sets, content_hash=row["data"]), data.parent / "cache"))
    steps = [task.advance() for _ in range(task.steps)]
    return task.evaluate(), steps
