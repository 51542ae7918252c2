"""A cell being run by Ray Tune: the trial actor holds a warm worker group and drives it step by step."""

import json
from typing import Any

from ray import tune

from raysearch.engine.mailbox import Begin, Step
from raysearch.engine.worker_group import GroupSpec, WorkerGroup


class Trial(tune.Trainable):
    """Tune's config names a cell; what it is made of comes with `cells`.

    The actor is used again for the next cell (`reset_config`), and with it the worker group. A cell that cannot go on
    ends as a failed result and leaves the group as it is; a group that is lost raises, and Tune tries the cell again.
    """

    _cell: str
    _error: str | None
    _steps: int
    _seconds: float
    _history: list[dict[str, Any]]

    def setup(self, config: dict[str, Any], group: GroupSpec, cells: dict[str, tuple[dict[str, Any], int]]) -> None:
        self._cells = cells
        self._group = WorkerGroup(group)
        self._gpus = group.gpus * group.workers
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        if self._error is None:
            reply = self._group.ask(Step())
            self._error = reply.error
            self._seconds += reply.seconds
        if self._error is not None:
            return self._end("failed", {}, {})
        self._history.append(reply.report)
        if reply.metrics is not None:
            return self._end("finished", reply.metrics, reply.metric_ids or {})
        return {"cell": self._cell, "report": reply.report, "steps": self._steps}

    def cleanup(self) -> None:
        self._group.stop()

    def _begin(self, config: dict[str, Any]) -> None:
        self._cell = config["cell"]
        reply = self._group.ask(Begin(*self._cells[self._cell]))
        self._error = reply.error
        self._steps = reply.report.get("steps", 0)
        self._history = []
        self._seconds = reply.seconds

    def _end(self, status: str, metrics: dict[str, float], metric_ids: dict[str, str]) -> dict[str, Any]:
        record = {
            "cell": self._cell,
            "status": status,
            "error": self._error,
            **metrics,
            "seconds": self._seconds,
            "gpu_seconds": self._seconds * self._gpus,
            "epochs": len(self._history),
            "metric_ids": json.dumps(metric_ids),
            "history": json.dumps(self._history),
        }
        return {"cell": self._cell, "done": True, "record": record, "steps": self._steps}
