"""Tensors that many cells need, such as features of an untouched backbone: computed once and kept in files.

A file's name is a hash of everything that decides its content. One process computes it and holds a lock; others that
need it, such as further slots of the node, wait. Where nothing can be locked, each computes it. A file is written to a
temporary name and renamed. It ends in a digest of name and content. A damaged file, one under another name, and one
that another user can have written are not used.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from raysearch.core import atomic, is_own, lock_file, open_below
from raysearch.storage import private_place

_VERSION = 2  # raised when the same key would hold other numbers; 2: a digest follows the table
_DIGEST_BYTES = 32


def cached(
    directory: Path,
    key: Mapping[str, Any],
    compute: Callable[[], torch.Tensor],
    kind: str = "features",
    room: int | None = None,
) -> torch.Tensor:
    """Return the tensor under a key, and compute it if no process of this user has done so.

    Args:
        directory: the directory of the cache; if other users can write to it, one in the user's default cache is used.
        key: plain values that decide the content.
        compute: returns the tensor, of a type that NumPy has, on the CPU. It must not wait for other workers.
        kind: the beginning of the file's name.
        room: bytes of all files of this kind; the ones that were not used for longest are deleted. None: no limit.

    Raises:
        WriteError: the file cannot be written.
    """
    identity = hashlib.sha256(json.dumps({**key, "version": _VERSION}, sort_keys=True).encode()).hexdigest()
    folder = private_place(directory)
    name = f"{kind}-{identity[:24]}.npy"
    table = _read(folder, name, identity)
    if table is None:
        with _locked(folder, name):
            table = _read(folder, name, identity)  # another process may have computed it meanwhile
            if table is None:
                table = compute().contiguous().numpy()
                _write(folder / name, table, identity)
                if room is not None:
                    _delete_oldest(folder, kind, room)
    elif room is not None:
        with contextlib.suppress(OSError):  # a cache that can only be read works
            os.utime(folder / name)
    return torch.from_numpy(table)


@contextlib.contextmanager
def _locked(folder: Path, name: str) -> Iterator[None]:
    """Let others that need the file wait while the block runs, if the folder has locks."""
    path = folder / f".{name}.lock"
    lock = None
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        lock = lock_file(path, create=True, wait=True)
    try:
        yield
    finally:
        if lock is not None:
            with contextlib.suppress(OSError):
                path.unlink()
            lock.close()


def _write(path: Path, table: np.ndarray, identity: str) -> None:
    digest = _digest(identity, table)

    def _write_content(temporary: Path) -> None:
        with temporary.open("wb") as file:  # NumPy would add a suffix to a path
            np.save(file, table)
            file.write(digest)

    atomic.replace_file(path, _write_content)


def _read(folder: Path, name: str, identity: str) -> np.ndarray | None:
    """Return the table of a file, or None if there is none that is whole and this user's own."""
    try:
        with open_below(folder, name) as file:
            if not is_own(os.fstat(file.fileno())):
                return None
            table: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
            digest = file.read(_DIGEST_BYTES)
    except (OSError, ValueError, EOFError, MemoryError):
        return None
    return table if digest == _digest(identity, table) else None


def _delete_oldest(folder: Path, kind: str, room: int) -> None:
    """Delete the files of a kind that were not used for longest, until the others fit; never the newest."""
    files: list[tuple[float, int, Path]] = []
    for path in folder.glob(f"{kind}-*.npy"):
        with contextlib.suppress(OSError):  # another process deleted it
            status = path.stat()
            files.append((status.st_mtime_ns, status.st_size, path))
    newest, *others = sorted(files, reverse=True)
    used = newest[1]
    for _, size, path in others:
        used += size
        if used > room:
            with contextlib.suppress(OSError):
                path.unlink()


def _digest(identity: str, table: np.ndarray) -> bytes:
    content = hashlib.sha256(f"{identity} {table.dtype.str} {table.shape}".encode())
    content.update(np.ascontiguousarray(table).data)
    return content.digest()
