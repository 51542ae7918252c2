"""Typed, frozen configs of runs, a class a task, and the versions of the code that computes them."""

from raysearch.studies.hashing_config import AdshConfig, EsrlConfig, SremConfig
from raysearch.studies.retrieval_config import (
    BACKBONES,
    DataConfig,
    HashConfig,
    ModelConfig,
    RetrievalConfig,
    TrainConfig,
    WarmupConfig,
)

__all__ = [
    "BACKBONES",
    "CODE_VERSIONS",
    "CONFIGS",
    "AdshConfig",
    "DataConfig",
    "EsrlConfig",
    "HashConfig",
    "ModelConfig",
    "RetrievalConfig",
    "SremConfig",
    "TrainConfig",
    "WarmupConfig",
]

CONFIGS: dict[str, type[RetrievalConfig]] = {"retrieval": RetrievalConfig}

# Raised by a developer when the numbers of a task change; part of every cell's name.
CODE_VERSIONS = {"retrieval": 3}
