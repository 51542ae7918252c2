"""Adaptive studies in a real Ray: a driver that is killed at a look, and two drivers of one study."""

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from ray.cluster_utils import Cluster

from raysearch.core import UserError
from raysearch.runs import results
from raysearch.studies.statistics import adaptive

from .. import sweeps

SECONDS = 900.0  # far more than a run takes
LOOKS = (3, 5, 8)
EFFECTS = {4: 0.0, 2: -0.3, 8: 0.001, 16: 0.02}  # width -> difference from the reference, whose width is 4
STUDY = """
import random
import time
from pathlib import Path

from raysearch import Ablation, Adaptive, factor

EFFECTS = {effects}


def fit(run):
    width = run.config["width"]
    with Path("{log}").open("a") as log:
        log.write(f"{{width}} {{run.seed}}\\n")
    time.sleep({pause})
    return {{"accuracy": 0.5 + EFFECTS[width] + random.Random(f"{{width}} {{run.seed}}").gauss(0, 0.01)}}


study = Ablation(
    "Does width matter?", fit, {{"width": 4}}, [factor("width", 2, 8, 16)], metric="accuracy", seeds=Adaptive({looks})
)
"""


class Study:
    """A study in a folder, its drivers, and what becomes of it.

    Args:
        folder: of the study and its run.
        address: of the cluster.
        pause: seconds that a cell takes.
    """

    def __init__(self, folder: Path, address: str, pause: float) -> None:
        self.folder = folder
        self.run = folder / "runs" / "run"
        self.log = folder / "log"
        self._address = address
        self.started: list[subprocess.Popen[str]] = []
        text = STUDY.format(effects=EFFECTS, log=self.log, pause=pause, looks=LOOKS)
        (folder / "my_study.py").write_text(text)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start or continue the study."""
        command = [sys.executable, "-m", "raysearch.sweep", str(self.folder / "my_study.py"), "--out", str(self.run)]
        environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        process = subprocess.Popen(
            [*command, "--address", self._address, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        self.started.append(process)
        return process

    def verdicts(self) -> dict[str, dict[str, Any]]:
        """Return the row of each variant, by the cells on disk."""
        return judge(results.load(self.run))

    def wait_for_look(self, process: subprocess.Popen[str], look: int) -> None:
        """Wait until a look has been judged."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()[0]
            try:
                if max(row["look"] for row in self.verdicts().values()) >= look:
                    return
            except (UserError, ValueError):  # no run yet, or no result
                pass
            time.sleep(0.5)
        raise AssertionError(f"look {look} was not judged in time")

    def ended(self) -> dict[str, int]:
        """Return the files of the cells that have ended, and when they were last changed."""
        return {path.name: path.stat().st_mtime_ns for path in (self.run / "cells").glob("*.parquet")}

    def begun(self) -> Counter[tuple[int, int]]:
        """Return how often each cell was begun, by width and seed."""
        lines = (line.split() for line in self.log.read_text().splitlines())
        return Counter((int(width), int(seed)) for width, seed in lines)


def judge(table: pa.Table) -> dict[str, dict[str, Any]]:
    rows = adaptive(table, "accuracy", "reference", LOOKS, comparisons=len(EFFECTS) - 1).to_pylist()
    return {row["variant"]: row for row in rows}


def undisturbed() -> dict[str, dict[str, Any]]:
    """Return the verdicts of all cells up to the last look; later cells of a decided variant change nothing."""
    cells = [
        {
            "variant": "reference" if width == 4 else f"width={width}",
            "seed": seed,
            "status": "finished",
            "accuracy": 0.5 + effect + random.Random(f"{width} {seed}").gauss(0, 0.01),
        }
        for seed in range(LOOKS[-1])
        for width, effect in EFFECTS.items()
    ]
    return judge(pa.Table.from_pylist(cells))


def check(study: Study) -> None:
    """Check that the run came to the verdicts of an undisturbed one, and began no cell that was not needed."""
    expected = undisturbed()
    assert expected["width=2"]["verdict"] == "worse"
    assert expected["width=8"]["verdict"] == "undecided"
    for name, row in study.verdicts().items():
        for column in ("look", "verdict", "seeds"):
            assert row[column] == expected[name][column], (name, column)
        assert row["p"] == (None if row["p"] is None else pytest.approx(expected[name]["p"]))
    record = results.read_study(study.run)
    ended = results.load(study.run).to_pylist()
    assert {cell.cell for cell in record.cells} == {row["cell"] for row in ended}
    assert record.looks == list(LOOKS)
    seeds = {seed for width, seed in study.begun() if width == 2}
    assert seeds == set(range(expected["width=2"]["seeds"])), "a cell of a decided variant was begun"


@pytest.fixture(scope="module")
def address(cluster: Cluster) -> Iterator[str]:
    """Two CPUs on a cluster that outlives the drivers."""
    node = cluster.add_node(num_cpus=2, include_dashboard=False)
    yield cluster.address
    cluster.remove_node(node)


@pytest.fixture
def study(tmp_path: Path, address: str) -> Iterator[Study]:
    here = Study(tmp_path, address, 0.3)
    yield here
    for process in here.started:
        if process.poll() is None:
            process.kill()
            process.communicate(timeout=30)


@pytest.mark.slow
def test_a_driver_that_is_killed_at_a_look_goes_on(study: Study) -> None:
    process = study.start()
    study.wait_for_look(process, 1)
    process.kill()
    process.communicate(timeout=30)
    verdicts = study.verdicts()
    ended = study.ended()
    assert len(ended) < len(EFFECTS) * LOOKS[-1]
    output = sweeps.finish(study.start(), SECONDS)
    assert f"look {len(LOOKS)} of {len(LOOKS)}" in output
    assert ended.items() <= study.ended().items(), "a cell that had ended ran again"
    after = study.verdicts()
    for name, row in verdicts.items():
        if row["verdict"] not in ("undecided", None):
            assert after[name] == row, "a verdict changed"
    check(study)
    repeated = [cell for cell, count in study.begun().items() if count > 1]
    assert len(repeated) <= 2, "only the cells that ran when the driver was killed"
    assert "nothing to run" in sweeps.finish(study.start(), SECONDS)


@pytest.mark.slow
def test_two_drivers_of_one_study_agree(study: Study) -> None:
    both = [study.start("--concurrency", "1") for _ in range(2)]
    outputs = [sweeps.finish(process, SECONDS) for process in both]
    for output in outputs:
        assert "Traceback" not in output
        assert f"look {len(LOOKS)} of {len(LOOKS)}" in output
    assert outputs[0][outputs[0].index("┏") : outputs[0].index("report: ")] in outputs[1], "their reports differ"
    check(study)
    assert set(study.begun().values()) == {1}
