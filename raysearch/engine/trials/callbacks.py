"""Callbacks of Ray Tune: events go to a listener, a wish to stop goes to Tune, and leftovers are removed."""

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

from ray import tune

from raysearch.core import Interrupt, UserError
from raysearch.engine import ray_internals
from raysearch.engine.trials.failures import explain_attempt, is_failed_start
from raysearch.engine.trials.job_queue import JobQueue
from raysearch.engine.trials.jobs import Listener
from raysearch.engine.trials.worker_group import remove_abandoned

# Attempts after the first, for a cell that loses its worker group without a step in between and with all nodes alive.
RETRIES = 3
# Worker groups that may fail to start, without one in between that starts. A further one costs a slot.
FAILED_STARTS = 3


class Stopper(ray_internals.NotSaved, tune.Stopper):
    """Ends the whole run when the user wants to stop."""

    def __init__(self, interrupt: Interrupt) -> None:
        self._interrupt = interrupt

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        """Return whether a stop was requested. Tune calls it after every result."""
        return self._interrupt.wanted


class TuneListenerCallback(ray_internals.NotSaved, tune.Callback):
    """Tune's callbacks as a listener's events.

    Tune would take a listener's exception for one of the trial, and try the trial again. So exceptions are kept, the
    run is stopped, and `error` is raised at its end.

    Attributes:
        open: cells that have begun -> the record they would have if they were stopped now.
        error: the first exception of the listener.
    """

    def __init__(self, queue: JobQueue, listener: Listener, interrupt: Interrupt) -> None:
        self.open: dict[str, dict[str, Any]] = {}
        self.error: Exception | None = None
        self._queue = queue
        self._listener = listener
        self._interrupt = interrupt
        self._faults: dict[str, int] = {}
        self._failed_starts = 0  # worker groups, since the last one that started
        self._last_chances: set[str] = set()  # cells that give up a slot when their next worker group does not start

    def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Report a cell as started when its trial gets a worker group."""
        self.open.setdefault(trial.trial_id, {})
        with self._keep_error():
            self._listener.started(self._queue.handed_out[trial.trial_id])

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict[str, Any], **info: Any) -> None:
        """Report a step, or the end of a cell whose result has a record. Failures are counted from here again."""
        cell = trial.trial_id
        if cell not in self.open:
            return
        self._drop_last_chance(trial)
        if result.get("is_first_of_group"):
            self._failed_starts = 0
        self._faults[cell] = self._faults.get(cell, 0) + ray_internals.count_failures(trial)
        ray_internals.set_failures(trial, 0)  # the cell made progress: retries are counted from here
        if "record" in result:
            self._end(trial, json.loads(result["record"]))
        else:
            self.open[cell] = json.loads(result["so_far"])
            with self._keep_error():
                self._listener.stepped(self._queue.handed_out[cell], json.loads(result["report"]), result["steps"])

    def forgive(self, trial: Any) -> None:
        """Take back the last fault of a trial, which a lost node explains. It still counts as an attempt."""
        self._failed_starts = max(0, self._failed_starts - 1)
        self._drop_last_chance(trial)
        self._forgive(trial)

    def _forgive(self, trial: Any) -> None:
        failures = ray_internals.count_failures(trial)
        if failures > 0:
            ray_internals.set_failures(trial, failures - 1)
            self._faults[trial.trial_id] = self._faults.get(trial.trial_id, 0) + 1

    def on_trial_recover(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Report that Tune will try a cell again, with the last failure as the reason.

        A worker group that did not start is no fault of the cell. When several in a row do not, the cell's next failure
        is made Tune's last, so that it can be given another slot.
        """
        if is_failed_start(ray_internals.last_failure(trial)):
            self._forgive(trial)
            self._failed_starts += 1
            if self._failed_starts >= FAILED_STARTS:
                self._last_chances.add(trial.trial_id)
                ray_internals.set_failures(trial, RETRIES)
        with self._keep_error():
            self._listener.retried(self._queue.handed_out[trial.trial_id], _last_failure(trial))

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """End a cell that the scheduler stopped, with its record so far, and drop the trial from Tune's memory."""
        # A cell that is still open has not reached its end: the scheduler stopped it.
        if trial.trial_id in self.open and not self._queue.stopping():
            self._end(trial, self.open[trial.trial_id])
        ray_internals.forget_trial(trials, trial)

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """End a cell whose attempts are used up as failed, and drop the trial from Tune's memory.

        A cell whose worker group does not start waits for another slot instead.
        """
        if is_failed_start(ray_internals.last_failure(trial)):
            self._give_up_slot(trial)
            ray_internals.forget_trial(trials, trial)
            return
        if trial.trial_id in self._last_chances:
            self._last_chances.discard(trial.trial_id)
            ray_internals.set_failures(trial, 1)
        record = {**self.open.get(trial.trial_id, {}), "cell": trial.trial_id, "status": "failed"}
        reason = _last_failure(trial)
        record["error"] = f"given up after {RETRIES + 1} attempts without a step in between, the last: {reason}"
        ray_internals.set_failures(trial, ray_internals.count_failures(trial) - 1)  # no attempt followed the last one
        self._end(trial, {"metric_ids": "{}", "history": "[]", "attempts": 1} | record)
        ray_internals.forget_trial(trials, trial)

    def _drop_last_chance(self, trial: Any) -> None:
        """Have Tune count a cell's failures again."""
        if trial.trial_id in self._last_chances:
            self._last_chances.discard(trial.trial_id)
            ray_internals.set_failures(trial, 0)  # those were not the cell's

    def _give_up_slot(self, trial: Any) -> None:
        self._last_chances.discard(trial.trial_id)
        self._failed_starts = 0
        self._faults[trial.trial_id] = self._faults.get(trial.trial_id, 0) + 1
        if not self._queue.give_back(trial.trial_id):
            self.error = self.error or UserError(
                f"no worker group starts any more, so the study was stopped: {_last_failure(trial)}; mend the machine, "
                "and give the same command again"
            )
            self._interrupt.wanted = True

    def _end(self, trial: Any, record: dict[str, Any]) -> None:
        cell = trial.trial_id
        self.open.pop(cell, None)
        job = self._queue.handed_out.pop(cell)
        faults = self._faults.pop(cell, 0) + ray_internals.count_failures(trial)
        attempts = max(record["attempts"], 1 + faults)
        with self._keep_error():
            self._listener.ended(job, record | {"seed": job.seed, "attempts": attempts})

    @contextlib.contextmanager
    def _keep_error(self) -> Iterator[None]:
        """Keep a listener's exception for the end of the run, and begin no further cell. The disk may be full."""
        try:
            yield
        except Exception as error:
            self.error = self.error or error
            self._interrupt.wanted = True


class PlacementGroupReaper(ray_internals.NotSaved, tune.Callback):
    """Removes what killed trial actors left behind, for some time after each fault.

    Ray places the worker group of a killed node again. Where there is no room it tries for ever, and places nothing
    else meanwhile. The trial actor that would remove the group then waits for resources of its own.

    Args:
        run: the mark of this driver's worker groups.
    """

    PAUSE = 3.0  # seconds between two removals
    WATCH = 60.0  # seconds; after that long Ray has noticed every death

    def __init__(self, run: str) -> None:
        self._run = run
        self._until = 0.0
        self._next = 0.0

    def on_trial_recover(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Watch for abandoned worker groups after a fault that is retried."""
        self._until = time.monotonic() + self.WATCH

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Watch for abandoned worker groups after a fault that ends a cell."""
        self._until = time.monotonic() + self.WATCH

    def on_step_end(self, iteration: int, trials: list, **info: Any) -> None:
        """Remove abandoned worker groups every few seconds during a watch. Tune calls it in each turn of its loop."""
        now = time.monotonic()
        if self._next <= now < self._until:
            remove_abandoned(self._run)
            self._next = now + self.PAUSE


def _last_failure(trial: Any) -> str:
    """Return why the last attempt failed, in one line."""
    return explain_attempt(ray_internals.last_failure(trial))
