"""How much disk the checkpoints of a study will take, from those of its cells so far, or from the size of its network.

A cell has a last state, and a best one where its task has a held-out metric; both may be one file. A state that is
written has a temporary file beside it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from raysearch.runs import retention
from raysearch.runs.retention import Keep
from raysearch.storage import Location

_MOST_LISTED = 32  # folders: a store answers one request at a time
_STATES = 2  # of a cell: its last and its best one


@dataclass(frozen=True)
class DiskForecast:
    """Bytes of checkpoints, at the end of a study and while it runs."""

    at_end: int
    at_most: int

    def describe(self) -> str:
        """Return both numbers in a few words.

        >>> DiskForecast(1_200_000, 81_000_000).describe()
        'about 1.2 MB of checkpoints, at most 81 MB while it runs'
        """
        if self.at_most <= self.at_end:
            return f"about {format_bytes(self.at_end)} of checkpoints"
        return f"about {format_bytes(self.at_end)} of checkpoints, at most {format_bytes(self.at_most)} while it runs"


@dataclass(frozen=True)
class CellStates:
    """The states of a study's cells so far.

    Attributes:
        present: bytes of all of them.
        last: mean bytes of a last state.
        all: mean bytes of all states of a cell, of which a pruned run has fewer.
    """

    present: int
    last: float
    all: float


@dataclass(frozen=True)
class StudyShape:
    """The numbers of cells that a forecast needs.

    Attributes:
        to_run: cells that have not ended.
        total: planned cells.
        chosen: cells that gallery and export choose.
        undecided: cells of which those may be chosen while the study runs.
        trials: cells that run at a time, at most.
    """

    to_run: int
    total: int
    chosen: int
    undecided: int
    trials: int


def measure_states(storage: Location, finished: Iterable[str]) -> CellStates | None:
    """Return the states of cells that have finished; None if none of them has any.

    Args:
        storage: the checkpoints of the run.
        finished: the cells.

    Raises:
        Unreachable: the store fails.
    """
    cells = list(finished)
    listed = [retention.state_sizes(storage / cell) for cell in cells[:_MOST_LISTED]]
    with_states = [sizes for sizes in listed if sizes]
    if not with_states:
        return None
    totals = [sum(sizes.values()) for sizes in with_states]
    lasts = [sizes.get(retention.last_state(sizes) or "", 0) for sizes in with_states]
    return CellStates(
        present=round(sum(totals) / len(listed) * len(cells)),
        last=sum(lasts) / len(lasts),
        all=sum(totals) / len(totals),
    )


def forecast_disk(shape: StudyShape, states: CellStates, keep: Keep | None) -> DiskForecast:
    """Return the bytes of a study's checkpoints.

    Args:
        shape: the study's cells.
        states: of its cells so far, or by the size of its network.
        keep: what stays of finished cells; None: everything.

    >>> forecast_disk(StudyShape(6, 6, 2, 4, 2), CellStates(0, 10, 15), Keep.BEST)
    DiskForecast(at_end=20, at_most=100)
    """
    running = shape.trials * states.last * (_STATES + 1)
    if keep is None:
        at_end = states.present + shape.to_run * states.all
        most = states.present + shape.to_run * max(states.all, _STATES * states.last)
        return DiskForecast(round(at_end), round(most + shape.trials * states.last if shape.to_run else most))
    staying = {Keep.BEST: shape.chosen, Keep.LAST: shape.total, Keep.NONE: 0}[keep]
    meanwhile = {Keep.BEST: shape.undecided, Keep.LAST: shape.total, Keep.NONE: 0}[keep]
    at_end = staying * states.last
    most = max(states.present, meanwhile * states.last + running) if shape.to_run else states.present
    return DiskForecast(round(at_end), round(max(at_end, most)))


def format_bytes(count: float) -> str:
    """Return a number of bytes with two or more digits.

    >>> format_bytes(1_234_000), format_bytes(81e6), format_bytes(2.5e9), format_bytes(0)
    ('1.2 MB', '81 MB', '2.5 GB', '0.0 MB')
    """
    value = count / 1e9 if count >= 1e9 else count / 1e6
    return f"{value:,.{0 if value >= 10 else 1}f} {'GB' if count >= 1e9 else 'MB'}"
