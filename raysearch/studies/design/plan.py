"""What a study becomes: variants, and cells whose name covers everything that decides their outcome."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raysearch.studies.configs import TASKS, RunConfig

REFERENCE = "reference"


@dataclass(frozen=True)
class Variant:
    """One setting of the factors."""

    name: str
    settings: Mapping[str, Any]  # factor name -> value as the config holds it
    declared: Mapping[str, Any]  # factor name -> value as the study file says it
    config: RunConfig


@dataclass(frozen=True)
class Cell:
    """A variant and a seed."""

    variant: Variant
    seed: int
    hash: str
    start: "Cell | None" = None  # whose trunk it starts from


def make_cell(variant: Variant, seed: int, data: str, workers: int = 1, population: Sequence[str] = ()) -> Cell:
    """A variant and a seed under their name, with the pre-training that they start from; arguments as `cell_hash`."""
    start, before = None, variant.config.starts_from(seed)
    if before:
        config, own = before
        name = f"pre-training of {config.backbone[0]}"
        start = make_cell(Variant(name=name, settings={}, declared={}, config=config), own, data, workers)
    return Cell(variant, seed, cell_hash(variant.config, data, seed, workers, population), start)


def pre_trainings(cells: Iterable[Cell]) -> list[Cell]:
    """The pre-trainings that cells start from, each once."""
    return list({one.start.hash: one.start for one in cells if one.start}.values())


def cell_hash(config: RunConfig, data: str, seed: int, workers: int = 1, population: Sequence[str] = ()) -> str:
    """A cell's name, over all that decides its outcome.

    Args:
        config: resolved.
        data: the data set's content hash.
        seed: of everything random.
        workers: that share each batch: each has batch statistics of its own.
        population: what else decides, for a cell that trains among others and takes over from them.
    """
    plain = config.canonical()
    for path, stands_for in config.identities.items():
        section, name = path.split(".")
        plain[section][name] = stands_for
    identity = {"config": plain, "data": data, "seed": seed, "code": TASKS[config.task].version}
    if before := config.starts_from(seed):
        identity["start"] = cell_hash(before[0], data, before[1], workers)
    if workers > 1:
        identity["workers"] = workers
    if population:
        identity["population"] = list(population)
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:20]
