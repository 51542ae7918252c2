"""Typed, frozen configs of runs: one class per task, one section per idea, every field with its reason.

A `TaskSpec` registers a task with its config, profiles and presets. Overrides set one field by its dotted path.
"""

from raysearch.studies.configs.base import Images, RunConfig
from raysearch.studies.configs.class_disjoint import PretrainRunConfig
from raysearch.studies.configs.fewshot import FewshotConfig
from raysearch.studies.configs.fewshot_task import FEWSHOT, PRETRAIN
from raysearch.studies.configs.hashing import AdshConfig, EsrlConfig, SremConfig
from raysearch.studies.configs.retrieval import (
    DataConfig,
    HashConfig,
    ModelConfig,
    RetrievalConfig,
    TrainConfig,
    WarmupConfig,
)
from raysearch.studies.configs.retrieval_task import RETRIEVAL
from raysearch.studies.configs.task_spec import TASKS, TaskSpec, parse_config, register_task

__all__ = [
    "FEWSHOT",
    "PRETRAIN",
    "RETRIEVAL",
    "TASKS",
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
    "TaskSpec",
    "TrainConfig",
    "WarmupConfig",
    "parse_config",
    "register_task",
]
