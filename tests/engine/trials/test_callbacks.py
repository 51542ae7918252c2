"""Until when leftovers are removed after a fault, and until when Tune keeps warm actors."""

from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.experiment import Trial

from raysearch.core import Interrupt
from raysearch.engine.trials import callbacks
from raysearch.engine.trials.callbacks import PlacementGroupReaper, TuneListenerCallback
from raysearch.engine.trials.job_queue import JobQueue
from raysearch.engine.trials.jobs import FixedJobs, Job, Listener


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


class Starts:
    """Trials of a queue whose worker groups start or do not."""

    def __init__(self, slots: int, cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
        jobs = FixedJobs(Job(f"cell{number}", f"cell{number}", {}, number) for number in range(cells))
        self.interrupt = Interrupt()
        self.queue = JobQueue(jobs, lambda: slots, self.interrupt)
        self.ended: list[dict[str, Any]] = []
        listener = Listener()
        listener.ended = lambda job, record: self.ended.append(record)  # type: ignore[method-assign]
        self.callback = TuneListenerCallback(self.queue, listener, self.interrupt)
        self.account = ""
        monkeypatch.setattr(callbacks.ray_internals, "last_failure", lambda trial: self.account)

    def start(self) -> SimpleNamespace | None:
        """Give the next job to a trial, as the queue does when there is room."""
        running = sum(trial.status == Trial.RUNNING for trial in self.queue._live)
        if running >= self.queue._slots() - self.queue._lost_slots:
            return None
        job = self.queue._returned.pop() if self.queue._returned else self.queue._jobs.next()
        assert job is not None
        self.queue.handed_out[job.cell] = job
        metadata = SimpleNamespace(num_failures=0)
        trial = SimpleNamespace(trial_id=job.cell, run_metadata=metadata, status=Trial.RUNNING)
        self.queue._live.append(trial)  # type: ignore[arg-type]
        self.callback.on_trial_start(0, [], trial)
        return trial

    def fail(self, trial: SimpleNamespace, account: str = "mailbox.GroupNotStarted: rank 0: too old") -> bool:
        """Fail an attempt as Tune does; return whether the trial is tried again."""
        self.account = account
        trial.run_metadata.num_failures += 1
        if trial.run_metadata.num_failures <= callbacks.RETRIES:
            self.callback.on_trial_recover(0, [], trial)
            return True
        trial.status = Trial.ERROR
        self.callback.on_trial_error(0, [trial], trial)
        return False

    def step(self, trial: SimpleNamespace, is_first_of_group: bool) -> None:
        result = {"so_far": "{}", "report": "{}", "steps": 9, "is_first_of_group": is_first_of_group}
        self.callback.on_trial_result(0, [], trial, result)


def test_a_slot_is_given_up_after_groups_in_a_row_that_do_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others that go on in their warm groups do not count as starts."""
    starts = Starts(2, 3, monkeypatch)
    broken = starts.start()
    sound = starts.start()
    assert broken is not None
    assert sound is not None
    starts.step(sound, is_first_of_group=True)
    for _ in range(callbacks.FAILED_STARTS):
        assert starts.fail(broken)
        starts.step(sound, is_first_of_group=False)
    assert not starts.fail(broken)
    assert starts.ended == [], "no cell failed"
    assert not starts.interrupt.wanted, "a slot is left"
    assert starts.start() is None, "the other trial holds it"
    sound.status = Trial.TERMINATED
    again = starts.start()
    assert again is not None
    assert again.trial_id == broken.trial_id, "the cell that was given back comes first"


def test_a_group_that_starts_ends_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = Starts(2, 3, monkeypatch)
    broken = starts.start()
    sound = starts.start()
    assert broken is not None
    assert sound is not None
    for _ in range(3 * callbacks.FAILED_STARTS):
        assert starts.fail(broken)
        starts.step(sound, is_first_of_group=True)
        starts.step(broken, is_first_of_group=True)


def test_failed_starts_are_no_faults_of_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails after as many attempts of its own as any other."""
    starts = Starts(1, 1, monkeypatch)
    trial = starts.start()
    assert trial is not None
    assert starts.fail(trial)
    assert starts.fail(trial)
    own = "mailbox.GroupLost: the worker of rank 0 died"
    assert [starts.fail(trial, own) for _ in range(callbacks.RETRIES + 1)] == [True] * callbacks.RETRIES + [False]
    assert [record["status"] for record in starts.ended] == ["failed"]
    assert starts.ended[0]["attempts"] == 2 + callbacks.RETRIES + 1


def test_without_a_slot_the_run_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = Starts(1, 2, monkeypatch)
    trial = starts.start()
    assert trial is not None
    while starts.fail(trial):
        pass
    assert starts.interrupt.wanted
    assert str(starts.callback.error) == (
        "no worker group starts any more, so the study was stopped: rank 0: too old; mend the machine, and give the "
        "same command again"
    )
    assert starts.ended == []
    assert starts.callback.open, "the run is not complete"
