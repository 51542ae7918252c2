"""Jobs run by Ray Tune on warm worker groups; whoever listens hears of every start, step and end."""

import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ray import tune
from ray.tune.schedulers import TrialScheduler

from raysearch.core import environment
from raysearch.core.interrupt import Interrupt
from raysearch.engine.trials.callbacks import RETRIES, PlacementGroupReaper, Stopper, TuneListenerCallback
from raysearch.engine.trials.job_queue import JobQueue
from raysearch.engine.trials.jobs import Jobs, Listener
from raysearch.engine.trials.lost_nodes import LostNodes
from raysearch.engine.trials.schedulers import FifoScheduler, limit_concurrency
from raysearch.engine.trials.train_loop import BuildTask, ImageSource
from raysearch.engine.trials.trial import CellTrial
from raysearch.engine.trials.worker_group import MAX_SLOTS, GroupSpec, remove_all
from raysearch.runs.objective import Objective
from raysearch.storage import join_uri

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
class CheckpointPolicy:
    """What is kept of a cell while it runs, and how long it may be silent.

    Args:
        storage: path or URI of the checkpoints; None keeps none, and a cell that is retried starts over.
        objective: of the best checkpoint, and what an early-stopping scheduler looks at.
        limit: seconds that a step may take before its worker counts as hung; None waits for ever.
    """

    storage: str | None = None
    objective: Objective | None = None
    limit: float | None = None


def run_trials(
    jobs: Jobs,
    build: BuildTask,
    source: ImageSource | None,
    resources: Resources,
    listener: Listener,
    keeping: CheckpointPolicy | None = None,
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
    keeping, interrupt = keeping or CheckpointPolicy(), interrupt or Interrupt()
    group = GroupSpec(
        run=uuid.uuid4().hex,
        build=build,
        source=source,
        workers=resources.workers,
        cpus=resources.cpus,
        gpus=resources.gpus,
    )
    queue = JobQueue(jobs, resources.slots_now, interrupt)
    forward = TuneListenerCallback(queue, listener, interrupt)
    # A trial actor takes next to nothing: Ray Train asks for what the workers need, so nested requests cannot deadlock.
    trainable = tune.with_resources(
        tune.with_parameters(
            CellTrial, group=group, storage=keeping.storage, objective=keeping.objective, limit=keeping.limit
        ),
        tune.PlacementGroupFactory([{"memory": 1}]),
    )
    # Tune reads its settings from the environment.
    settings = _ENVIRONMENT if scheduler is None else {**_ENVIRONMENT, "TUNE_RESULT_BUFFER_LENGTH": "1"}
    with environment.variables_set(settings), _tune_storage(keeping, scheduler) as storage, interrupt.caught():
        tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=queue,
                scheduler=limit_concurrency(scheduler, queue.room, resources.slots_now())
                if scheduler
                else FifoScheduler(),
                reuse_actors=True,
                trial_name_creator=lambda trial: queue.given[trial.trial_id].name,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="study",
                storage_path=storage,
                callbacks=[forward, LostNodes(forward.forgive), PlacementGroupReaper(group.run)],
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                stop=Stopper(interrupt),
                verbose=0,
            ),
        ).fit()
    remove_all(group.run)
    if forward.error is not None:
        raise forward.error
    return jobs.exhausted() and not forward.open


@contextmanager
def _tune_storage(keeping: CheckpointPolicy, scheduler: TrialScheduler | None) -> Iterator[str]:
    """Where Tune puts its files: thrown away, but every node must reach what a pause leaves there."""
    if scheduler is not None and keeping.storage is not None and "://" in keeping.storage:
        yield join_uri(keeping.storage, "tune")
        return
    with tempfile.TemporaryDirectory(prefix="raysearch-tune-") as folder:
        yield folder
