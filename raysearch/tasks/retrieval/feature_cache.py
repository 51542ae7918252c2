"""Pooled features of an untouched backbone, computed once and shared by every cell that starts from it.

A file's name is a hash of everything that decides its content. It is written to a temporary name and renamed, so
processes that race compute the same file twice at worst.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from raysearch.core import atomic
from raysearch.studies.configs import RetrievalConfig, weights
from raysearch.tasks.base import Worker

_VERSION = 1  # raised when the same key would hold other numbers


def cached(directory: Path, key: Mapping[str, Any], compute: Callable[[], torch.Tensor]) -> torch.Tensor:
    """Return the tensor under a key, and compute it if no process has done so.

    Args:
        directory: the directory of the cache.
        key: plain values that decide the content.
        compute: returns the tensor, float32 on the CPU.
    """
    name = hashlib.sha256(json.dumps({**key, "version": _VERSION}, sort_keys=True).encode()).hexdigest()[:24]
    path = directory / f"features-{name}.npy"
    if not path.exists():

        def _write(temporary: Path) -> None:
            with temporary.open("wb") as file:  # NumPy would add a suffix to a path
                np.save(file, compute().numpy())

        atomic.replace_file(path, _write)
    return torch.from_numpy(np.load(path))


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
