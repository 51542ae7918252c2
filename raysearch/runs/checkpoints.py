"""Checkpoints of cells in the run's storage: the newest and the best state of each cell, and its number of attempts.

They belong to a cell, not to a Ray Tune trial. Whoever starts the cell next continues from them, in this run or after
the driver was killed. A file is replaced as a whole, and holds tensors and plain values, never code.

A cell that trains does not wait for its checkpoint: see `checkpoint_writer`. The driver and the trial actors count and
move checkpoints without torch, which is imported where a state is written or decoded.
"""

import contextlib
import io
import json
import os
import pickle
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raysearch.core import UserError, open_below
from raysearch.runs.retention import BEST, FOLDER, NEWEST
from raysearch.storage import Location

if TYPE_CHECKING:
    import torch

_ATTEMPTS = "attempts.json"
_MAX_PINNED = 3  # states that other members of a population may still take over


class Checkpoints:
    """The checkpoints of one cell.

    Args:
        storage: path or URI of the run's checkpoints.
        cell: the cell's hash.
        owners: users whose local files are read; None for all.

    Raises:
        UserError: the URI has no file system.
    """

    def __init__(self, storage: str, cell: str, owners: Collection[int] | None = None) -> None:
        self._cell = cell
        self._files = CheckpointFiles(storage, cell, owners)

    @property
    def is_local(self) -> bool:
        """Whether the files are on a disk of this machine, and no store is asked."""
        return self._files.is_local

    def count_attempt(self) -> int:
        """Add one attempt to train the cell; return the number of attempts, this one included.

        Raises:
            UserError: the store fails.
        """
        content = self._files.read(_ATTEMPTS)
        try:
            attempts = int(json.loads(content)["attempts"]) if content else 0
        except (ValueError, KeyError, TypeError):  # written while the disk was full
            attempts = 0
        attempts += 1
        self._files.write(_ATTEMPTS, json.dumps({"attempts": attempts}).encode())
        return attempts

    def save(self, state: dict[str, Any], best: bool) -> None:
        """Write a state as the newest one, and as the best one if `best`.

        Raises:
            UserError: the store fails.
        """
        import torch

        buffer = io.BytesIO()
        torch.save(state, buffer)
        if best:
            self._files.write(BEST, buffer.getbuffer())
            self._files.copy(BEST, NEWEST, buffer.getbuffer())
        else:
            self._files.write(NEWEST, buffer.getbuffer())

    def read(self, pinned: str | None = None) -> bytes | None:
        """Return the newest state that can be decoded, or the pinned one of that name; None if there is none.

        Raises:
            UserError: the store fails.
        """
        for name in [pinned] if pinned else [NEWEST, BEST]:
            data = self._files.read(name)
            if data is not None and _can_be_decoded(data):
                return data
        return None

    def adopt(
        self,
        runs: Path | None,
        accept: Callable[[Mapping[str, Any]], bool],
        accept_run: Callable[[Path], bool] = lambda run: True,
    ) -> bool:
        """Make an accepted state the newest one here; copy it from another run if this one has none.

        A run that was stopped half-way has a state that is not accepted. Of other runs, only files of this user count,
        and a damaged one is no concern of this run.

        Args:
            runs: directory of runs; None looks in no other run.
            accept: whether a state, as it was given to `save`, will do.
            accept_run: whether a state of that run directory will do.

        Returns:
            False if neither this run nor another has such a state.
        """
        newest = self.read()
        if newest is not None and accept(decode_state(newest, "cpu")):
            return True
        states = read_siblings(runs, self._cell, {os.geteuid(), 0}, accept_run) if runs is not None else ()
        for data in states:
            with contextlib.suppress(KeyError, TypeError, AttributeError):  # something else than a state
                if accept(decode_state(data, "cpu")):
                    self._files.write(NEWEST, data)
                    return True
        return False

    def pin(self, step: int) -> str:
        """Copy the newest state to a name of its own, for another cell to take over; return the name."""
        name = f"pinned-{step:06d}.pt"
        data = self.read()
        assert data is not None
        self._files.write(name, data)
        pinned = sorted(file for file in self._files.names() if file.startswith("pinned-"))
        for old in pinned[:-_MAX_PINNED]:
            self._files.delete(old)
        return name


class CheckpointFiles:
    """A directory of small files, local or in a store such as `s3://bucket/run`; each file is replaced as a whole.

    Args:
        location: path or URI of the directory.
        folder: subdirectory of it.
        owners: users whose local files are read; None for all.

    Raises:
        UserError: the URI has no file system. All methods raise it too: the store fails.
    """

    def __init__(self, location: str, folder: str = "", owners: Collection[int] | None = None) -> None:
        self._owners = owners
        self._root = Location.parse(location)
        self._folder = folder
        self._directory = self._root / folder if folder else self._root
        self._exists = False

    @property
    def is_local(self) -> bool:
        """Whether the directory is in a file system of this machine."""
        return self._root.local is not None

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes; None if there is no such file, or if it is of a user that is left out."""
        root = self._root.local
        try:
            if root is None:
                return (self._directory / name).read()
            with open_below(root, f"{self._folder}/{name}" if self._folder else name) as file:
                is_left_out = self._owners is not None and os.fstat(file.fileno()).st_uid not in self._owners
                return None if is_left_out else file.read()
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Write a file; concurrent readers see the old file or the new one."""
        if not self._exists:
            self._directory.make_directory()
            self._exists = True
        (self._directory / name).write(data)

    def copy(self, name: str, to: str, data: bytes | memoryview) -> None:
        """Give a file a second name, where the store can; otherwise write it again.

        Args:
            name: a file that was just written.
            to: the second name; a file of that name is replaced.
            data: what the file holds.
        """
        with contextlib.suppress(NotImplementedError):
            (self._directory / name).copy_to(self._directory / to)
            return
        self.write(to, data)

    def names(self) -> list[str]:
        """Return the names of the files, without the temporary files of killed writers."""
        try:
            listing = self._directory.listing()
        except FileNotFoundError:
            return []
        return sorted(name for name in listing if not name.startswith(".") and not name.endswith("/"))

    def delete(self, name: str) -> None:
        """Remove a file if it exists."""
        (self._directory / name).delete()


def read_siblings(
    runs: Path, cell: str, owners: Collection[int], accept_run: Callable[[Path], bool] = lambda run: True
) -> Iterator[bytes]:
    """Yield the newest state of a cell in each of the runs beside each other. What cannot be read there is left out.

    Args:
        runs: directory of the runs.
        cell: the cell's hash.
        owners: users whose files are read; others could have written any numbers.
        accept_run: whether a state of that run directory will do.
    """
    for folder in sorted(runs.glob(f"*/{FOLDER}/{cell}")):
        with contextlib.suppress(UserError, OSError):  # links that lead elsewhere, pipes, folders of others
            if not accept_run(folder.parents[1]):
                continue
            data = Checkpoints(str(folder.parent), cell, owners).read()
            if data is not None:
                yield data


def decode_state(data: bytes, device: "torch.device | str") -> dict[str, Any]:
    """Return a state as it was given to `Checkpoints.save`, on a device; no code of the file runs."""
    import torch

    return torch.load(io.BytesIO(data), map_location=device, weights_only=True)


def _can_be_decoded(data: bytes) -> bool:
    """Return whether a file is complete, which it may not be after a power failure."""
    try:
        decode_state(data, "cpu")
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError, KeyError, OSError):
        return False
    return True
