"""Trackio: a project per study and a run per cell, in a SQLite database beside the run's results.

`TRACKIO_DIR` chooses another folder. A run is continued by its name, which ends with the beginning of the cell's hash.
"""

import contextvars
import os
from pathlib import Path
from typing import Any

from raysearch.engine.trackers.tracker import Numbers, Outcome, TrackedCell


class TrackioTracker:
    """Logs to Trackio.

    Args:
        folder: of the database, unless TRACKIO_DIR names another one.
        study: the study's name, which is the project.
    """

    def __init__(self, folder: Path, study: str) -> None:
        os.environ.setdefault("TRACKIO_DIR", str(folder))
        import trackio  # reads TRACKIO_DIR when it is imported

        self._library = trackio
        self._study = study
        self._runs: dict[str, Any] = {}  # of running cells

    def log_step(self, cell: TrackedCell, step: int, values: Numbers) -> None:
        """Log a step."""
        self._run(cell).log(dict(values), step=step)

    def finish(self, cell: TrackedCell, outcome: Outcome) -> None:
        """Log the final metrics as one more entry, and finish the run."""
        error = {"error": outcome.error} if outcome.error else {}
        self._run(cell).log({**outcome.final_metrics, "status": outcome.status, **error}, step=len(outcome.history))
        self._runs.pop(cell.cell).finish()

    def judge(self, cell: TrackedCell, outcome: Outcome) -> None:
        """Log the verdict as a further entry."""
        self._run(cell).log(dict(outcome.verdict), step=len(outcome.history))
        self._runs.pop(cell.cell).finish()

    def close(self) -> None:
        """Finish the runs of cells that have not ended. They continue under the same name."""
        for run in self._runs.values():
            run.finish()

    def _run(self, cell: TrackedCell) -> Any:
        if cell.cell not in self._runs:
            # In a context of its own: the library ends the run that is current when another one begins.
            self._runs[cell.cell] = contextvars.Context().run(
                self._library.init,
                project=self._study,
                name=f"{cell.name} {cell.cell[:8]}",
                group=cell.variant,
                config={"variant": cell.variant, "seed": cell.seed, **cell.config},
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        return self._runs[cell.cell]
