"""A real sweep with a tracker, killed in the middle and continued: one run per cell, with the curves of the results."""

import json
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

from raysearch.engine.trackers import tracking

from ..sweeps import Sweeps, ended, finish, kill, prepare, rows


@pytest.mark.slow
def test_a_killed_sweep_is_logged_once(tmp_path: Path, tiny_data: Path) -> None:
    prepare(tmp_path, tiny_data, iterations=4, variants=2, seeds=3)
    with Sweeps(tmp_path) as sweeps:
        first = sweeps.start("a", "--log", "tensorboard")
        deadline = time.monotonic() + 900
        while not ended(tmp_path, "a"):
            assert first.poll() is None, first.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.1)
        kill(first)
        output = finish(sweeps.start("a", "--log", "tensorboard"), seconds=900.0)
    assert "logged to tensorboard: tensorboard --logdir" in output
    assert "is off" not in output
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(tmp_path / "a/run" / tracking.FOLDER / "tensorboard"))
    runs = multiplexer.Reload().Runs()
    results = rows(tmp_path, "a")
    assert len(runs) == len(results) == 6
    for row in results:
        (name,) = [name for name in runs if name.endswith(row["cell"][:8])]
        run = multiplexer.GetAccumulator(name)
        history = json.loads(row["history"])
        losses = [step["loss"] for step in history]
        assert [event.step for event in run.Scalars("loss")] == [step["iteration"] for step in history]
        assert [event.value for event in run.Scalars("loss")] == pytest.approx(losses, rel=1e-3)
        assert run.Scalars("final/map")[-1].value == pytest.approx(row["map"])
        assert run.Tensors("verdict")
