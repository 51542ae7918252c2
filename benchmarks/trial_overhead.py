"""What a trial costs besides what it computes: no-op trials of five reports each, two ways, in one Ray session.

    python benchmarks/trial_overhead.py [--quick]

(a) `TorchTrainer.fit()` inside a Tune function, as Ray documents; (b) raysearch's warm worker groups. One trial at a
time; the first trial of a row is left out, so that what is paid once is not counted. Of (a), about ten seconds are the
reports: Ray Train's controller takes one every two seconds; the rest is starting and stopping processes. The last line
is JSON: the ratios (a) / (b) of the mean seconds between two ends of trials, by number of workers, and their sources.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from typing import Any, ClassVar

import ray.train
import ray.train.torch
from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback

from raysearch.engine.cluster import connection
from raysearch.engine.trials import jobs, tuner

REPORTS = 5


class NoOp:
    """A task that computes nothing."""

    steps = REPORTS
    metric_ids: ClassVar = {"map": "none"}

    def __init__(self, config: Any, seed: int, worker: Any) -> None:
        self.done = 0

    def advance(self) -> dict[str, Any]:
        self.done += 1
        return {"iteration": self.done, "loss": 0.0}

    def evaluate(self) -> dict[str, float]:
        return {"map": 0.0}


class Clock(jobs.Listener, tune.Callback):
    """Notes when each trial ends."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def ended(self, job: jobs.Job, record: dict[str, Any]) -> None:
        assert record["status"] == "finished", record["error"]
        self.ends.append(time.perf_counter())

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self.ends.append(time.perf_counter())

    def marginal(self) -> list[float]:
        return [after - before for before, after in zip(self.ends, self.ends[1:], strict=False)]


def documented(trials: int, workers: int) -> list[float]:
    """Seconds between the ends of trials, the way Ray documents."""

    def train_loop(config: dict[str, Any]) -> None:
        for step in range(REPORTS):
            ray.train.report({"step": step})

    def trial(config: dict[str, Any]) -> None:
        with tempfile.TemporaryDirectory() as storage:
            ray.train.torch.TorchTrainer(
                train_loop,
                scaling_config=ray.train.ScalingConfig(num_workers=workers),
                run_config=ray.train.RunConfig(storage_path=storage, callbacks=[TuneReportCallback()]),
            ).fit()

    clock = Clock()
    with tempfile.TemporaryDirectory() as storage:
        tune.Tuner(
            tune.with_resources(trial, tune.PlacementGroupFactory([{"memory": 1}])),
            param_space={"index": tune.grid_search(list(range(trials)))},
            tune_config=tune.TuneConfig(max_concurrent_trials=1),
            run_config=tune.RunConfig(storage_path=storage, callbacks=[clock], verbose=0),
        ).fit()
    assert len(clock.ends) == trials, f"{len(clock.ends)} of {trials} trials ended"
    return clock.marginal()


def warm(trials: int, workers: int) -> list[float]:
    """Seconds between the ends of trials, raysearch's way."""
    clock = Clock()
    cells = [jobs.Job(f"cell-{index}", f"no-op {index}", {}, index) for index in range(trials)]
    tuner.run_trials(jobs.FixedJobs(cells), NoOp, None, tuner.Capacity(slots=1, workers=workers), clock)
    assert len(clock.ends) == trials, f"{len(clock.ends)} of {trials} trials ended"
    return clock.marginal()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two trials the documented way and 40 the warm way")
    quick = parser.parse_args().quick
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # or Tune draws boxes between the lines
    figures: dict[str, Any] = {}
    seconds: dict[str, Any] = {}
    with connection.connected(None):
        for name, workers in (("one_worker", 1), ("two_workers", 2)):
            before = documented(2 if quick else 4, workers)
            after = warm(40 if quick else 150, workers)
            figures[name] = statistics.mean(before) / statistics.mean(after)
            seconds[name] = {"documented": before, "warm_mean": statistics.mean(after), "warm_max": max(after)}
            spread = f"{min(before) / max(after):.0f} to {max(before) / min(after):.0f}"
            print(
                f"{name:12} documented {statistics.mean(before):6.2f} s   warm {statistics.mean(after):7.4f} s   "
                f"ratio {figures[name]:5.0f} (between single trials {spread})",
                flush=True,
            )
    print(json.dumps({**figures, "seconds": seconds}))


if __name__ == "__main__":
    main()
