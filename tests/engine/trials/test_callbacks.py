"""What is swept after a fault, and until when Tune keeps warm actors."""

import pytest
from ray.tune.experiment import Trial

from raysearch.engine.trials import callbacks
from raysearch.engine.trials.callbacks import PlacementGroupReaper
from raysearch.engine.trials.job_queue import JobQueue
from raysearch.engine.trials.jobs import FixedJobs


def test_leftovers_are_removed_for_a_while_after_a_fault_and_at_no_other_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now, swept = [1000.0], []
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(callbacks, "remove_abandoned", swept.append)
    sweep = PlacementGroupReaper("run")

    def steps(seconds: int) -> int:
        before = len(swept)
        for _ in range(seconds * 10):
            now[0] += 0.1
            sweep.on_step_end(0, [])
        return len(swept) - before

    assert steps(100) == 0
    for fault in (sweep.on_trial_recover, sweep.on_trial_error):
        fault(0, [], None)
        assert steps(30) == pytest.approx(30 / PlacementGroupReaper.PAUSE, abs=1)
        assert steps(60) == pytest.approx(30 / PlacementGroupReaper.PAUSE, abs=1)
        assert steps(100) == 0
    assert set(swept) == {"run"}


def test_a_queue_is_not_finished_while_a_trial_is_paused() -> None:
    stopping = [False]
    queue = JobQueue(FixedJobs([]), lambda: 2, lambda: stopping[0])
    assert queue.next_trial() is None
    assert queue.is_finished()
    trial = Trial("trainable", stub=True)
    queue._live.append(trial)
    trial.status = Trial.RUNNING
    assert queue.is_finished()
    trial.status = Trial.PAUSED
    assert not queue.is_finished(), "its actor would be thrown away"
    stopping[0] = True
    assert queue.is_finished()
