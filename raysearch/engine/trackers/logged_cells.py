"""What a tracker has been given of each cell, in a small database beside its files.

Repeated calls do no harm. A step is logged once, also after a retry from an earlier checkpoint. An end that is the
same as before is not logged again. A step is noted before it is logged. So a process that is killed in
between loses a point of a curve, and never draws it twice.
"""

import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any

_TABLE = "CREATE TABLE IF NOT EXISTS cells (cell TEXT PRIMARY KEY, steps INTEGER DEFAULT 0, ended TEXT, judged TEXT)"


class LoggedCells:
    """The cells that a tracker knows.

    Args:
        path: the database.
    """

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)  # each statement is committed
        self._database.execute("PRAGMA synchronous=OFF")  # a power failure may repeat a point; a crash does not
        self._database.execute(_TABLE)

    def steps(self, cell: str) -> int:
        """Return how many steps of a cell have been logged."""
        row = self._database.execute("SELECT steps FROM cells WHERE cell = ?", (cell,)).fetchone()
        return int(row[0]) if row else 0

    def note_step(self, cell: str, step: int) -> None:
        """Note that a step is being logged."""
        self._database.execute(
            "INSERT INTO cells (cell, steps) VALUES (?, ?) ON CONFLICT (cell) DO UPDATE SET steps = excluded.steps",
            (cell, step),
        )

    def end(self, cell: str) -> tuple[str | None, str | None]:
        """Return the digests of the end and of the verdict that have been logged; None for what has not."""
        row = self._database.execute("SELECT ended, judged FROM cells WHERE cell = ?", (cell,)).fetchone()
        return (row[0], row[1]) if row else (None, None)

    def note_end(self, cell: str, ended: str, judged: str | None = None) -> None:
        """Note that the end of a cell has been logged, and its verdict."""
        self._database.execute(
            "INSERT INTO cells (cell, ended, judged) VALUES (?, ?, ?) ON CONFLICT (cell) DO UPDATE "
            "SET ended = excluded.ended, judged = excluded.judged",
            (cell, ended, judged),
        )


def digest(value: Any) -> str:
    """Return a short text that differs for values that differ."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
