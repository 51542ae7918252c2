"""Compare the overhead of a trial: no-op trials of five reports each, run in two ways in one Ray session.

    python benchmarks/trial_overhead.py [--quick]

(a) `TorchTrainer.fit()` inside a Tune function, as Ray documents; (b) raysearch's warm worker groups. One trial runs at
a time. The first trial of a row is left out, because it bears the costs that arise once. About ten seconds of (a) are
the reports, since Ray Train's controller takes one every two seconds; the rest is starting and stopping processes. The
last line is JSON: the ratios (a) / (b) of the mean seconds between the ends of two trials, by number of workers, and
the figures behind them.
"""

import os
import statistics
import tempfile
import time
from typing import Any, ClassVar

import ray.train.torch
from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback
from script import make_parser, print_figures

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
        """Return the report of the next step."""
        self.done += 1
        return {"iteration": self.done, "loss": 0.0}

    def evaluate(self) -> dict[str, float]:
        """Return a constant metric."""
        return {"map": 0.0}


class Clock(jobs.Listener, tune.Callback):
    """Record when each trial ends."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def ended(self, job: jobs.Job, record: dict[str, Any]) -> None:
        """Record the end of a cell of raysearch."""
        assert record["status"] == "finished", record["error"]
        self.ends.append(time.perf_counter())

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Record the end of a trial of Ray Tune."""
        self.ends.append(time.perf_counter())

    def marginal(self) -> list[float]:
        """Return the seconds between the ends of successive trials."""
        return [after - before for before, after in zip(self.ends, self.ends[1:], strict=False)]


def time_documented(trials: int, workers: int) -> list[float]:
    """Return the seconds between the ends of trials, run as Ray documents."""

    def _train_loop(config: dict[str, Any]) -> None:
        for step in range(REPORTS):
            ray.train.report({"step": step})

    def _trial(config: dict[str, Any]) -> None:
        with tempfile.TemporaryDirectory() as storage:
            ray.train.torch.TorchTrainer(
                _train_loop,
                scaling_config=ray.train.ScalingConfig(num_workers=workers),
                run_config=ray.train.RunConfig(storage_path=storage, callbacks=[TuneReportCallback()]),
            ).fit()

    clock = Clock()
    with tempfile.TemporaryDirectory() as storage:
        tune.Tuner(
            tune.with_resources(_trial, tune.PlacementGroupFactory([{"memory": 1}])),
            param_space={"index": tune.grid_search(list(range(trials)))},
            tune_config=tune.TuneConfig(max_concurrent_trials=1),
            run_config=tune.RunConfig(storage_path=storage, callbacks=[clock], verbose=0),
        ).fit()
    assert len(clock.ends) == trials, f"{len(clock.ends)} of {trials} trials ended"
    return clock.marginal()


def time_warm(trials: int, workers: int) -> list[float]:
    """Return the seconds between the ends of trials, run by raysearch."""
    clock = Clock()
    cells = [jobs.Job(f"cell-{index}", f"no-op {index}", {}, index) for index in range(trials)]
    tuner.run_trials(jobs.FixedJobs(cells), NoOp, None, tuner.Capacity(slots=1, workers=workers), clock)
    assert len(clock.ends) == trials, f"{len(clock.ends)} of {trials} trials ended"
    return clock.marginal()


def main() -> None:
    """Run the benchmark."""
    parser = make_parser(__doc__, quick="two trials of (a) and 40 of (b)")
    quick = parser.parse_args().quick
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # otherwise Tune draws boxes between the lines
    figures: dict[str, Any] = {}
    seconds: dict[str, Any] = {}
    with connection.connected(None):
        for name, workers in (("one_worker", 1), ("two_workers", 2)):
            documented = time_documented(2 if quick else 4, workers)
            warm = time_warm(40 if quick else 150, workers)
            figures[name] = statistics.mean(documented) / statistics.mean(warm)
            seconds[name] = {"documented": documented, "warm_mean": statistics.mean(warm), "warm_max": max(warm)}
            spread = f"{min(documented) / max(warm):.0f} to {max(documented) / min(warm):.0f}"
            print(
                f"{name:12} documented {statistics.mean(documented):6.2f} s   warm {statistics.mean(warm):7.4f} s   "
                f"ratio {figures[name]:5.0f} (between single trials {spread})",
                flush=True,
            )
    print_figures({**figures, "seconds": seconds})


if __name__ == "__main__":
    main()
