"""Checkpoints of cells in the run's storage: of each cell the newest and the best, and how often it was begun.

They belong to a cell and not to a Ray Tune trial: whoever begins the cell next, in this run or after the driver was
killed, goes on from there. A file is replaced whole, and holds tensors and plain values, never code.
"""

import io
import json
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from raysearch.runs.objective import Objective as Objective
from raysearch.runs.checkpoint_files import CheckpointFiles

FOLDER = "checkpoints"  # of a run that has no other storage
NEWEST, BEST = "newest.pt", "best.pt"
_PINNED = 3  # states that other members of a population may still take over


class Checkpoints:
    """The checkpoints of one cell.

    Args:
        storage: path or URI of the run's checkpoints.
        cell: the cell's hash.
    """

    def __init__(self, storage: str, cell: str) -> None:
        self._cell = cell
        self._files = CheckpointFiles(storage, cell)

    def begin(self) -> int:
        """Count an attempt; returns how many there were, this one among them."""
        written = self._files.read("attempts.json")
        try:
            before = int(json.loads(written)["attempts"]) if written else 0
        except (ValueError, KeyError, TypeError):  # a disk that was full
            before = 0
        self._files.write("attempts.json", json.dumps({"attempts": before + 1}).encode())
        return before + 1

    def save(self, state: dict[str, Any], best: bool) -> None:
        """Keep a state as the newest, and as the best if it is."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        data = buffer.getvalue()
        if best:
            self._files.write(BEST, data)
        self._files.write(NEWEST, data)

    def read(self, pinned: str | None = None) -> bytes | None:
        """The newest state that can be read, or the pinned one; None where there is none."""
        for name in [pinned] if pinned else [NEWEST, BEST]:
            data = self._files.read(name)
            if data is not None and _decodes(data):
                return data
        return None

    def bring(self, runs: Path, wanted: Callable[[Mapping[str, Any]], bool]) -> bool:
        """See that a wanted state is the newest here, if need be copied from a run beside; False where none has it.

        Args:
            runs: directory of runs.
            wanted: whether a state, as `save` was given it, is one. A run that was stopped half-way holds another.
        """
        here = self.read()
        if here is not None and wanted(decode(here, torch.device("cpu"))):
            return True
        for folder in sorted(runs.glob(f"*/{FOLDER}/{self._cell}")):
            data = Checkpoints(str(folder.parent), self._cell).read()
            if data is not None and wanted(decode(data, torch.device("cpu"))):
                self._files.write(NEWEST, data)
                return True
        return False

    def pin(self, step: int) -> str:
        """Keep the newest state of now under a name of its own, for another cell to take over; returns the name."""
        name = f"pinned-{step:06d}.pt"
        data = self.read()
        assert data is not None
        self._files.write(name, data)
        for old in sorted(file for file in self._files.names() if file.startswith("pinned-"))[:-_PINNED]:
            self._files.delete(old)
        return name


def decode(data: bytes, device: torch.device) -> dict[str, Any]:
    """A state as `save` was given it, on a device; runs no code of the file's."""
    return torch.load(io.BytesIO(data), map_location=device, weights_only=True)


def _decodes(data: bytes) -> bool:
    """Whether a file is whole; one may not be after a power failure."""
    try:
        decode(data, torch.device("cpu"))
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError, KeyError, OSError):
        return False
    return True
