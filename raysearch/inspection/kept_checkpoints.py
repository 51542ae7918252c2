"""The choice of the checkpoints of finished cells that stay on disk, and the removal of the others.

`best` keeps what gallery and export choose: the cell with the median metric of each variant, and of a search of the
reference and the best configs. Cells that have not finished, and pre-trainings, always keep theirs: they continue.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raysearch.core import UserError, refuse_link
from raysearch.inspection.cell_choice import choose_cell
from raysearch.runs import StudyRecord, results, retention
from raysearch.runs.checkpoints import CheckpointFiles
from raysearch.runs.retention import FOLDER, Keep
from raysearch.storage import Location

_CELL = re.compile(r"[\w-]+")  # the name of a cell's folder


@dataclass(frozen=True)
class Pruning:
    """What a pruning removes, or has removed.

    Attributes:
        files: (cell, file name) of each file.
        removed_bytes: their size.
        kept_bytes: the size of the other checkpoints of the run.
    """

    files: tuple[tuple[str, str], ...]
    removed_bytes: int
    kept_bytes: int


def plan_pruning(run_dir: Path, keep: Keep, storage: str | None = None) -> Pruning:
    """Return what a pruning of a run would remove.

    Args:
        run_dir: the run directory.
        keep: what stays.
        storage: path or URI of the checkpoints; None is the run directory.

    Raises:
        UserError: it is not a run directory, or the store does not answer.
    """
    record = results.read_study(run_dir)
    rows = results.load(run_dir).to_pylist()
    chosen = _chosen_cells(record, rows) if keep is Keep.BEST else set()
    finished = {row["cell"] for row in rows if row["status"] == "finished"}
    if storage is None:
        refuse_link(run_dir, FOLDER)  # a run from elsewhere may point anywhere
    folder = Location.parse(storage or str(run_dir / FOLDER))
    files: list[tuple[str, str]] = []
    removed = 0
    kept = 0
    planned = [*record.cells, *record.starts]
    for cell in dict.fromkeys(entry.cell for entry in planned):
        if not _CELL.fullmatch(cell):
            continue  # names a place elsewhere
        sizes = retention.state_sizes(folder / cell)
        staying = retention.last_state(sizes) if keep is Keep.LAST or cell in chosen else None
        for name, size in sizes.items():
            if cell in finished and name != staying:
                files.append((cell, name))
                removed += size
            else:
                kept += size
    return Pruning(tuple(files), removed, kept)


def prune(run_dir: Path, keep: Keep, storage: str | None = None) -> Pruning:
    """Remove the checkpoints of finished cells that need not stay; return what was removed.

    The arguments and errors are those of `plan_pruning`.
    """
    planned = plan_pruning(run_dir, keep, storage)
    for cell, name in planned.files:
        CheckpointFiles(storage or str(run_dir / FOLDER), cell).delete(name)
    return planned


def _chosen_cells(record: StudyRecord, rows: list[dict[str, Any]]) -> set[str]:
    """Return the cells that gallery and export choose if nothing else is asked for."""
    names = record.chosen_variants() or [variant.name for variant in record.variants]
    chosen: set[str] = set()
    for name in names:
        try:
            chosen.add(choose_cell(record, rows, name, None).cell)
        except UserError:  # a damaged record: all of the variant's cells stay
            chosen |= {row["cell"] for row in rows if row["variant"] == name}
    return chosen


def reduce_states(storage: str, cell: str, keep_last: bool) -> None:
    """Remove the states of a finished cell, but for its last one if that stays.

    Args:
        storage: path or URI of the run's checkpoints.
        cell: the cell's hash.
        keep_last: whether the last state stays.

    Raises:
        UserError: the store fails.
    """
    sizes = retention.state_sizes(Location.parse(storage) / cell)
    staying = retention.last_state(sizes) if keep_last else None
    files = CheckpointFiles(storage, cell)
    for name in sizes:
        if name != staying:
            files.delete(name)
