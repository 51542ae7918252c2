"""Jobs run by Ray Tune on warm worker groups; whoever listens hears of every start, step and end."""

import contextlib
import json
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import TrialScheduler

from raysearch.engine.attempts import explain_attempt
from raysearch.engine.checkpoints import Objective
from raysearch.engine.jobs import Jobs, Listener
from raysearch.engine.queue import Queue, forget
from raysearch.engine.schedulers import InOrder, within
from raysearch.engine.train_loop import Build, Source
from raysearch.engine.trial import Trial
from raysearch.engine.worker_group import MAX_SLOTS, GroupSpec, remove_abandoned, remove_all
from raysearch.interrupt import Interrupt

RETRIES = 3  # of a cell whose worker group was lost, without a step in between

# Tune's own record is a convenience: results are stored by us, and Tune's files are thrown away.
_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a failed cell has no metric
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_MAX_PENDING_TRIALS_PG": str(MAX_SLOTS),
    "TUNE_RESULT_BUFFER_LENGTH": "1000",  # short steps are sent together...
    "TUNE_RESULT_BUFFER_MIN_TIME_S": "0.5",  # ...twice a second
    "TUNE_RESULT_BUFFER_MAX_TIME_S": "0.5",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
}


@dataclass(frozen=True)
class Resources:
    """What a trial takes, and how many there may be at the moment."""

    slots: int | Callable[[], int]
    workers: int = 1
    cpus: int = 1  # a worker
    gpus: float = 0.0  # a worker

    def slots_now(self) -> int:
        return min(MAX_SLOTS, self.slots if isinstance(self.slots, int) else self.slots())


@dataclass(frozen=True)
class Keeping:
    """What is kept of a cell while it runs, and how long it may be silent.

    Args:
        storage: path or URI of the checkpoints; None keeps none, and a cell that is retried starts over.
        objective: of the best checkpoint, and what an early-stopping scheduler looks at.
        limit: seconds that a step may take before its worker counts as hung; None waits for ever.
    """

    storage: str | None = None
    objective: Objective | None = None
    limit: float | None = None


def run(
    jobs: Jobs,
    build: Build,
    source: Source | None,
    resources: Resources,
    listener: Listener,
    keeping: Keeping | None = None,
    scheduler: TrialScheduler | None = None,
    interrupt: Interrupt | None = None,
) -> bool:
    """Run cells to their end; Ray is connected already.

    Args:
        jobs: where the cells come from.
        build: makes a task inside a worker.
        source: of the images.
        resources: of a trial, and how many trials at a time.
        listener: is told of every start, step and end, in this process.
        keeping: checkpoints and the time limit.
        scheduler: stops cells early; None runs all to their end.
        interrupt: whether the user wants to stop.

    Returns:
        False when the user stopped it before the last cell ended.

    Raises:
        Exception: the first that a listener raised; no cell is begun after it.
    """
    keeping, interrupt = keeping or Keeping(), interrupt or Interrupt()
    group = GroupSpec(
        run=uuid.uuid4().hex,
        build=build,
        source=source,
        workers=resources.workers,
        cpus=resources.cpus,
        gpus=resources.gpus,
    )
    queue = Queue(jobs, resources.slots_now, interrupt)
    forward = _Forward(queue, listener, interrupt)
    # A trial actor takes next to nothing: Ray Train asks for what the workers need, so nested requests cannot deadlock.
    trainable = tune.with_resources(
        tune.with_parameters(
            Trial, group=group, storage=keeping.storage, objective=keeping.objective, limit=keeping.limit
        ),
        tune.PlacementGroupFactory([{"memory": 1}]),
    )
    with _environment(buffered=scheduler is None), _tune_storage(keeping, scheduler) as storage, interrupt.caught():
        tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=queue,
                scheduler=within(scheduler, queue.room, resources.slots_now()) if scheduler else InOrder(),
                reuse_actors=True,
                trial_name_creator=lambda trial: queue.given[trial.trial_id].name,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="study",
                storage_path=storage,
                callbacks=[forward, _Sweep(group.run)],
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                stop=_Stopper(interrupt),
                verbose=0,
            ),
        ).fit()
    remove_all(group.run)
    if forward.error is not None:
        raise forward.error
    return jobs.exhausted() and not forward.open


class _Stopper(tune.Stopper):
    """Ends the whole run when the user wants it."""

    def __init__(self, interrupt: Interrupt) -> None:
        self._interrupt = interrupt

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._interrupt.wanted

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Forward(tune.Callback):
    """Tune's callbacks as a listener's. Tune would take an error of a listener for one of the trial, and try again."""

    def __init__(self, queue: Queue, listener: Listener, interrupt: Interrupt) -> None:
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


class _Sweep(tune.Callback):
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


@contextmanager
def _tune_storage(keeping: Keeping, scheduler: TrialScheduler | None) -> Iterator[str]:
    """Where Tune puts its files: thrown away, but every node must reach what a pause leaves there."""
    if scheduler is not None and keeping.storage is not None and "://" in keeping.storage:
        yield f"{keeping.storage}/tune"
        return
    with tempfile.TemporaryDirectory(prefix="raysearch-tune-") as folder:
        yield folder


@contextmanager
def _environment(buffered: bool) -> Iterator[None]:
    """Tune reads its settings from the environment; put back what was there."""
    wanted = _ENVIRONMENT if buffered else {**_ENVIRONMENT, "TUNE_RESULT_BUFFER_LENGTH": "1"}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
