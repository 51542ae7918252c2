"""The cells of an explanation as jobs, step by step of the path and look by look, whose workers stay warm."""

from collections.abc import Callable, Iterable, Mapping

from raysearch.engine.drivers.explanation.planned_cells import ExplanationCells, PlannedCells, Row
from raysearch.engine.trials.jobs import Job, Listener
from raysearch.studies.design import Cell


class ExplanationJobs(Listener):
    """Hands out the cells that choose the next change; after the last change those that judge the path, or its looks.

    It must hear of every end, after the results are stored. A cell that failed for a reason that is no result, such as
    a full disk, will run again. It keeps its step from being chosen.

    Args:
        cells: finds the cells.
        ended: cells that need not run, and their rows.
        read: returns the rows of cells that have ended, by cell.
        is_result: returns whether a row counts.
        changed: is called when the plan has grown.

    Attributes:
        planned: the cells that are known to be needed, and the paths so far.
    """

    def __init__(
        self,
        cells: ExplanationCells,
        ended: Mapping[str, Row],
        read: Callable[[Iterable[str]], Mapping[str, Row]],
        is_result: Callable[[Row], bool],
        changed: Callable[[], object],
    ) -> None:
        self._cells = cells
        self._ended = dict(ended)
        self._read = read
        self._is_result = is_result
        self._changed = changed
        self._blocked: set[str] = set()
        self._handed_out: set[str] = set()
        self._prepared: set[str] = set()  # pre-trainings
        self.planned: PlannedCells = cells.planned(self._ended)
        self._missing = {cell.hash: cell for cell in self.planned.missing(self._ended)}

    @property
    def blocked(self) -> int:
        """Number of cells that keep a step from being chosen, or the path from being judged, in this call."""
        return len(self._blocked)

    def missing(self) -> list[Cell]:
        """Return the cells of the running step that have not ended."""
        return list(self._missing.values())

    def set_prepared(self, pre_trainings: Iterable[Cell]) -> None:
        """Allow the cells that start from these pre-trainings, which have ended."""
        self._prepared |= {cell.hash for cell in pre_trainings}

    def next(self) -> Job | None:
        """Return the next cell of the running step; None if all of them run or have ended, or need pre-trainings."""
        waiting = (cell for key, cell in self._missing.items() if key not in self._handed_out)
        cell = next(filter(self._may_start, waiting), None)
        if cell is None:
            return None
        self._handed_out.add(cell.hash)
        from raysearch.engine.drivers import session  # which needs Ray: an explanation with nothing to run starts none

        return session.make_job(cell)

    def exhausted(self) -> bool:
        """Return whether no job will come any more; the running step may need pre-trainings first."""
        waiting = [cell for key, cell in self._missing.items() if key not in self._blocked]
        return not any(cell.hash in self._handed_out or self._may_start(cell) for cell in waiting)

    def count_cells(self) -> int:
        """Return the number of cells that are planned so far."""
        return len({cell.hash for cell in self.planned.cells})

    def count_ended(self) -> int:
        """Return how many of these have ended."""
        return len({cell.hash for cell in self.planned.cells} & self._ended.keys())

    def ended(self, job: Job, record: Mapping[str, object]) -> None:
        """Add a cell's row as it was stored; plan the next step if that was the last cell of one."""
        row = self._read([job.cell])[job.cell]
        if not self._is_result(row):
            self._blocked.add(job.cell)
            return
        self._ended[job.cell] = row
        self._missing.pop(job.cell, None)
        if not self._missing:
            self.planned = self._cells.planned(self._ended)
            self._missing = {cell.hash: cell for cell in self.planned.missing(self._ended)}
            self._changed()

    def _may_start(self, cell: Cell) -> bool:
        return cell.start is None or cell.start.hash in self._prepared
