"""Runs jobs to their end by Ray Tune, on warm worker groups, and reports every start, step and end to a listener."""

import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ray import tune
from ray.tune.schedulers import TrialScheduler

from raysearch.core import Interrupt, environment
from raysearch.engine import ray_internals
from raysearch.engine.trials import callbacks, job_queue, lost_nodes, schedulers, worker_group
from raysearch.engine.trials.image_source import ImageSource
from raysearch.engine.trials.jobs import Jobs, Listener, Objective, StepLimit
from raysearch.engine.trials.trial import CellTrial
from raysearch.storage import join_uri
from raysearch.tasks.builders import BuildTask


@dataclass(frozen=True)
class Capacity:
    """How many trials may run, and what each of them takes."""

    slots: int | Callable[[], int]  # trials at a time; a cluster grows and shrinks
    workers: int = 1  # per trial
    cpus: int = 1  # per worker
    gpus: float = 0.0  # per worker
    on_head: bool = False  # whether trial actors run on the head

    def current_slots(self) -> int:
        """Return how many trials may run at the moment."""
        return min(worker_group.MAX_SLOTS, self.slots if isinstance(self.slots, int) else self.slots())


@dataclass(frozen=True)
class CheckpointPolicy:
    """What is kept of a cell while it runs, and how long a step may take.

    Args:
        storage: path or URI of the checkpoints; None keeps none, and a cell that is retried starts over.
        objective: chooses the best checkpoint, and is what an early-stopping scheduler compares trials by.
        limit: after which time a worker that does not finish a step counts as hung.
    """

    storage: str | None = None
    objective: Objective | None = None
    limit: StepLimit = field(default_factory=StepLimit)


def run_trials(
    jobs: Jobs,
    build: BuildTask,
    source: ImageSource | None,
    capacity: Capacity,
    listener: Listener,
    checkpoints: CheckpointPolicy | None = None,
    scheduler: TrialScheduler | None = None,
    interrupt: Interrupt | None = None,
) -> bool:
    """Run cells to their end on the Ray cluster that this process is connected to.

    Args:
        jobs: the source of the cells.
        build: makes a task inside a worker.
        source: the source of the images; None for tasks that need none.
        capacity: how many trials may run, and what each takes.
        listener: hears of every start, step and end, in this process.
        checkpoints: the place of the checkpoints, and the time limit of a step.
        scheduler: stops cells early; None runs every cell to its end.
        interrupt: whether the user wants to stop.

    Returns:
        Whether every cell ended; False when the user stopped the run before.

    Raises:
        Exception: the first that the listener raised; no cell was begun after it.
    """
    checkpoints = checkpoints or CheckpointPolicy()
    interrupt = interrupt or Interrupt()
    group = worker_group.GroupSpec(
        run=uuid.uuid4().hex,
        build=build,
        source=source,
        workers=capacity.workers,
        cpus=capacity.cpus,
        gpus=capacity.gpus,
    )
    queue = job_queue.JobQueue(jobs, capacity.current_slots, interrupt)
    callback = callbacks.TuneListenerCallback(queue, listener, interrupt)
    # A trial actor takes next to nothing. Ray Train asks for what the workers need, so nested requests cannot deadlock.
    trainable = tune.with_resources(
        tune.with_parameters(
            CellTrial,
            group=group,
            storage=checkpoints.storage,
            objective=checkpoints.objective,
            limit=checkpoints.limit,
        ),
        # Its mailbox runs in the same placement group, and so on the same node.
        tune.PlacementGroupFactory([{"memory": 1, **(ray_internals.ON_HEAD if capacity.on_head else {})}]),
    )
    variables = ray_internals.tune_environment(buffered=scheduler is None, max_trials=worker_group.MAX_SLOTS)
    if scheduler is None:
        scheduler_in_use = schedulers.FifoScheduler()
    else:
        scheduler_in_use = schedulers.limit_concurrency(scheduler, queue.has_room, capacity.current_slots())
    with (
        environment.variables_set(variables),
        _tune_storage(checkpoints, scheduler) as storage,
        ray_internals.signals_left_alone(),
        ray_internals.actors_inherit_environment(),
        interrupt.caught(),
    ):
        tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=queue,
                scheduler=scheduler_in_use,
                reuse_actors=True,
                trial_name_creator=lambda trial: queue.handed_out[trial.trial_id].name,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="study",
                storage_path=storage,
                callbacks=[callback, lost_nodes.LostNodes(callback.forgive), callbacks.PlacementGroupReaper(group.run)],
                failure_config=tune.FailureConfig(max_failures=callbacks.RETRIES),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                stop=callbacks.Stopper(interrupt),
                verbose=0,
                # Tune's default in a notebook clears the running cell's output, with the progress of the study.
                progress_reporter=tune.CLIReporter(),
            ),
        ).fit()
    worker_group.remove_all(group.run)
    if callback.error is not None:
        raise callback.error
    return jobs.exhausted() and not callback.open


@contextmanager
def _tune_storage(checkpoints: CheckpointPolicy, scheduler: TrialScheduler | None) -> Iterator[str]:
    """Yield where Tune puts its files. They are thrown away, but every node must reach what a pause leaves there."""
    if scheduler is not None and checkpoints.storage is not None and "://" in checkpoints.storage:
        yield join_uri(checkpoints.storage, "tune")
        return
    with tempfile.TemporaryDirectory(prefix="raysearch-tune-") as folder:
        yield folder
