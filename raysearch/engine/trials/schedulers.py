"""Ray Tune's schedulers as a search names them, and their state rebuilt from the cells that ended.

Ray Tune does not save a scheduler's state. What a scheduler knows follows from what the trials reported, and that is in
the results. When a search continues, the histories of its ended cells are replayed to a new scheduler.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import (
    AsyncHyperBandScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)

from raysearch.engine import ray_internals
from raysearch.engine.trials.jobs import Objective
from raysearch.studies.design.search_methods import SCHEDULERS

TIME_ATTR = "trained"  # key of a result: outer iterations after the warm-up, which is the same for all trials


@dataclass(frozen=True)
class SchedulerRequest:
    """What a scheduler is built from."""

    objective: Objective  # the metric that trials are compared by
    steps: int  # outer iterations of a whole trial, without its warm-up
    options: Mapping[str, Any]  # keyword arguments of the scheduler, from the study
    mutations: Mapping[str, Any]  # dotted path -> Tune distribution, for schedulers that move settings

    @property
    def common(self) -> dict[str, Any]:
        """The arguments that all of Tune's schedulers take."""
        return {"time_attr": TIME_ATTR, "metric": self.objective.metric, "mode": self.objective.mode}


def build_scheduler(
    name: str, objective: Objective, steps: int, options: Mapping[str, Any], mutations: Mapping[str, Any] | None = None
) -> TrialScheduler:
    """Return a new scheduler.

    Args:
        name: a name in `SCHEDULERS`.
        objective: the metric that trials are compared by.
        steps: outer iterations of a whole trial, without its warm-up.
        options: keyword arguments of the scheduler, from the study.
        mutations: dotted path -> Tune distribution, of settings that may change while trials train.

    Raises:
        UserError: unknown name.
        TypeError: an option that the scheduler does not have.
    """
    build = SCHEDULERS[name].load_build()
    return build(SchedulerRequest(objective, steps, options, mutations or {}))


def _third(steps: int) -> int:
    """A third of a trial: a slow start can still win. `benchmarks/search_efficiency.py` compares other shares."""
    return math.ceil(steps / 3)


def build_asha(request: SchedulerRequest) -> TrialScheduler:
    """Return ASHA, which leaves each trial a third of its iterations."""
    defaults = {"grace_period": _third(request.steps), "reduction_factor": 3, "stop_last_trials": False}
    return AsyncHyperBandScheduler(**request.common, max_t=request.steps, **defaults | dict(request.options))


def build_hyperband(request: SchedulerRequest) -> TrialScheduler:
    """Return Hyperband in its asynchronous form, which is ASHA in brackets of growing grace periods.

    Ray's synchronous form halves a bracket when all its trials have arrived. With fewer slots than a bracket has trials
    it never stops one.
    """
    factor = request.options.get("reduction_factor", 3)
    brackets = 1 + int(math.log(request.steps, factor) + 1e-9)  # the last bracket stops none of its trials
    defaults = {"reduction_factor": factor, "grace_period": 1, "brackets": brackets, "stop_last_trials": False}
    return AsyncHyperBandScheduler(**request.common, max_t=request.steps, **defaults | dict(request.options))


def build_median(request: SchedulerRequest) -> TrialScheduler:
    """Return the rule that stops a trial below the median of the others."""
    return MedianStoppingRule(**request.common, **{"grace_period": _third(request.steps)} | dict(request.options))


def build_pbt(request: SchedulerRequest) -> TrialScheduler:
    """Return population-based training, which moves the settings in `request.mutations`."""
    defaults = {"perturbation_interval": max(1, request.steps // 5), "log_config": False, "require_attrs": False}
    return PopulationBasedTraining(
        **request.common, hyperparam_mutations=dict(request.mutations), **defaults | dict(request.options)
    )


def count_trained(history: Sequence[Mapping[str, Any]]) -> int:
    """Return the outer iterations of a cell after its warm-up.

    >>> count_trained([{"phase": "warmup"}, {"phase": "train"}, {}])
    2
    """
    return sum(step.get("phase") != "warmup" for step in history)


def replay_cells(scheduler: TrialScheduler, objective: Objective, records: Iterable[Mapping[str, Any]]) -> None:
    """Report to a new scheduler what ended cells had reported.

    Args:
        scheduler: a new scheduler.
        objective: the metric that trials are compared by.
        records: records of finished and stopped cells, in the order in which they began.
    """
    controller = _ReplayController()
    for record in records:
        results = _results_of(record, objective)
        if not results:
            continue
        finished = record["status"] == "finished"
        trial = _EndedTrial(record["cell"])
        scheduler.on_trial_add(controller, trial)
        # Tune reports the last result of a finished trial as its completion only.
        for result in results[:-1] if finished else results:
            scheduler.on_trial_result(controller, trial, result)
        scheduler.on_trial_complete(controller, trial, results[-1])


def _results_of(record: Mapping[str, Any], objective: Objective) -> list[dict[str, Any]]:
    """Return the results of a cell as Tune would have shown them to a scheduler."""
    history = json.loads(record["history"])
    return [
        {TIME_ATTR: count_trained(history[: index + 1]), objective.metric: step[objective.metric]}
        for index, step in enumerate(history)
        if step.get("phase") != "warmup" and step.get(objective.metric) is not None
    ]


class _EndedTrial:
    """As much of a Tune trial as schedulers read, for a cell that ended before."""

    status = Trial.RUNNING

    def __init__(self, cell: str) -> None:
        self.trial_id = cell


class _ReplayController:
    """As much of Tune's controller as schedulers read."""

    search_alg = None

    def get_live_trials(self) -> list[Any]:
        """Return no trials: the replayed cells have all ended."""
        return []


class FifoScheduler(FIFOScheduler):
    """First come, first served. Tune's own looks through all trials of the run at every step."""

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Return None, so that Tune starts the pending trials in their order."""
        return None  # Tune starts pending trials anyway, and nothing is ever paused


def limit_concurrency(scheduler: TrialScheduler, has_room: Callable[[], bool], slots: int) -> TrialScheduler:
    """Keep a scheduler from resuming a paused trial while all slots are taken.

    Args:
        scheduler: a scheduler from `build_scheduler`; it is changed.
        has_room: returns whether one more trial may run.
        slots: how many actors are kept warm while all trials are paused; Tune by itself keeps one.
    """
    choose_trial = scheduler.choose_trial_to_run
    warm_factories = set()

    def _choose_within_limit(tune_controller: Any) -> Trial | None:
        trial = choose_trial(tune_controller)
        if trial is None:
            return None
        factory = trial.placement_group_factory
        if factory not in warm_factories:
            warm_factories.add(factory)
            ray_internals.keep_warm_actors(tune_controller, factory, slots)
        return trial if trial.status != Trial.PAUSED or has_room() else None

    scheduler.choose_trial_to_run = _choose_within_limit
    return scheduler
