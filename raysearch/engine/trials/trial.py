"""A cell while Ray Tune runs it: the trial actor holds a warm worker group and drives it step by step."""

import json
from typing import Any

from ray import tune

from raysearch.engine.trials import jobs, mailbox, schedulers, worker_group
from raysearch.runs.checkpoints import Checkpoints


class CellTrial(tune.Trainable):
    """A trial actor. Tune's config carries a job, and the trial's id is the cell's hash.

    The actor is reused for the next cell (`reset_config`), and with it the worker group. A cell that cannot continue
    ends as a failed result and leaves the group as it is. A group that is lost raises; Tune then tries the cell again,
    which continues from its checkpoint, as it does when a scheduler paused it.
    """

    _job: jobs.Job
    _settings: dict[str, Any]  # dotted path -> value, as a population has moved the config
    _paused_state: dict[str, Any] | None  # what `save_checkpoint` returned, when Tune resumes a paused trial
    _begun: bool
    _error: str | None
    _device: str | None
    _steps: int
    _seconds: float
    _attempts: int
    _history: list[dict[str, Any]]

    def setup(
        self,
        config: dict[str, Any],
        group: worker_group.GroupSpec,
        storage: str | None = None,
        objective: jobs.Objective | None = None,
        limit: jobs.StepLimit | None = None,
    ) -> None:
        """Start the worker group, once per actor.

        Args:
            config: the config of the first trial.
            group: the specification of the worker group.
            storage: path or URI of the checkpoints; None keeps none.
            objective: chooses the best checkpoint, and is a scheduler's metric.
            limit: after which time a silent worker counts as hung; None: the default one.
        """
        self._storage_location = storage
        self._objective = objective
        self._limit = limit or jobs.StepLimit()
        self._slowest: float | None = None  # seconds of a training step, of all cells of this actor
        self._group = worker_group.WorkerGroup(group)
        self._is_first = True  # whether the group has given no result yet
        self._gpus = group.gpus * group.workers
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next cell; Tune calls this when it reuses the actor."""
        self._job = jobs.Job.decode(new_config["job"])
        self._settings = {path: new_config[path] for path in self._job.moves}
        self._paused_state = None
        self._begun = False
        return True

    def train_buffered(self, buffer_time_s: float, max_buffer_length: int = 1000) -> list[dict[str, Any]]:
        """Return the results of several steps together; Tune calls this.

        Tune discards buffered results when a trial fails, and counts retries by the results that it received. A cell
        that was begun before therefore reports its first step unbuffered, to show progress.
        """
        is_first = not self._begun
        if is_first:
            self._begin()
        is_retry = is_first and self._attempts > 1
        return super().train_buffered(0.0 if is_retry else buffer_time_s, max_buffer_length)

    def step(self) -> dict[str, Any]:
        """Run one step of the cell, and return Tune's result."""
        if not self._begun:
            self._begin()
        if self._error is None:
            reply = self._ask(mailbox.Step(), is_ordinary=0 < len(self._history) < self._steps - 1)
            self._error = reply.error
            self._device = reply.device or self._device
            self._seconds += reply.seconds
            if reply.report.get("phase") != "warmup":
                self._slowest = max(reply.seconds, self._slowest or 0.0)
        if self._error is not None:
            return self._end("failed", {}, {})
        if len(self._history) < self._steps:
            self._history.append(reply.report)
        if reply.metrics is not None:
            return self._end("finished", reply.metrics, reply.metric_ids or {})
        # If the scheduler stops the cell now, its record has the last value of the held-out part.
        result = self._result(reply.report)
        last = {self._objective.metric: result.get(self._objective.metric)} if self._objective else {}
        return result | {"so_far": json.dumps(self._record("stopped") | last)}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Pin the cell's state, when Tune pauses the trial or lets another take its state over.

        The state stays in the run's storage; Tune gets its name.
        """
        assert self._storage_location is not None
        self._error = self._ask(mailbox.Flush()).error
        step = len(self._history)
        name = Checkpoints(self._storage_location, self.trial_id).pin(step)
        return {"cell": self.trial_id, "step": step, "name": name}

    def load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember a pinned state, from which the cell will begin."""
        self._paused_state = checkpoint

    def cleanup(self) -> None:
        """Stop the worker group, when Tune ends the actor."""
        self._group.stop()

    def _begin(self) -> None:
        """Have the workers build the cell's task."""
        cell = self.trial_id
        take_over = None
        if self._paused_state and self._paused_state["cell"] != cell:
            take_over = (self._paused_state["cell"], self._paused_state["name"])
        self._attempts = 1
        if self._storage_location and self._paused_state is None:
            self._attempts = Checkpoints(self._storage_location, cell).count_attempt()
        command = mailbox.Begin(
            cell=cell,
            config=self._job.config,
            seed=self._job.seed,
            storage=self._storage_location,
            objective=self._objective,
            settings=self._settings,
            start=self._job.start,
            data_set=self._job.data_set,
            take_over=take_over,
        )
        reply = self._ask(command)
        self._error = reply.error
        self._device = reply.device
        self._steps = reply.report.get("steps", 0)
        self._history = list(reply.history)
        self._seconds = reply.seconds + reply.spent
        self._begun = True

    def _ask(self, command: mailbox.Command, is_ordinary: bool = False) -> mailbox.Reply:
        """Have the workers execute a command, within a time that follows from the slowest step if it is ordinary."""
        limit = self._limit.of_step(self._slowest if is_ordinary else None)
        return self._group.ask(command, self._job.name, limit)

    def _result(self, report: dict[str, Any]) -> dict[str, Any]:
        """Return what schedulers and listeners read. The rest is text, since Tune keeps statistics of every number."""
        trained = schedulers.count_trained(self._history)
        result: dict[str, Any] = {"report": json.dumps(report), "steps": self._steps, schedulers.TIME_ATTR: trained}
        result["is_first_of_group"] = self._is_first
        self._is_first = False
        if trained and self._objective and self._objective.metric in report:
            result[self._objective.metric] = report[self._objective.metric]
        return result

    def _end(self, status: str, metrics: dict[str, Any], metric_ids: dict[str, str]) -> dict[str, Any]:
        record = self._record(status) | metrics | {"metric_ids": json.dumps(metric_ids)}
        last = self._history[-1] if self._history and status == "finished" else {}
        return self._result(last) | {"done": True, "record": json.dumps(record)}

    def _record(self, status: str) -> dict[str, Any]:
        """Return the cell's row of the results, without its metrics."""
        return {
            "cell": self.trial_id,
            "status": status,
            "error": self._error,
            "seconds": self._seconds,
            "gpu_seconds": self._seconds * self._gpus,
            "epochs": sum(step.get("epochs", 1) for step in self._history),
            "epoch_seconds": epoch_seconds(self._history),
            "attempts": self._attempts,
            "device": self._device,
            "metric_ids": "{}",
            "history": json.dumps(self._history),
        }


def epoch_seconds(history: list[dict[str, Any]]) -> float | None:
    """Return the mean seconds per epoch without the warm-up; None if no step reports its duration.

    >>> epoch_seconds([{"phase": "warmup", "seconds": 1.0, "epochs": 5}, {"seconds": 6.0, "epochs": 2}])
    3.0
    """
    steps = [step for step in history if step.get("phase") != "warmup" and "seconds" in step]
    epochs = sum(step.get("epochs", 1) for step in steps)
    return sum(step["seconds"] for step in steps) / epochs if epochs else None
