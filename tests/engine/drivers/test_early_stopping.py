"""Schedulers in Ray Tune: a stopped trial is a result, a paused one continues, a state that is taken over is used."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import ray
from ray import tune

from raysearch.engine.cluster import connection
from raysearch.engine.trials import jobs, schedulers, tuner
from raysearch.engine.trials.jobs import Objective

STEPS = 9
OBJECTIVE = Objective("score", "max")


class Climber:
    """A task whose score is the sum of its rates over all steps."""

    steps = STEPS
    metric_ids: ClassVar = {"map": "the sum of all rates"}

    def __init__(self, config: dict[str, Any], seed: int, worker: Any) -> None:
        self.rate = config["train"]["lr"]
        self.log = Path(config["data"]["log"])
        self.done = 0
        self.score = 0.0

    def advance(self) -> dict[str, Any]:
        self.done += 1
        self.score += self.rate
        with self.log.open("a") as file:
            file.write(f"{self.done}\n")
        return {"iteration": self.done, "loss": 0.0, "score": self.score}

    def evaluate(self) -> dict[str, float]:
        return {"map": self.score}

    def state_dict(self) -> dict[str, Any]:
        return {"done": self.done, "score": self.score}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.done = state["done"]
        self.score = state["score"]


class Recorder(jobs.Listener):
    def __init__(self) -> None:
        self.records: dict[str, dict[str, Any]] = {}

    def ended(self, job: jobs.Job, record: dict[str, Any]) -> None:
        assert job.cell not in self.records, "a cell ended twice"
        self.records[job.cell] = record | {"history": json.loads(record["history"])}


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    # Workers cannot import this file, so its tasks travel as they are.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with connection.connected(None):
        yield


def climb(
    folder: Path, rates: list[float], name: str, options: dict[str, Any], moves: dict[str, Any] | None = None
) -> dict[str, dict[str, Any]]:
    """Run a climber a rate under a scheduler; returns the records by cell."""
    cells = []
    for index, rate in enumerate(rates):
        config = {"train": {"lr": rate}, "data": {"log": str(folder / f"cell{index}.log")}}
        moved = {"train.lr": rate} if moves else {}
        cells.append(jobs.Job(f"cell{index}", f"rate {rate}", config, 0, f"rate {rate}", moved))
    recorder = Recorder()
    complete = tuner.run_trials(
        jobs.FixedJobs(cells),
        Climber,
        None,
        tuner.Capacity(slots=2),
        recorder,
        tuner.CheckpointPolicy(str(folder / "checkpoints"), OBJECTIVE),
        schedulers.build_scheduler(name, OBJECTIVE, STEPS, options, moves),
    )
    assert complete
    assert set(recorder.records) == {cell.cell for cell in cells}
    return recorder.records


def steps_done(folder: Path, cell: str) -> list[int]:
    return [int(line) for line in (folder / f"{cell}.log").read_text().split()]


RATES = [9.0, 1.0, 5.0, 2.0, 8.0, 3.0, 7.0, 4.0]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("asha", {"grace_period": 1, "reduction_factor": 3}),
        pytest.param("median", {"grace_period": 2, "min_samples_required": 2}, marks=pytest.mark.slow),
        pytest.param("hyperband", {"brackets": 2}, marks=pytest.mark.slow),
    ],
)
def test_the_worse_are_stopped_and_no_step_is_done_twice(
    ray_here: None, tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    records = climb(tmp_path, RATES, name, options)
    assert records["cell0"]["status"] == "finished", "the best was stopped"
    assert records["cell0"]["map"] == STEPS * 9.0
    stopped = [cell for cell, record in records.items() if record["status"] == "stopped"]
    assert stopped
    for index, rate in enumerate(RATES):
        record = records[f"cell{index}"]
        done = steps_done(tmp_path, f"cell{index}")
        assert done == list(range(1, record["epochs"] + 1)), "a pause lost or repeated a step"
        assert record["history"][-1]["score"] == pytest.approx(rate * len(done))
        assert record["attempts"] == 1
        if record["status"] == "stopped":
            assert len(done) < STEPS
            assert record["score"] == record["history"][-1]["score"], "its last figure"
            assert "map" not in record, "the test figure of a stopped cell"


@pytest.mark.slow
def test_a_population_takes_over_the_state_and_the_settings_of_its_best(ray_here: None, tmp_path: Path) -> None:
    options = {"perturbation_interval": 2, "quantile_fraction": 0.5, "resample_probability": 0.0, "synch": True}
    rates = [8.0, 1.0, 2.0, 6.0]
    records = climb(tmp_path, rates, "pbt", options, {"train.lr": tune.uniform(0.5, 10.0)})
    assert {record["status"] for record in records.values()} == {"finished"}
    best = max(rates) * STEPS
    for index, rate in enumerate(rates):
        history = records[f"cell{index}"]["history"]
        assert [step["iteration"] for step in history] == list(range(1, STEPS + 1))
        # The lineage: the score at each step is the sum of the rates that were in force.
        assert history[-1]["score"] == pytest.approx(sum(step["train.lr"] for step in history))
        if rate < 3:
            assert history[0]["train.lr"] in (8.0, 6.0), "a bad member kept its own beginning"
            assert history[-1]["score"] > 3 * rate * STEPS
    assert max(record["map"] for record in records.values()) >= best * 0.8
