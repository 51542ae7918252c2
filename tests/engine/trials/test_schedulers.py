"""Schedulers rebuilt from ended cells decide as the ones that saw them."""

import json
import random
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from raysearch.engine.trials import schedulers
from raysearch.engine.trials.jobs import Objective

OBJECTIVE = Objective("score", "max")
STEPS = 9


class Stub:
    """A trial as schedulers see it."""

    is_saving = False
    placement_group_factory = "a worker group's"

    def __init__(self, name: str) -> None:
        self.trial_id = name
        self.status = Trial.RUNNING

    def is_finished(self) -> bool:
        return self.status == Trial.TERMINATED


class Controller:
    search_alg = None

    def get_live_trials(self) -> list:
        return []

    def get_trials(self) -> list:
        return []


def curve(index: int) -> list[float]:
    rng = random.Random(index)
    top = rng.random()
    return [top * (1 - 0.5**step) + 0.05 * rng.random() for step in range(1, STEPS + 1)]


def live(scheduler: TrialScheduler, indices: range, records: list[dict[str, Any]]) -> dict[int, int]:
    """Run trials one after another; returns after how many steps each ended, and appends their records."""
    ends = {}
    for index in indices:
        trial = Stub(f"cell{index}")
        history = []
        scheduler.on_trial_add(Controller(), trial)
        for step, score in enumerate(curve(index), start=1):
            history.append({"iteration": step, "score": score})
            result = {schedulers.TIME_ATTR: step, "score": score}
            if step == STEPS:
                scheduler.on_trial_complete(Controller(), trial, result)
                break
            if scheduler.on_trial_result(Controller(), trial, result) == TrialScheduler.STOP:
                scheduler.on_trial_complete(Controller(), trial, result)
                break
        ends[index] = len(history)
        status = "finished" if len(history) == STEPS else "stopped"
        records.append({"cell": trial.trial_id, "status": status, "history": json.dumps(history)})
    return ends


OPTIONS: dict[str, dict[str, Any]] = {
    "asha": {"grace_period": 1, "reduction_factor": 3},
    "median": {"grace_period": 2, "min_samples_required": 3},
    "hyperband": {"brackets": 1},  # several would be drawn at random
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_resumed_search_stops_what_an_uninterrupted_one_stops(name: str) -> None:
    whole = live(schedulers.build_scheduler(name, OBJECTIVE, STEPS, OPTIONS[name]), range(40), [])
    assert 5 < sum(end < STEPS for end in whole.values()) < 40, "the scheduler stops none, or all"

    records: list[dict[str, Any]] = []
    first = live(schedulers.build_scheduler(name, OBJECTIVE, STEPS, OPTIONS[name]), range(20), records)
    resumed = schedulers.build_scheduler(name, OBJECTIVE, STEPS, OPTIONS[name])
    schedulers.replay_cells(resumed, OBJECTIVE, records)
    assert first | live(resumed, range(20, 40), []) == whole

    forgetful = live(schedulers.build_scheduler(name, OBJECTIVE, STEPS, OPTIONS[name]), range(20, 40), [])
    assert first | forgetful != whole, "without the replay the same comes out: the test shows nothing"


def test_hyperband_has_brackets_of_growing_grace() -> None:
    scheduler = schedulers.build_scheduler("hyperband", OBJECTIVE, STEPS, {})
    rungs = [sorted(milestone for milestone, _ in bracket._rungs) for bracket in scheduler._brackets]
    assert rungs == [[1, 3, 9], [3, 9], [9]]


def test_cells_without_the_metric_are_left_out() -> None:
    scheduler = schedulers.build_scheduler("asha", OBJECTIVE, STEPS, {})
    record = {"cell": "failed", "status": "failed", "history": json.dumps([{"iteration": 1}])}
    schedulers.replay_cells(scheduler, OBJECTIVE, [record])
    assert not scheduler._trial_info


def test_a_paused_trial_waits_for_room() -> None:
    scheduler = schedulers.FifoScheduler()
    paused = Stub("paused")
    paused.status = Trial.PAUSED
    scheduler.choose_trial_to_run = lambda controller: paused  # type: ignore[method-assign,assignment]
    room = [False]
    requests = []
    controller = SimpleNamespace(
        _tune_controller=SimpleNamespace(
            _actor_cache=SimpleNamespace(increase_max=lambda *request: requests.append(request))
        )
    )
    schedulers.limit_concurrency(scheduler, lambda: room[0], slots=2)
    assert scheduler.choose_trial_to_run(controller) is None
    room[0] = True
    assert scheduler.choose_trial_to_run(controller) is paused
    assert requests == [(paused.placement_group_factory, 2)], (
        "as many actors stay warm as there are slots, requested once"
    )


def test_an_objective_knows_better() -> None:
    high, low = Objective("map", "max"), Objective("seconds", "min")
    assert high.is_better(0.1, None)
    assert high.is_better(0.2, 0.1)
    assert not high.is_better(0.1, 0.1)
    assert low.is_better(0.1, 0.2)
