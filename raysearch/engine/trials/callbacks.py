"""What Ray Tune calls while a study runs: ends are told to a listener, a wish to stop to Tune, leftovers removed."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ray import tune

from raysearch.core.interrupt import Interrupt
from raysearch.engine.trials.failures import explain_attempt
from raysearch.engine.trials.job_queue import JobQueue, forget
from raysearch.engine.trials.jobs import Listener
from raysearch.engine.trials.worker_group import remove_abandoned

RETRIES = 3  # of a cell whose worker group was lost, without a step in between and with all nodes there


class Stopper(tune.Stopper):
    """Ends the whole run when the user wants it."""

    def __init__(self, interrupt: Interrupt) -> None:
        self._interrupt = interrupt

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._interrupt.wanted

    def __getstate__(self) -> dict[str, Any]:
        return {}


class TuneListenerCallback(tune.Callback):
    """Tune's callbacks as a listener's. Tune would take an error of a listener for one of the trial, and try again."""

    def __init__(self, queue: JobQueue, listener: Listener, interrupt: Interrupt) -> None:
        self.queue, self.listener, self._interrupt = queue, listener, interrupt
        self.open: dict[str, dict[str, Any]] = {}  # cells that have begun -> their record, should they be stopped now
        self.error: Exception | None = None
        self._faults: dict[str, int] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks for a restore that is never asked for

    def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self.open.setdefault(trial.trial_id, {})
        with self._caught():
            self.listener.started(self.queue.given[trial.trial_id])

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict[str, Any], **info: Any) -> None:
        cell = trial.trial_id
        if cell not in self.open:
            return
        self._faults[cell] = self._faults.get(cell, 0) + trial.run_metadata.num_failures
        trial.run_metadata.num_failures = 0  # it went on: retries are counted from here
        if "record" in result:
            self._ended(trial, json.loads(result["record"]))
        else:
            self.open[cell] = json.loads(result["so_far"])
            with self._caught():
                self.listener.stepped(self.queue.given[cell], json.loads(result["report"]), result["steps"])

    def forgive(self, trial: Any) -> None:
        """Take back the last fault of a trial, which was not its own; it still counts as an attempt."""
        if trial.run_metadata.num_failures > 0:
            trial.run_metadata.num_failures -= 1
            self._faults[trial.trial_id] = self._faults.get(trial.trial_id, 0) + 1

    def on_trial_recover(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        with self._caught():
            self.listener.retried(self.queue.given[trial.trial_id], _reason(trial))

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        if trial.trial_id in self.open and not self.queue.stopping():  # it has not ended: the scheduler stopped it
            self._ended(trial, self.open[trial.trial_id])
        forget(trials, trial)

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        record = {**self.open.get(trial.trial_id, {}), "cell": trial.trial_id, "status": "failed"}
        record["error"] = f"given up after {RETRIES + 1} attempts without a step in between, the last: {_reason(trial)}"
        trial.run_metadata.num_failures -= 1  # the last was not followed by an attempt
        self._ended(trial, {"metric_ids": "{}", "history": "[]", "attempts": 1} | record)
        forget(trials, trial)

    def _ended(self, trial: Any, record: dict[str, Any]) -> None:
        cell = trial.trial_id
        self.open.pop(cell, None)
        job = self.queue.given.pop(cell)
        faults = self._faults.pop(cell, 0) + trial.run_metadata.num_failures
        attempts = max(record["attempts"], 1 + faults)
        with self._caught():
            self.listener.ended(job, record | {"seed": job.seed, "attempts": attempts})

    @contextlib.contextmanager
    def _caught(self) -> Iterator[None]:
        """Keep a listener's error for the end of the run, which it is: the store may be full, for one."""
        try:
            yield
        except Exception as error:
            self.error = self.error or error
            self._interrupt.wanted = True


class PlacementGroupReaper(tune.Callback):
    """Removes what killed trial actors left behind, for some time after each fault.

    Ray places the group of workers of a killed node anew, again and again where there is no room; meanwhile it places
    nothing else, and the trial actor that would remove the group waits for a place of its own.
    """

    PAUSE, LONG_ENOUGH = 3.0, 60.0  # seconds; after the latter Ray has noticed every death

    def __init__(self, run: str) -> None:
        self._run, self._until, self._next = run, 0.0, 0.0

    def on_trial_recover(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self._until = time.monotonic() + self.LONG_ENOUGH

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self._until = time.monotonic() + self.LONG_ENOUGH

    def on_step_end(self, iteration: int, trials: list, **info: Any) -> None:
        now = time.monotonic()
        if self._next <= now < self._until:
            remove_abandoned(self._run)
            self._next = now + self.PAUSE

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _reason(trial: Any) -> str:
    """Why the last attempt failed; Tune keeps the errors of all attempts in a file beside the trial."""
    text = ""
    with contextlib.suppress(OSError, TypeError):
        text = Path(trial.error_file).read_text()
    return explain_attempt(text.rpartition("Failure #")[2])
