"""Typed, frozen configs of runs, a class a task, and the versions of the code that computes them."""

from raysearch.studies.fewshot_config import FewshotConfig
from raysearch.studies.hashing_config import AdshConfig, EsrlConfig, SremConfig
from raysearch.studies.pretrain_config import PretrainRunConfig
from raysearch.studies.retrieval_config import (
    BACKBONES,
    DataConfig,
    HashConfig,
    ModelConfig,
    RetrievalConfig,
    TrainConfig,
    WarmupConfig,
)
from raysearch.studies.section import Images, RunConfig

__all__ = [
    "BACKBONES",
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
