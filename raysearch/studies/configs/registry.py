"""Typed, frozen configs of runs, a class a task, and the versions of the code that computes them."""

from raysearch.studies.configs.base import Images, RunConfig
from raysearch.studies.configs.fewshot import FewshotConfig
from raysearch.studies.configs.hashing import AdshConfig, EsrlConfig, SremConfig
from raysearch.studies.configs.pretrain import PretrainRunConfig
from raysearch.studies.configs.retrieval import (
    DataConfig,
    HashConfig,
    ModelConfig,
    RetrievalConfig,
    TrainConfig,
    WarmupConfig,
)

__all__ = [
    "CODE_VERSIONS",
    "CONFIGS",
    "AdshConfig",
    "DataConfig",
    "EsrlConfig",
    "FewshotConfig",
    "HashConfig",
    "Images",
    "ModelConfig",
    "PretrainRunConfig",
    "RetrievalConfig",
    "RunConfig",
    "SremConfig",
    "TrainConfig",
    "WarmupConfig",
]

CONFIGS: dict[str, type[RunConfig]] = {
    "retrieval": RetrievalConfig,
    "fewshot": FewshotConfig,
    "pretrain": PretrainRunConfig,
}

# Raised by a developer when the numbers of a task change; part of every cell's name.
CODE_VERSIONS = {"retrieval": 4, "fewshot": 2, "pretrain": 2}
