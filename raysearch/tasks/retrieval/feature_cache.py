"""Pooled features of an untouched backbone, computed once and shared by every cell that starts from it.

A file's name is a hash of everything that decides its content. It is written to a temporary name and renamed, so
processes that race compute the same file twice at worst. It ends in a digest of name and content. A damaged file, one
under another name, and one that another user can have written are not used.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from raysearch.core import atomic, is_own, open_below
from raysearch.storage import private_place
from raysearch.studies.configs import RetrievalConfig, weights
from raysearch.tasks.base import Worker

_VERSION = 2  # raised when the same key would hold other numbers; 2: a digest follows the table
_DIGEST_BYTES = 32


def cached(directory: Path, key: Mapping[str, Any], compute: Callable[[], torch.Tensor]) -> torch.Tensor:
    """Return the tensor under a key, and compute it if no process of this user has done so.

    Args:
        directory: the directory of the cache; if other users can write to it, one in the user's default cache is used.
        key: plain values that decide the content.
        compute: returns the tensor, float32 on the CPU.

    Raises:
        WriteError: the file cannot be written.
    """
    identity = hashlib.sha256(json.dumps({**key, "version": _VERSION}, sort_keys=True).encode()).hexdigest()
    folder = private_place(directory)
    name = f"features-{identity[:24]}.npy"
    table = _read(folder, name, identity)
    if table is None:
        table = compute().contiguous().numpy()
        digest = _digest(identity, table)

        def _write(temporary: Path) -> None:
            with temporary.open("wb") as file:  # NumPy would add a suffix to a path
                np.save(file, table)
                file.write(digest)

        atomic.replace_file(folder / name, _write)
    return torch.from_numpy(table)


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


def _digest(identity: str, table: np.ndarray) -> bytes:
    content = hashlib.sha256(f"{identity} {table.dtype.str} {table.shape}".encode())
    content.update(np.ascontiguousarray(table).data)
    return content.digest()


def feature_key(config: RetrievalConfig, seed: int, worker: Worker) -> dict[str, Any]:
    """Return everything that decides the features of a run's train images."""
    return {
        "data": worker.feed.content_hash,
        "side": config.data.side,
        "zoom": config.data.zoom,
        "validation": config.data.validation,
        "backbone": config.model.backbone,
        "weights": weights.identity(config.model.weights) or f"random, seed {seed}",
        "device": worker.device.type,
    }
