"""What a study becomes: a plan of variants and cells. A cell's hash covers everything that decides its outcome."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self

from raysearch.studies.configs import TASKS, RunConfig, replace_values
from raysearch.studies.design.seed_requests import Seeds

REFERENCE = "reference"


@dataclass(frozen=True)
class Device:
    """The kind of device that computes cells, as far as it decides their numbers."""

    kind: str = "cpu"  # as torch names it: "cpu" or "cuda"
    precision: str = "float32"  # of a config whose `train.precision` is "auto"


CPU = Device()
GPU = Device("cuda", "bfloat16")


@dataclass(frozen=True)
class Variant:
    """One setting of the factors."""

    name: str
    settings: Mapping[str, Any]  # factor name -> value in the config
    declared: Mapping[str, Any]  # factor name -> value in the study file
    config: RunConfig
    data_set: str | None = None  # its name, in a study of several; the variant's name begins with it


@dataclass(frozen=True)
class Cell:
    """A variant with a seed."""

    variant: Variant
    seed: int
    hash: str
    start: "Cell | None" = None  # the pre-training whose backbone it starts from


@dataclass(frozen=True)
class PlanRequest:
    """How a study is to be planned, apart from what its file holds."""

    name: str  # the study's
    profile: str
    settings: Mapping[str, Any] = field(default_factory=dict)  # overrides by dotted path, in the units of the config
    seeds: Seeds | None = None  # number of seeds or looks, instead of the study's
    trials: int | None = None  # configs per group of a search, instead of the study's
    workers: int = 1  # workers that share each batch
    only: Mapping[str, Sequence[Any]] = field(default_factory=dict)  # factor name -> levels of an ablation


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """What the plans of every kind of study have."""

    study: str
    profile: str
    data: str  # the data set's content hash
    seeds: tuple[int, ...]  # of a search: the tuning seeds
    workers: int = 1  # workers that share each batch
    settings: Mapping[str, Any] = field(default_factory=dict)  # the user's overrides
    device: Device = CPU  # that computes the cells


class Plan(Protocol):
    """A planned study of either kind. `raysearch.engine.drivers` has a driver for each kind."""

    @property
    def kind(self) -> Literal["ablation", "search", "explanation"]:
        """The kind of study, which selects the driver and the report."""

    @property
    def study(self) -> str:
        """Name of the study."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """The user's overrides by dotted path."""

    @property
    def device(self) -> Device:
        """The kind of device that computes the cells."""
        ...

    @property
    def definition(self) -> Any:
        """The study that is planned: an `Ablation` or a `Search`."""

    @property
    def task(self) -> str:
        """Name of the task that the study trains."""

    @property
    def reference_config(self) -> RunConfig:
        """The config of the reference, or of the first one."""
        ...

    def for_data(self, content_hash: str, device: Device | None = None) -> Self:
        """Return the plan on another data set.

        Args:
            content_hash: the data set's content hash.
            device: the kind of device that computes the cells; None keeps the plan's.
        """
        ...

    def summary(self) -> str:
        """Return the size of the study in a few words."""
        ...


def in_variants(names: Sequence[str], message: str) -> str:
    """Return a mistake with the variants that have it.

    >>> in_variants(["reference", "hash.bits=12", "hash.bits=48"], "train.lr=0 is too small")
    "variant 'reference': train.lr=0 is too small (and in 2 more variants)"
    """
    more = len(names) - 1
    others = f" (and in {more} more variant{'s' if more > 1 else ''})" if more else ""
    return f"variant '{names[0]}': {message}{others}"


def make_cell(
    variant: Variant,
    seed: int,
    data: str,
    workers: int = 1,
    population: Sequence[str] = (),
    device: Device = CPU,
) -> Cell:
    """Return a variant with a seed under its hash, with the pre-training that it starts from.

    Args:
        variant: the variant to run.
        seed: the seed of everything random.
        data: the data set's content hash.
        workers: the number of workers that share each batch.
        population: further parts of the cell's identity; see `cell_hash`.
        device: the kind of device that computes the cell.
    """
    start = None
    pre_training = variant.config.starts_from(seed)
    if pre_training:
        config, first_seed = pre_training
        assert config.backbone is not None
        first = Variant(name=f"pre-training of {config.backbone[0]}", settings={}, declared={}, config=config)
        start = make_cell(first, first_seed, data, workers, device=device)
    return Cell(variant, seed, cell_hash(variant.config, data, seed, workers, population, device), start)


def pre_trainings(cells: Iterable[Cell]) -> list[Cell]:
    """Return the pre-trainings that cells start from, each once."""
    return list({cell.start.hash: cell.start for cell in cells if cell.start}.values())


def cell_hash(
    config: RunConfig,
    data: str,
    seed: int,
    workers: int = 1,
    population: Sequence[str] = (),
    device: Device = CPU,
) -> str:
    """Return a cell's hash, over everything that decides its outcome.

    On a GPU the hash covers the kind of device, and the precision that "auto" means there. Cells of CPUs keep the
    hashes that they had before devices were part of the identity.

    Args:
        config: resolved.
        data: the data set's content hash.
        seed: the seed of everything random.
        workers: the number of workers that share each batch. Each has batch statistics of its own.
        population: further parts of the identity, for a cell that takes over the state of others.
        device: the kind of device that computes the cell.
    """
    plain = replace_values(config.canonical(), config.identities)
    identity = {"config": plain, "data": data, "seed": seed, "code": TASKS[config.task].version}
    pre_training = config.starts_from(seed)
    if pre_training:
        pre_training_config, pre_training_seed = pre_training
        identity["start"] = cell_hash(pre_training_config, data, pre_training_seed, workers, device=device)
    if workers > 1:
        identity["workers"] = workers
    if population:
        identity["population"] = list(population)
    if device.kind != CPU.kind:
        identity["device"] = device.kind
        precision = _resolve_precision(config, device)
        identity["precision"] = precision
        train = plain.get("train")
        if isinstance(train, Mapping) and train.get("precision") == "auto":
            identity["config"] = {**plain, "train": {**train, "precision": precision}}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:20]


def _resolve_precision(config: RunConfig, device: Device) -> str:
    """Return the precision that a config computes in. On a GPU it also decides whether convolutions round to TF32."""
    chosen = getattr(getattr(config, "train", None), "precision", "auto")
    return device.precision if chosen == "auto" else str(chosen)  # other tasks follow the device
