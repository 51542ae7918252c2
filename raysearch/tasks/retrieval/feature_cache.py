"""The key of the pooled features of an untouched backbone, which cells that start from it share."""

from typing import Any

from raysearch.studies.configs import RetrievalConfig, weights
from raysearch.tasks.base import Worker


def feature_key(config: RetrievalConfig, seed: int, worker: Worker) -> dict[str, Any]:
    """Return everything that decides the features of a run's train images."""
    exact = worker.device.type == "cuda" and config.train.precision == "float32"  # by default, a GPU rounds to TF32
    return {
        "data": worker.feed.content_hash,
        "side": config.data.side,
        "zoom": config.data.zoom,
        "validation": config.data.validation,
        "backbone": config.model.backbone,
        "weights": weights.identity(config.model.weights) or f"random, seed {seed}",
        "device": worker.device.type,
        **({"precision": "float32"} if exact else {}),
    }
