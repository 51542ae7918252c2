"""Faults with real processes: workers and trial actors are killed while they work, and tasks raise."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest
import ray
from ray.util.placement_group import placement_group_table

from raysearch.engine import cluster, tuner

STEPS = 4


class Scripted:
    """A task that counts its steps, and on the cells it is told to, fails or kills its own process once."""

    steps = STEPS
    metric_ids: ClassVar = {"map": "steps times seed"}

    def __init__(self, config: dict[str, Any], seed: int, worker: Any) -> None:
        self.config, self.seed, self.done = config, seed, 0

    def advance(self) -> dict[str, Any]:
        self.done += 1
        fault = self.config.get("fault")
        if fault == "raise" and self.done == 2:
            raise ArithmeticError("planted at step 2")
        if fault == "nan" and self.done == 3:
            return {"iteration": self.done, "loss": float("nan")}
        if fault == "die" and self.done == 2 and not Path(self.config["mark"]).exists():
            Path(self.config["mark"]).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return {"iteration": self.done, "loss": 1.0}

    def evaluate(self) -> dict[str, float]:
        return {"map": float(self.done * self.seed)}


class Recorder(tuner.Listener):
    def __init__(self) -> None:
        self.records: dict[str, dict[str, Any]] = {}
        self.on_step: Any = None

    def stepped(self, job: tuner.Job, report: dict[str, Any], steps: int) -> None:
        if self.on_step:
            self.on_step(job)

    def ended(self, job: tuner.Job, record: dict[str, Any]) -> None:
        assert job.cell not in self.records, "a cell ended twice"
        self.records[job.cell] = record


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    # Workers cannot import this file, so its tasks travel as they are.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with cluster.connected(None):
        yield


def run(configs: list[dict[str, Any]], slots: int, recorder: Recorder | None = None) -> Recorder:
    recorder = recorder or Recorder()
    jobs = [tuner.Job(f"cell{i}", f"variant {i} seed {i}", config, i) for i, config in enumerate(configs)]
    assert tuner.run(jobs, Scripted, None, tuner.Resources(slots=slots), recorder)
    assert set(recorder.records) == {job.cell for job in jobs}
    return recorder


def groups() -> list[dict[str, Any]]:
    return [group for group in placement_group_table().values() if group["state"] != "REMOVED"]


def test_a_task_that_raises_fails_alone(ray_here: None) -> None:
    records = run([{}, {"fault": "raise"}, {"fault": "nan"}, {}, {}], slots=2).records
    assert [records[f"cell{i}"]["status"] for i in range(5)] == ["finished", "failed", "failed", "finished", "finished"]
    assert records["cell1"]["error"] == "ArithmeticError: planted at step 2"
    assert "nan" in records["cell2"]["error"]
    assert [records[f"cell{i}"]["map"] for i in (0, 3, 4)] == [0.0, 12.0, 16.0]
    assert [step["iteration"] for step in json.loads(records["cell4"]["history"])] == [1, 2, 3, 4]
    assert not groups(), "placement groups stay behind"


def test_a_killed_worker_costs_an_attempt_and_nothing_else(ray_here: None, tmp_path: Path) -> None:
    records = run([{}, {"fault": "die", "mark": str(tmp_path / "mark")}, {}], slots=1).records
    assert {cell: record["status"] for cell, record in records.items()} == dict.fromkeys(records, "finished")
    assert [records[f"cell{i}"]["attempts"] for i in range(3)] == [1, 2, 1]
    assert records["cell1"]["map"] == STEPS
    assert not groups()


def test_a_killed_trial_actor_leaves_no_placement_group_in_the_way(ray_here: None) -> None:
    """Both CPUs are taken by the group that stays behind: only its removal lets the next one start."""
    recorder, killed = Recorder(), []

    def kill_once(job: tuner.Job) -> None:
        if job.cell == "cell1" and not killed:
            killed.extend(trial_actors())
            for process in killed:
                process.send_signal(signal.SIGKILL)

    recorder.on_step = kill_once
    jobs = [tuner.Job(f"cell{i}", f"variant {i}", {"slow": True}, i) for i in range(3)]
    assert tuner.run(jobs, Slow, None, tuner.Resources(slots=1, workers=2), recorder)
    assert killed, "no trial actor was found to kill"
    assert {cell: record["status"] for cell, record in recorder.records.items()} == dict.fromkeys(
        ("cell0", "cell1", "cell2"), "finished"
    )
    assert recorder.records["cell1"]["attempts"] >= 2
    assert not groups()


class Slow(Scripted):
    """Steps that take long enough to be seen one by one."""

    def advance(self) -> dict[str, Any]:
        time.sleep(1)
        return super().advance()


def trial_actors() -> list[psutil.Process]:
    """Processes of this session's trial actors, by the title that Ray gives them."""
    mine = psutil.Process().children(recursive=True)
    return [process for process in mine if "Trial" in " ".join(process.cmdline()[:1])]


def test_slots_follow_from_the_cluster(ray_here: None) -> None:
    cpus = int(ray.cluster_resources()["CPU"])
    assert cluster.slots(workers=1, cpus=1, gpus=0) == cpus
    assert cluster.slots(workers=cpus, cpus=1, gpus=0) == 1
    assert cluster.slots(workers=1, cpus=1, gpus=0, limit=1) == 1
    with pytest.raises(ValueError, match="room for"):
        cluster.slots(workers=cpus + 1, cpus=1, gpus=0)
    with pytest.raises(ValueError, match="GPU"):
        cluster.slots(workers=1, cpus=1, gpus=1)
