"""Two sweeps at once on one cluster and one results store: no cell is begun twice, and none is lost."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from raysearch.runs import results

from .. import sweeps


@pytest.fixture(scope="module")
def one_cpu(cluster: Cluster) -> Iterator[Cluster]:
    """Less than two drivers would like to have: each has to leave it to the other when it has nothing to run."""
    node = cluster.add_node(num_cpus=1)
    yield cluster
    cluster.remove_node(node)


class Drivers:
    """Sweeps on one cluster.

    Args:
        folder: of their runs, which lie side by side.
        data: shards.
        address: of the cluster.
    """

    def __init__(self, folder: Path, data: Path, address: str) -> None:
        self.folder = folder
        self._data = data
        self._address = address
        self._started: list[subprocess.Popen[str]] = []

    def start(self, name: str, out: str, regions: str, steps: int, *words: str) -> subprocess.Popen[str]:
        """A driver of a study whose cells are the reference's and those of `regions`, each with two seeds."""
        file = self.folder / f"{name}.py"
        file.write_text(sweeps.STUDY.format(regions=regions, iterations=steps, seeds=2))
        command = [sys.executable, "-m", "raysearch.sweep", str(file), "--data", str(self._data)]
        command += ["--profile", "laptop", "--address", self._address, "--out", str(self.folder / out), *words]
        environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        self._started.append(process)
        return process

    def stop(self) -> None:
        for process in self._started:
            process.kill()
            process.wait()

    def rows(self, out: str) -> list[dict[str, Any]]:
        return sorted(results.load(self.folder / out).to_pylist(), key=lambda row: row["cell"])

    def begun(self) -> dict[str, int]:
        """How often each cell was begun, in all runs together."""
        counts: dict[str, int] = {}
        for file in self.folder.glob("*/checkpoints/*/attempts.json"):
            counts[file.parent.name] = counts.get(file.parent.name, 0) + json.loads(file.read_text())["attempts"]
        return counts


@pytest.fixture
def drivers(tmp_path: Path, tiny_data: Path, one_cpu: Cluster) -> Iterator[Drivers]:
    started = Drivers(tmp_path, tiny_data, one_cpu.address)
    yield started
    started.stop()


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=550)
    assert process.returncode == 0, output
    assert "Traceback" not in output
    assert re.search(r"^report: .*report\.html$", output, re.MULTILINE), output
    return output


@pytest.mark.slow
def test_one_study_twice(drivers: Drivers) -> None:
    both = [drivers.start("study", "run", "10, 20", 4) for _ in range(2)]
    for process in both:
        finish(process)
    rows = drivers.rows("run")
    assert [row["status"] for row in rows] == ["finished"] * 6
    assert [row["attempts"] for row in rows] == [1] * 6
    assert drivers.begun() == {row["cell"]: 1 for row in rows}
    assert (drivers.folder / "run" / "results.parquet").exists()
    assert not (drivers.folder / ".claims").exists(), "claims stay behind"


@pytest.mark.slow
def test_two_studies_that_share_cells(drivers: Drivers) -> None:
    both = {"one": "10, 20", "other": "20, 30"}
    processes = {name: drivers.start(name, name, regions, 4) for name, regions in both.items()}
    for process in processes.values():
        finish(process)
    rows_of_one = drivers.rows("one")
    rows_of_other = drivers.rows("other")
    shared = {row["cell"]: row for row in rows_of_one if row["cell"] in {row["cell"] for row in rows_of_other}}
    assert (len(rows_of_one), len(rows_of_other), len(shared)) == (6, 6, 4), (
        "the reference and one variant, two seeds each"
    )
    assert {row["status"] for row in rows_of_one + rows_of_other} == {"finished"}
    assert drivers.begun() == {row["cell"]: 1 for row in rows_of_one + rows_of_other}
    for row in rows_of_other:
        if row["cell"] in shared:
            assert (row["map"], row["seconds"]) == (shared[row["cell"]]["map"], shared[row["cell"]]["seconds"])


@pytest.mark.slow
def test_the_other_takes_over_when_one_is_killed(drivers: Drivers, one_cpu: Cluster) -> None:
    one_cpu.add_node(num_cpus=1)  # so that both are at work
    both = [drivers.start("study", "run", "10, 20", 12, "--concurrency", "1") for _ in range(2)]
    deadline = time.monotonic() + 400
    while len(halfway := list(drivers.folder.glob("run/checkpoints/*/newest.pt"))) < 2:
        assert all(process.poll() is None for process in both), [process.communicate()[0] for process in both]
        assert time.monotonic() < deadline, "the drivers did not get to work on a cell each"
        time.sleep(0.05)
    assert not list(drivers.folder.glob("run/cells/*.parquet")), "the test is too late"
    both[0].kill()
    finish(both[1])
    rows = drivers.rows("run")
    assert [row["status"] for row in rows] == ["finished"] * 6
    hit = [row["cell"] for row in rows if row["attempts"] == 2]
    assert len(hit) == 1, "one cell was the killed driver's"
    assert hit[0] in {file.parent.name for file in halfway}
    assert drivers.begun() == {row["cell"]: row["attempts"] for row in rows}
