"""Trackers that fail in every way, and one that works."""

import errno
import os
import time
from pathlib import Path
from typing import Any


class Stub:
    """Writes a line per call."""

    def __init__(self, folder: Path, study: str) -> None:
        self.file = (folder / "calls").open("a")

    def log_step(self, cell: Any, step: int, values: Any) -> None:
        print("a tool that prints")
        self._write(f"{cell.cell} {step} {values['loss']}")

    def finish(self, cell: Any, outcome: Any) -> None:
        self._write(f"{cell.cell} {outcome.status}")

    def judge(self, cell: Any, outcome: Any) -> None:
        self._write(f"{cell.cell} {outcome.verdict['verdict']}")

    def close(self) -> None:
        self._write("closed")

    def _write(self, line: str) -> None:
        self.file.write(f"{line}\n")
        self.file.flush()


class Full(Stub):
    def log_step(self, cell: Any, step: int, values: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "events")


class Hanging(Stub):
    def finish(self, cell: Any, outcome: Any) -> None:
        time.sleep(3600)


class Dying(Stub):
    def log_step(self, cell: Any, step: int, values: Any) -> None:
        os._exit(139)


class Unusable(Stub):
    def __init__(self, folder: Path, study: str) -> None:
        raise RuntimeError("no server\nanswers")
