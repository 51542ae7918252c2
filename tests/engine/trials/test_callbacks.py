"""Until when leftovers are removed after a fault, and until when Tune keeps warm actors."""

import pytest
from ray.tune.experiment import Trial

from raysearch.engine.trials import callbacks
from raysearch.engine.trials.callbacks import PlacementGroupReaper
from raysearch.engine.trials.job_queue import JobQueue
from raysearch.engine.trials.jobs import FixedJobs


def test_leftovers_are_removed_for_a_while_after_a_fault_and_at_no_other_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    removals: list[str] = []
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(callbacks, "remove_abandoned", removals.append)
    reaper = PlacementGroupReaper("run")

    def removals_within(seconds: int) -> int:
        before = len(removals)
        for _ in range(seconds * 10):
            now[0] += 0.1
            reaper.on_step_end(0, [])
        return len(removals) - before

    assert removals_within(100) == 0
    for fault in (reaper.on_trial_recover, reaper.on_trial_error):
        fault(0, [], None)
        assert removals_within(30) == pytest.approx(30 / PlacementGroupReaper.PAUSE, abs=1)
        assert removals_within(60) == pytest.approx(30 / PlacementGroupReaper.PAUSE, abs=1)
        assert removals_within(100) == 0
    assert set(removals) == {"run"}


class TrialQueue(JobQueue):
    """A queue that hands out trials which nobody runs."""

    def add(self, trial: Trial) -> None:
        self._live.append(trial)


def test_a_queue_is_not_finished_while_a_trial_is_paused() -> None:
    stopping = [False]
    queue = TrialQueue(FixedJobs([]), lambda: 2, lambda: stopping[0])
    assert queue.next_trial() is None
    assert queue.is_finished()
    trial = Trial("trainable", stub=True)
    queue.add(trial)
    trial.status = Trial.RUNNING
    assert queue.is_finished()
    trial.status = Trial.PAUSED
    assert not queue.is_finished(), "its actor would be thrown away"
    stopping[0] = True
    assert queue.is_finished()
