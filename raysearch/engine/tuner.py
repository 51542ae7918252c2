"""A plan's missing cells run by Ray Tune on warm worker groups; every cell is stored the moment it ends."""

import os
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ray import tune

from raysearch.engine.train_loop import Build, Source
from raysearch.engine.trial import Trial
from raysearch.engine.worker_group import GroupSpec

RETRIES = 3  # of a cell whose worker group was lost

# Tune's own record is a convenience: results are stored by us, and Tune's files are thrown away.
_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
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
    """What a trial takes."""

    slots: int
    workers: int = 1
    cpus: int = 1  # a worker
    gpus: float = 0.0  # a worker


@dataclass(frozen=True)
class Job:
    """A cell as the engine needs it."""

    cell: str
    name: str  # what people see: the variant and the seed
    config: dict[str, Any]
    seed: int


class Listener:
    """What happens to cells; override what is of interest."""

    def started(self, job: Job) -> None: ...

    def stepped(self, job: Job, report: dict[str, Any], steps: int) -> None: ...

    def ended(self, job: Job, record: dict[str, Any]) -> None: ...


def run(jobs: Sequence[Job], build: Build, source: Source | None, resources: Resources, listener: Listener) -> bool:
    """Run cells to their end; Ray is connected already.

    Args:
        jobs: the cells that are missing.
        build: makes a task inside a worker.
        source: of the images.
        resources: of a trial, and how many trials at a time.
        listener: is told of every start, step and end, in this process.

    Returns:
        False when the user stopped it before the last cell ended.
    """
    group = GroupSpec(
        run=uuid.uuid4().hex,
        slots=resources.slots,
        build=build,
        source=source,
        workers=resources.workers,
        cpus=resources.cpus,
        gpus=resources.gpus,
    )
    cells = {job.cell: (job.config, job.seed) for job in jobs}
    # A trial actor takes next to nothing: Ray Train asks for what the workers need, so nested requests cannot deadlock.
    trainable = tune.with_resources(
        tune.with_parameters(Trial, group=group, cells=cells), tune.PlacementGroupFactory([{"memory": 1}])
    )
    callback = _Forward({job.cell: job for job in jobs}, listener)
    names = {job.cell: job.name for job in jobs}
    with _environment(), tempfile.TemporaryDirectory(prefix="raysearch-tune-") as storage:
        tuner = tune.Tuner(
            trainable,
            param_space={"cell": tune.grid_search([job.cell for job in jobs])},
            tune_config=tune.TuneConfig(
                max_concurrent_trials=resources.slots,
                reuse_actors=True,
                trial_name_creator=lambda trial: names[trial.config["cell"]],
                trial_dirname_creator=lambda trial: trial.config["cell"],
            ),
            run_config=tune.RunConfig(
                name="study",
                storage_path=storage,
                callbacks=[callback],
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                verbose=0,
            ),
        )
        tuner.fit()
    return callback.left == 0


class _Forward(tune.Callback):
    """Tune's callbacks as a listener's."""

    def __init__(self, jobs: dict[str, Job], listener: Listener) -> None:
        self.jobs, self.listener, self.left = jobs, listener, len(jobs)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks for a restore that is never asked for

    def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self.listener.started(self.jobs[trial.config["cell"]])

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict[str, Any], **info: Any) -> None:
        job = self.jobs[trial.config["cell"]]
        if result.get("cell") != job.cell:
            return
        if "record" in result:
            self._ended(job, trial, result["record"])
        else:
            self.listener.stepped(job, result["report"], result["steps"])

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        job = self.jobs[trial.config["cell"]]
        reason = str(trial.get_pickled_error() or "the worker group was lost")
        record = {"cell": job.cell, "status": "failed", "error": " ".join(reason.split())[-500:]}
        self._ended(job, trial, record | {"metric_ids": "{}", "history": "[]"})

    def _ended(self, job: Job, trial: Any, record: dict[str, Any]) -> None:
        self.left -= 1
        self.listener.ended(job, record | {"seed": job.seed, "attempts": 1 + trial.num_failures})


@contextmanager
def _environment() -> Iterator[None]:
    """Tune reads its settings from the environment; put back what was there."""
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
