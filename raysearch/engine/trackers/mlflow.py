"""MLflow: an experiment per study, a run per cell, in a SQLite store beside the run's results.

`MLFLOW_TRACKING_URI` chooses another store or a server. A run is found again by a tag that holds the cell's hash.
"""

import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raysearch.engine.trackers.tracker import Numbers, Outcome, TrackedCell

# The library reports its use to its makers unless one of these is set.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

CELL = "raysearch.cell"  # tag that holds a cell's hash
_STATUSES = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
_MAX_BATCH = 100  # parameters or tags that a server takes at a time
_MAX_TEXT = 5000  # characters of a value


class MlflowTracker:
    """Logs to an MLflow store.

    Args:
        folder: where the store is, unless MLFLOW_TRACKING_URI names another one.
        study: the study's name.
    """

    def __init__(self, folder: Path, study: str) -> None:
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        self._client = MlflowClient(uri or f"sqlite:///{folder.resolve()}/mlflow.db")
        experiment = self._client.get_experiment_by_name(study)
        if experiment is not None:
            self._experiment = experiment.experiment_id
        else:
            artifacts = None if uri else (folder.resolve() / "artifacts").as_uri()
            self._experiment = self._client.create_experiment(study, artifact_location=artifacts)
        self._runs: dict[str, str] = {}  # cell -> id of its run

    def log_step(self, cell: TrackedCell, step: int, values: Numbers) -> None:
        """Log a metric per value."""
        self._log(self._run(cell), values, step)

    def finish(self, cell: TrackedCell, outcome: Outcome) -> None:
        """Log the final metrics, and end the run."""
        run = self._run(cell)
        self._log(run, outcome.final_metrics, len(outcome.history))
        if outcome.error:
            self._client.set_tag(run, "raysearch.error", _text(outcome.error))
        self._client.set_terminated(run, _STATUSES[outcome.status])

    def judge(self, cell: TrackedCell, outcome: Outcome) -> None:
        """Set the verdict as tags."""
        tags = [RunTag(f"raysearch.{name}", _text(value)) for name, value in outcome.verdict.items()]
        self._client.log_batch(self._run(cell), tags=tags)

    def close(self) -> None:
        """Do nothing: every call is stored at once."""

    def _log(self, run: str, values: Numbers, step: int) -> None:
        now = int(1000 * time.time())
        self._client.log_batch(run, metrics=[Metric(name, value, now, step) for name, value in values.items()])

    def _run(self, cell: TrackedCell) -> str:
        """Return the id of a cell's run, which is created if the store has none."""
        if cell.cell not in self._runs:
            matches = self._client.search_runs([self._experiment], f"tags.`{CELL}` = '{cell.cell}'", max_results=1)
            self._runs[cell.cell] = matches[0].info.run_id if matches else self._create(cell)
        return self._runs[cell.cell]

    def _create(self, cell: TrackedCell) -> str:
        tags: Mapping[str, Any] = {CELL: cell.cell, "raysearch.variant": cell.variant, "raysearch.seed": cell.seed}
        run = self._client.create_run(
            self._experiment, run_name=cell.name, tags={name: str(value) for name, value in tags.items()}
        )
        config = {"variant": cell.variant, "seed": cell.seed, **cell.config}
        params = [Param(name, _text(value)) for name, value in config.items()]
        for start in range(0, len(params), _MAX_BATCH):
            self._client.log_batch(run.info.run_id, params=params[start : start + _MAX_BATCH])
        return str(run.info.run_id)


def _text(value: Any) -> str:
    return (value if isinstance(value, str) else json.dumps(value))[:_MAX_TEXT]
