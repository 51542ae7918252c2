"""A killed driver: the same command continues from the checkpoints of the interrupted cells."""

import contextlib
import json
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from raysearch.runs.checkpoints import Checkpoints, decode_state

from .. import killing, sweeps
from ..killing import Nodes

STEPS = 24  # and a warm-up
SECONDS = 400.0  # far more than a run takes


@pytest.mark.parametrize(
    "place",
    [
        "own Ray, which is killed too",  # as when the machine loses its power
        pytest.param("own Ray", marks=pytest.mark.slow),  # Ray takes a minute to see that its driver is gone
        pytest.param("a cluster", marks=pytest.mark.slow),
    ],
)
def test_a_cell_goes_on_after_its_driver_was_killed(
    place: str, tmp_path: Path, tiny_data: Path, request: pytest.FixtureRequest
) -> None:
    nodes: Nodes | None = request.getfixturevalue("nodes") if place == "a cluster" else None
    sweeps.prepare(tmp_path, tiny_data, iterations=STEPS, variants=2, seeds=1)
    with sweeps.Sweeps(tmp_path, nodes.cluster.address if nodes else None) as drivers:
        process = drivers.start("out")
        deadline = time.monotonic() + SECONDS
        while not any(len(history(tmp_path, cell)) >= 5 for cell in begun(tmp_path)):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline, "no cell got so far in time"
            time.sleep(0.05)
        killed = time.monotonic()
        started = sweeps.kill(process)
        if place.endswith("killed too"):
            for child in started:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
        _, alive = psutil.wait_procs(started, timeout=120)
        assert not alive, f"two minutes after the driver's death there are still {alive}"
        if nodes:
            killing.nothing_stays()
        print(f"{time.monotonic() - killed:.1f} s until all of the driver's processes were gone")
        done = {cell: history(tmp_path, cell) for cell in begun(tmp_path)}
        assert not sweeps.ended(tmp_path, "out"), "the kill came too late: cells had ended"
        sweeps.finish(drivers.start("out"), SECONDS)
    if nodes:
        killing.nothing_stays()
    for row in sweeps.rows(tmp_path, "out"):
        before = done.get(row["cell"], [])
        after = history(tmp_path, row["cell"])
        assert row["status"] == "finished"
        assert row["attempts"] == (2 if row["cell"] in done else 1)
        assert after[: len(before)] == before, "steps were done again: no two take the same time"
        assert len(after) > len(before)
        metrics, steps = sweeps.undisturbed(tmp_path / "data", row)
        assert {name: row[name] for name in metrics} == metrics
        assert sweeps.numbers(after) == sweeps.numbers(steps)


def begun(folder: Path) -> list[str]:
    return [path.parent.name for path in (folder / "out" / "run" / "checkpoints").glob("*/attempts.json")]


def history(folder: Path, cell: str) -> list[dict[str, Any]]:
    """The steps that a cell's newest checkpoint holds."""
    data = Checkpoints(str(folder / "out" / "run" / "checkpoints"), cell).read()
    return json.loads(decode_state(data, torch.device("cpu"))["history"]) if data else []
