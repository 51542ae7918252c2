"""The reduction of checkpoints while a study runs: each cell that ends gives up what `--keep` does not ask for."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from raysearch.core import UserError
from raysearch.engine.options import Run
from raysearch.engine.trials.jobs import Job, Listener
from raysearch.inspection import kept_checkpoints
from raysearch.inspection.cell_choice import may_represent
from raysearch.runs import results
from raysearch.runs.retention import Keep


class CheckpointReducer(Listener):
    """Reduces the checkpoints of cells that have finished. It must hear of an end after the cell was stored.

    A cell keeps its last state under `Keep.BEST` as long as it may become the one with its variant's median metric.

    Args:
        run: the run's directory and record.
        storage: path or URI of the run's checkpoints.
        keep: what stays.
        planned: variant -> its cells. Those of other variants keep their last state until the study ends.
        warn: shows the user that the store refuses.
    """

    def __init__(
        self, run: Run, storage: str, keep: Keep, planned: Mapping[str, Sequence[str]], warn: Callable[[str], None]
    ) -> None:
        self._run = run
        self._storage = storage
        self._keep = keep
        self._planned = planned
        self._warn = warn
        self._reader = results.CellReader(run.cells)
        self._removed: set[str] = set()  # cells without a state
        self._has_warned = False

    def ended(self, job: Job, record: dict[str, Any]) -> None:
        """Reduce the cell's states, and those of the variant's cells that cannot be chosen any more."""
        try:
            if record["status"] == "finished":
                kept_checkpoints.reduce_states(self._storage, job.cell, self._keep is not Keep.NONE)
            if self._keep is Keep.BEST and job.variant in self._planned:
                self._remove_others(job.variant)
        except (UserError, OSError) as error:  # the study is worth more than the space
            if not self._has_warned:
                self._has_warned = True
                self._warn(f"checkpoints could not be removed ({error}); `raysearch prune` removes them later")

    def _remove_others(self, variant: str) -> None:
        cells = self._planned[variant]
        rows = [{**row, "variant": variant} for row in self._reader.read(cells).values()]
        staying = may_represent(self._run.record, rows, variant, len(cells) - len(rows))
        finished = {row["cell"] for row in rows if row["status"] == "finished"}
        for cell in finished - staying - self._removed:
            kept_checkpoints.reduce_states(self._storage, cell, keep_last=False)
            self._removed.add(cell)
