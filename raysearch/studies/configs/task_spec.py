"""One `TaskSpec` per task, in a registry: the only place that lists the tasks and what belongs to each.

A task of your own is one file, loaded by `--extension FILE`, that calls `register_task(TaskSpec(...))`. The built-in
tasks use the same call. Functions that need torch are named by import path, since studies must not import torch.
"""

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from raysearch.core import Registry
from raysearch.studies.configs.base import RunConfig
from raysearch.studies.configs.paths import Settings

Reference = str | Callable[..., Any]  # a function, or its import path "module:name"


def load_object(reference: Reference) -> Any:
    """Import the function that a reference names; a function is returned as it is."""
    return pkgutil.resolve_name(reference) if isinstance(reference, str) else reference


class ModelKind(NamedTuple):
    """Exported models of a task, as error messages name them."""

    description: str  # "a retrieval model"
    command: str  # "raysearch.retrieve"


@dataclass(frozen=True)
class TaskSpec:
    """Everything that raysearch knows about a task.

    Args:
        name: in study files, commands and configs.
        config: class of its runs' configs.
        version: of the code that computes its numbers. It is part of every cell's hash: raise it when numbers change.
        build: `(config, seed, worker) -> Task`, or its import path "module:name".
        metric_ids: `(config, split) -> {metric: id}`, or its import path.
        objectives: metrics that a search may choose by, computed without the test split. The first is the task's own:
            the best checkpoint is chosen by it, and higher is better.
        movable: config paths that population-based training may change while a model trains.
        profiles: profile name -> settings under every study of the task; "laptop" and "paper" are expected.
        data_profiles: profile name -> number of classes -> settings that the profile adds on a data set with so many
            classes. A paper's data sets are told apart by it.
        gives_way: `(settings, weak) -> settings`: replacements for `weak`, the profile's settings that nothing stronger
            set, where they contradict the others. None: profiles contradict nothing.
        presets: preset name -> settings of a method as its authors ran it.
        from_checkpoint: settings under which a task is rebuilt when a checkpoint replaces its starting state.
        model: kind of its exported models; None where models cannot be exported.
        no_model: why models cannot be exported, and what to do instead; empty for no advice.
        step_name: what people call a training step.
        needs_images: it trains on the images of `--data`, or without it on the embedded data set.
        embedded: settings of the embedded data set for this task, fields of `data.synthetic.SyntheticSpec`.
    """

    name: str
    config: type[RunConfig]
    version: int
    build: Reference
    metric_ids: Reference
    objectives: tuple[str, ...]
    movable: tuple[str, ...] = ()
    profiles: Mapping[str, Settings] = field(default_factory=lambda: {"laptop": {}, "paper": {}})
    data_profiles: Mapping[str, Mapping[int, Settings]] = field(default_factory=dict)
    presets: Mapping[str, Settings] = field(default_factory=dict)
    gives_way: Callable[[Settings, Settings], Settings] | None = None
    from_checkpoint: Settings = field(default_factory=dict)
    model: ModelKind | None = None
    no_model: str = ""
    step_name: str = "epoch"
    needs_images: bool = True
    embedded: Settings = field(default_factory=dict)

    @property
    def held_out(self) -> str | None:
        """Metric that the best checkpoint of a cell is chosen by; higher is better. None: the last one is kept."""
        return self.objectives[0] if self.objectives else None

    def load_build(self) -> Any:
        """Import and return `build`."""
        return load_object(self.build)

    def load_metric_ids(self) -> Any:
        """Import and return `metric_ids`."""
        return load_object(self.metric_ids)


TASKS: Registry[TaskSpec] = Registry("task")


def register_task(spec: TaskSpec) -> TaskSpec:
    """Add a task, and return its spec.

    Raises:
        UserError: the name is taken.
    """
    return TASKS.register(spec.name, spec)


def parse_config(plain: Mapping[str, Any]) -> RunConfig:
    """Validate a config that came as plain values, from a file or from another process.

    Raises:
        UserError: unknown task.
        ValidationError: a value that the task's config does not take.
    """
    return TASKS[plain["task"]].config.from_plain(plain)
