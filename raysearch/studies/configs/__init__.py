"""Typed, frozen configs of runs: one class per task, one section per idea, every field with its reason.

A `TaskSpec` registers a task with its config, profiles and presets. Overrides set one field by its dotted path.
"""

from raysearch.studies.configs.base import Images, RunConfig, Section, setting
from raysearch.studies.configs.class_disjoint import PretrainRunConfig
from raysearch.studies.configs.config_text import ConfigFormat, describe_config, origins_of
from raysearch.studies.configs.fewshot import FewshotConfig
from raysearch.studies.configs.fewshot_task import FEWSHOT, PRETRAIN
from raysearch.studies.configs.hashing import AdshConfig, EsrlConfig, SremConfig
from raysearch.studies.configs.paths import flatten, replace_values
from raysearch.studies.configs.profiles import (
    check_limit,
    check_profiles,
    data_settings,
    profile_settings,
    seed_list,
    settle_profile,
)
from raysearch.studies.configs.retrieval import (
    DataConfig,
    HashConfig,
    ModelConfig,
    RetrievalConfig,
    TrainConfig,
    WarmupConfig,
)
from raysearch.studies.configs.retrieval_task import RETRIEVAL
from raysearch.studies.configs.task_spec import (
    TASKS,
    ModelKind,
    Reference,
    TaskSpec,
    load_object,
    parse_config,
    register_task,
)

__all__ = [
    "FEWSHOT",
    "PRETRAIN",
    "RETRIEVAL",
    "TASKS",
    "AdshConfig",
    "ConfigFormat",
    "DataConfig",
    "EsrlConfig",
    "FewshotConfig",
    "HashConfig",
    "Images",
    "ModelConfig",
    "ModelKind",
    "PretrainRunConfig",
    "Reference",
    "RetrievalConfig",
    "RunConfig",
    "Section",
    "SremConfig",
    "TaskSpec",
    "TrainConfig",
    "WarmupConfig",
    "check_limit",
    "check_profiles",
    "data_settings",
    "describe_config",
    "flatten",
    "load_object",
    "origins_of",
    "parse_config",
    "profile_settings",
    "register_task",
    "replace_values",
    "seed_list",
    "setting",
    "settle_profile",
]
