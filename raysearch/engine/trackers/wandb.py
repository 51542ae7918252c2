"""Weights & Biases: a run per cell under the cell's hash, in a project per study and a group per variant.

With a key (`WANDB_API_KEY`, or an entry of `wandb login`) runs are sent to the server, step by step. Without one, or
with `WANDB_MODE=offline`, they are files that `wandb sync` uploads later. An offline run cannot be continued: a second
one replaces the first when both are uploaded. So an offline run is written whole when its cell ends, and written anew
when the study has been judged.
"""

import netrc
import os
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import wandb

from raysearch.engine.trackers.tracker import Numbers, Outcome, TrackedCell

_SERVER = "https://api.wandb.ai"


def open_tracker(folder: Path, study: str) -> "OnlineTracker | OfflineTracker":
    """Return the tracker that the environment asks for: online with a key, else offline."""
    mode = os.environ.get("WANDB_MODE") or ("online" if _has_key() else "offline")
    if mode == "online":
        return OnlineTracker(folder, study)
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # offline means that nothing is sent
    return OfflineTracker(folder, study)


class OfflineTracker:
    """Writes offline runs.

    Args:
        folder: the directory of the runs, below which the library puts `wandb/`.
        study: the study's name, which is the project.
    """

    def __init__(self, folder: Path, study: str) -> None:
        self._folder = folder
        self._study = study

    def log_step(self, cell: TrackedCell, step: int, values: Numbers) -> None:
        """Do nothing: an offline run is written when its cell has ended."""

    def finish(self, cell: TrackedCell, outcome: Outcome) -> None:
        """Write the whole run. It replaces an earlier one of the same cell."""
        for earlier in (self._folder / "wandb").glob(f"offline-run-*-{cell.cell}"):
            shutil.rmtree(earlier)
        run = _open_run(self._folder, self._study, cell, "offline")
        for step, values in enumerate(outcome.history, start=1):
            run.log(dict(values), step=step)
        _finish(run, outcome)

    def judge(self, cell: TrackedCell, outcome: Outcome) -> None:
        """Write the run again, with its verdict."""
        self.finish(cell, outcome)

    def close(self) -> None:
        """Do nothing: every run is closed."""


class OnlineTracker:
    """Sends runs to the server, and continues those that it has.

    Args:
        folder: the directory of the library's files.
        study: the study's name, which is the project.
    """

    def __init__(self, folder: Path, study: str) -> None:
        self._folder = folder
        self._study = study
        self._runs: dict[str, Any] = {}  # of running cells

    def log_step(self, cell: TrackedCell, step: int, values: Numbers) -> None:
        """Send a step."""
        if cell.cell not in self._runs:
            self._runs[cell.cell] = _open_run(self._folder, self._study, cell, "online")
        self._runs[cell.cell].log(dict(values), step=step)

    def finish(self, cell: TrackedCell, outcome: Outcome) -> None:
        """Send final metrics, and end the run."""
        run = self._runs.pop(cell.cell, None) or _open_run(self._folder, self._study, cell, "online")
        _finish(run, outcome)

    def judge(self, cell: TrackedCell, outcome: Outcome) -> None:
        """Open the run again to send the verdict."""
        self.finish(cell, outcome)

    def close(self) -> None:
        """End the runs of cells that have not ended. They continue under the same id."""
        for run in self._runs.values():
            run.finish()


def _open_run(folder: Path, study: str, cell: TrackedCell, mode: Any) -> Any:  # wandb has literals for modes
    settings = wandb.Settings(
        console="off", silent=True, disable_git=True, save_code=False, disable_job_creation=True, x_disable_stats=True
    )
    return wandb.init(
        project=study,
        id=cell.cell,
        name=cell.name,
        group=cell.variant,
        dir=str(folder),
        mode=mode,
        resume="allow" if mode == "online" else None,
        reinit="create_new",
        config={"variant": cell.variant, "seed": cell.seed, **cell.config},
        settings=settings,
    )


def _finish(run: Any, outcome: Outcome) -> None:
    run.summary.update({**outcome.final_metrics, "status": outcome.status})
    run.summary.update(dict(outcome.verdict))
    if outcome.error:
        run.summary["error"] = outcome.error
    run.finish(exit_code=0 if outcome.status != "failed" else 1)


def _has_key() -> bool:
    """Return whether the library would find a key of its server, in the environment or in `.netrc`."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or _SERVER).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
