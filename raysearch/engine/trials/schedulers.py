"""Early stopping by name, for searches: Ray Tune's schedulers, and their state rebuilt from the cells that ended.

Ray Tune does not save a scheduler's state. What a scheduler knows follows from what the trials reported, and that is
in the results; so when a search goes on, the histories of its ended cells are told to a new scheduler.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import (
    AsyncHyperBandScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)

from raysearch.runs.objective import Objective

TIME_ATTR = "trained"  # of a result: outer iterations done after the warm-up, which is the same for all


def count_trained(history: Sequence[Mapping[str, Any]]) -> int:
    """Outer iterations of a cell after its warm-up.

    >>> trained([{"phase": "warmup"}, {"phase": "train"}, {}])
    2
    """
    return sum(step.get("phase") != "warmup" for step in history)


def build_scheduler(
    name: str, objective: Objective, steps: int, options: Mapping[str, Any], mutations: Mapping[str, Any] | None = None
) -> TrialScheduler:
    """A scheduler by name.

    Args:
        name: "asha"; "hyperband", its asynchronous form, which is ASHA in brackets of growing grace periods (Ray's
            synchronous one halves a bracket whose trials are there together, and with fewer places than a bracket
            has trials it never stops one); "median"; "pbt".
        objective: what trials are compared by.
        steps: outer iterations of a whole trial, without its warm-up.
        options: of the scheduler, as the study says.
        mutations: what "pbt" may change on the way: dotted path -> Tune distribution.
    """
    third = math.ceil(steps / 3)  # of a trial: what starts slowly can still win; see benchmarks/search_efficiency.py
    common = {"time_attr": TIME_ATTR, "metric": objective.metric, "mode": objective.mode}
    given = dict(options)
    if name == "asha":
        given = {"grace_period": third, "reduction_factor": 3, "stop_last_trials": False} | given
        return AsyncHyperBandScheduler(**common, max_t=steps, **given)
    if name == "hyperband":
        factor = given.get("reduction_factor", 3)
        brackets = 1 + int(math.log(steps, factor) + 1e-9)  # the last leaves its trials whole
        given = {"grace_period": 1, "brackets": brackets, "stop_last_trials": False} | given
        return AsyncHyperBandScheduler(**common, max_t=steps, **{"reduction_factor": factor} | given)
    if name == "median":
        return MedianStoppingRule(**common, **{"grace_period": third} | given)
    assert name == "pbt", name
    given = {"perturbation_interval": max(1, steps // 5), "log_config": False, "require_attrs": False} | given
    return PopulationBasedTraining(**common, hyperparam_mutations=dict(mutations or {}), **given)


def replay_cells(scheduler: TrialScheduler, objective: Objective, ended: Iterable[Mapping[str, Any]]) -> None:
    """Tell a new scheduler what the cells reported that ended before.

    Args:
        scheduler: as `build` made it.
        objective: what trials are compared by.
        ended: records of finished and stopped cells, in the order in which they were begun.
    """
    told = []
    for record in ended:
        finished = record["status"] == "finished"
        history = json.loads(record["history"])
        results = [
            {TIME_ATTR: count_trained(history[: index + 1]), objective.metric: step[objective.metric]}
            for index, step in enumerate(history)
            if step.get("phase") != "warmup" and step.get(objective.metric) is not None
        ]
        if results:
            told.append((_Ended(record["cell"], finished), results))
    controller = _Replayed()
    for trial, results in told:
        scheduler.on_trial_add(controller, trial)
        # The last result of a finished trial is its end and nothing else.
        passed = results[:-1] if trial.finished else results
        for result in passed:
            scheduler.on_trial_result(controller, trial, result)
        scheduler.on_trial_complete(controller, trial, results[-1])


class _Ended:
    """As much of a Tune trial as schedulers look at, of a cell that ended before."""

    status = Trial.RUNNING

    def __init__(self, cell: str, finished: bool) -> None:
        self.trial_id, self.finished = cell, finished


class _Replayed:
    """As much of Tune's controller as schedulers look at."""

    search_alg = None

    def get_live_trials(self) -> list[Any]:
        return []


class FifoScheduler(FIFOScheduler):
    """First come, first served. Tune's own looks through all trials of the run at every step."""

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        return None  # Tune starts what is pending anyway, and nothing is ever paused


def limit_concurrency(scheduler: TrialScheduler, room: Callable[[], bool], slots: int) -> TrialScheduler:
    """Keep a scheduler from going on with a paused trial while all places are taken.

    Args:
        scheduler: as `build` made it.
        room: whether one more trial may run.
        slots: how many actors are kept warm while all trials are paused; Tune by itself keeps one.
    """
    choose, kept = scheduler.choose_trial_to_run, set()

    def choose_within(tune_controller: Any) -> Trial | None:
        trial = choose(tune_controller)
        if trial is not None and trial.placement_group_factory not in kept:
            kept.add(trial.placement_group_factory)
            tune_controller._tune_controller._actor_cache.increase_max(trial.placement_group_factory, slots)
        return trial if trial is None or trial.status != Trial.PAUSED or room() else None

    scheduler.choose_trial_to_run = choose_within
    return scheduler
