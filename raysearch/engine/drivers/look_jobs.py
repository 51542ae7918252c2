"""The cells of an adaptive study as jobs, look by look.

The cells on disk are the record. The running look and the undecided variants follow from them. So a driver that
continues after a kill, and two drivers of one study, come to the same verdicts.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from raysearch.engine.drivers.study_looks import StudyLooks
from raysearch.engine.trials.jobs import Job, Listener
from raysearch.studies.design import Cell

Row = Mapping[str, Any]


class LookJobs(Listener):
    """Hands out the cells of the running look, then those of the next look that will probably be needed.

    It must hear of every end, after the results are stored. A look is judged as soon as its last cell has ended. A cell
    that failed for a reason that is not a result will run again. It keeps its look from being judged.

    Args:
        looks: judges the study.
        read: returns the rows of cells that have ended, by cell.
        ended: cells that need not run, and their rows.
        is_result: returns whether a row counts, unlike that of a cell whose disk was full.

    Attributes:
        state: what the looks so far have given.
    """

    def __init__(
        self,
        looks: StudyLooks,
        read: Callable[[Iterable[str]], Mapping[str, Row]],
        ended: Mapping[str, Row],
        is_result: Callable[[Row], bool],
    ) -> None:
        self._looks = looks
        self._read = read
        self._ended = dict(ended)
        self._is_result = is_result
        self._before = set(ended)
        self._handed_out: set[str] = set()
        self._blocking: set[str] = set()  # failed for a reason that is not a result
        self._prepared: set[str] = set()  # pre-trainings
        self._early: list[Cell] = []
        self._early_known: tuple[int, int] | None = None  # looks judged and cells ended, when `_early` was found
        self.state = looks.judge(self._ended)
        self._plan_look()

    @property
    def over(self) -> bool:
        """Whether no look is left."""
        return self._looks.is_over(self.state)

    @property
    def blocked(self) -> int:
        """Number of cells that keep the running look from being judged in this call."""
        return len(self._blocking)

    def missing(self) -> list[Cell]:
        """Return the cells of the running look that have not ended, or failed for a reason that is not a result."""
        return [cell for cell in self._planned if cell.hash not in self._ended]

    def planned(self) -> set[str]:
        """Return the cells of all looks up to the running one, and those of later looks that have ended."""
        return {cell.hash for cell in self._planned} | self._ended.keys()

    def add_ended(self, rows: Mapping[str, Row]) -> None:
        """Take cells that ended elsewhere, before the first job."""
        self._ended |= rows
        self._before |= rows.keys()
        self._advance()

    def set_prepared(self, pre_trainings: Iterable[Cell]) -> None:
        """Allow the cells that start from these pre-trainings, which have ended."""
        self._prepared |= {cell.hash for cell in pre_trainings}

    def next(self) -> Job | None:
        """Return the next cell of the running look, or of the next one; None if there is none at the moment."""
        cell = self._next_of_look() or self._next_early()
        if cell is None:
            return None
        self._handed_out.add(cell.hash)
        from raysearch.engine.drivers import session  # which needs Ray: a study with nothing to run starts none

        return session.make_job(cell)

    def exhausted(self) -> bool:
        """Return whether no job will come any more; the running look may need pre-trainings first."""
        if self.over:
            return True
        waiting = [cell for cell in self._queue if cell.hash not in self._handed_out]
        return bool(waiting or self._blocking) and not any(self._may_start(cell) for cell in waiting)

    def count_cells(self) -> int:
        """Return the number of cells up to the running look, with those of later looks that were begun."""
        return len(self.planned() | self._handed_out)

    def count_ended(self) -> int:
        """Return how many of `count_cells` have ended."""
        return len(self._ended)

    def ended(self, job: Job, record: dict[str, Any]) -> None:
        """Add a cell's row as it was stored; judge the look if that was its last cell."""
        row = self._read([job.cell])[job.cell]
        if not self._is_result(row):
            self._blocking.add(job.cell)
            return
        self._ended[job.cell] = row
        self._advance()

    def _advance(self) -> None:
        """Judge the running look if all of its cells have ended."""
        if self.over or self.missing():
            return
        state = self._looks.judge(self._ended)
        assert state.judged > self.state.judged, "a look whose cells have ended is judged"
        self.state = state
        self._plan_look()

    def _plan_look(self) -> None:
        self._planned = self._looks.planned(self.state)
        self._queue = [cell for cell in self._planned if cell.hash not in self._before]

    def _next_of_look(self) -> Cell | None:
        waiting = (cell for cell in self._queue if cell.hash not in self._handed_out)
        return next(filter(self._may_start, waiting), None)

    def _next_early(self) -> Cell | None:
        """Return a cell of the next look; of the running one, if another driver has just ended the look before."""
        if self.over or self._blocking or not self._find_early():
            return None
        self._refresh()
        return self._next_of_look() or self._find_early()

    def _find_early(self) -> Cell | None:
        known = (self.state.judged, len(self._ended))
        if known != self._early_known:
            self._early = self._looks.early(self.state, self._ended)
            self._early_known = known
        waiting = (cell for cell in self._early if cell.hash not in self._handed_out | self._ended.keys())
        return next(filter(self._may_start, waiting), None)

    def _refresh(self) -> None:
        """Take the cells that other drivers have finished, so that none of a decided variant is begun."""
        others = self._read(cell.hash for cell in self._planned if cell.hash not in self._ended)
        self._ended |= {cell: row for cell, row in others.items() if row["status"] == "finished"}
        self._advance()

    def _may_start(self, cell: Cell) -> bool:
        return cell.start is None or cell.start.hash in self._prepared
