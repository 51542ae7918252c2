"""A cell being run by Ray Tune: the trial actor holds a warm worker group and drives it step by step."""

import json
from typing import Any

from ray import tune

from raysearch.engine.trials import schedulers
from raysearch.engine.trials.jobs import Job
from raysearch.engine.trials.mailbox import Begin, Step
from raysearch.engine.trials.worker_group import GroupSpec, WorkerGroup
from raysearch.runs.checkpoints import Checkpoints
from raysearch.runs.objective import Objective


class CellTrial(tune.Trainable):
    """Tune's config carries a job; the trial's id is the cell's hash.

    The actor is used again for the next cell (`reset_config`), and with it the worker group. A cell that cannot go on
    ends as a failed result and leaves the group as it is; a group that is lost raises, Tune tries the cell again, and
    it goes on from its checkpoint, as it does when a scheduler paused it.
    """

    _job: Job
    _settings: dict[str, Any]  # where a population moved the config to
    _resumed: dict[str, Any] | None  # what `save_checkpoint` returned, when Tune goes on with a paused trial
    _error: str | None
    _steps: int
    _seconds: float
    _attempts: int
    _history: list[dict[str, Any]]

    def setup(
        self,
        config: dict[str, Any],
        group: GroupSpec,
        storage: str | None = None,
        objective: Objective | None = None,
        limit: float | None = None,
    ) -> None:
        self._checkpoints_at, self._objective, self._limit = storage, objective, limit
        self._group = WorkerGroup(group)
        self._gpus = group.gpus * group.workers
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._job = Job.decode(new_config["job"])
        self._settings = {path: new_config[path] for path in self._job.moves}
        self._resumed, self._begun = None, False
        return True

    def train_buffered(self, buffer_time_s: float, max_buffer_length: int = 1000) -> list[dict[str, Any]]:
        """Tune's: several steps together. What a fault comes after is lost to Tune, which counts retries by it.

        So a cell that was begun before tells its first step at once: it got on.
        """
        first = not self._begun
        if first:
            self._begin()
        return super().train_buffered(0.0 if first and self._attempts > 1 else buffer_time_s, max_buffer_length)

    def step(self) -> dict[str, Any]:
        if not self._begun:
            self._begin()
        if self._error is None:
            reply = self._group.ask(Step(), self._job.name, self._limit)
            self._error = reply.error
            self._seconds += reply.seconds
        if self._error is not None:
            return self._end("failed", {}, {})
        if len(self._history) < self._steps:
            self._history.append(reply.report)
        if reply.metrics is not None:
            return self._end("finished", reply.metrics, reply.metric_ids or {})
        # Should the scheduler stop it now, the last figure of the held-out part is what it has.
        result = self._result(reply.report)
        last = {self._objective.metric: result.get(self._objective.metric)} if self._objective else {}
        return result | {"so_far": json.dumps(self._record("stopped") | last)}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Tune pauses the trial, or lets another take its state over: the state stays in the run's storage."""
        assert self._checkpoints_at is not None
        step = len(self._history)
        return {"cell": self.trial_id, "step": step, "name": Checkpoints(self._checkpoints_at, self.trial_id).pin(step)}

    def load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._resumed = checkpoint

    def cleanup(self) -> None:
        self._group.stop()

    def _begin(self) -> None:
        cell, taken_over = self.trial_id, None
        if self._resumed and self._resumed["cell"] != cell:
            taken_over = (self._resumed["cell"], self._resumed["name"])
        self._attempts = 1
        if self._checkpoints_at and self._resumed is None:
            self._attempts = Checkpoints(self._checkpoints_at, cell).count_attempt()
        command = Begin(
            cell=cell,
            config=self._job.config,
            seed=self._job.seed,
            storage=self._checkpoints_at,
            objective=self._objective,
            settings=self._settings,
            start=self._job.start,
            take_over=taken_over,
        )
        reply = self._group.ask(command, self._job.name, self._limit)
        self._error = reply.error
        self._steps = reply.report.get("steps", 0)
        self._history = list(reply.history)
        self._seconds = reply.seconds + reply.spent
        self._begun = True

    def _result(self, report: dict[str, Any]) -> dict[str, Any]:
        """What schedulers and listeners look at. The rest is text: Tune keeps statistics of every number it sees."""
        trained = schedulers.count_trained(self._history)
        result: dict[str, Any] = {"report": json.dumps(report), "steps": self._steps, schedulers.TIME_ATTR: trained}
        if trained and self._objective and self._objective.metric in report:
            result[self._objective.metric] = report[self._objective.metric]
        return result

    def _end(self, status: str, metrics: dict[str, Any], metric_ids: dict[str, str]) -> dict[str, Any]:
        record = self._record(status) | metrics | {"metric_ids": json.dumps(metric_ids)}
        last = self._history[-1] if self._history and status == "finished" else {}
        return self._result(last) | {"done": True, "record": json.dumps(record)}

    def _record(self, status: str) -> dict[str, Any]:
        return {
            "cell": self.trial_id,
            "status": status,
            "error": self._error,
            "seconds": self._seconds,
            "gpu_seconds": self._seconds * self._gpus,
            "epochs": sum(step.get("epochs", 1) for step in self._history),
            "epoch_seconds": epoch_seconds(self._history),
            "attempts": self._attempts,
            "metric_ids": "{}",
            "history": json.dumps(self._history),
        }


def epoch_seconds(history: list[dict[str, Any]]) -> float | None:
    """Mean seconds an epoch, without the warm-up; None where no step says how long it took.

    >>> epoch_seconds([{"phase": "warmup", "seconds": 1.0, "epochs": 5}, {"seconds": 6.0, "epochs": 2}])
    3.0
    """
    steps = [step for step in history if step.get("phase") != "warmup" and "seconds" in step]
    epochs = sum(step.get("epochs", 1) for step in steps)
    return sum(step["seconds"] for step in steps) / epochs if epochs else None
