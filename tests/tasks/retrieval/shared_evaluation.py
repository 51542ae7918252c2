"""What every process of a worker group evaluates: drawn codes, codes of a fitted method, and metrics of a user."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raysearch.core import UserError
from raysearch.data.feed import ImageSet
from raysearch.models import hashing
from raysearch.studies.configs import overrides
from raysearch.studies.configs.user.metrics import UserMetric
from raysearch.tasks.base import Feed, Worker
from raysearch.tasks.retrieval.evaluation import RetrievalEvaluator
from raysearch.tasks.retrieval.shallow_task import ShallowHashingTask
from raysearch.tasks.user import UserCodeError

# name -> queries, held-out queries, bits, share of bits that are flipped from the code of a class
SIZES = {
    "many": (101, 40, 48, 0.3),
    "queries that share codes": (90, 30, 6, 0.1),
    "a query for one rank": (1, 2, 70, 0.3),
    "queries for two ranks": (2, 1, 48, 0.2),
    "nothing held out": (20, 0, 12, 0.2),
}
CLASSES = 7
ITEMS = 203


@dataclass(frozen=True)
class Counting(Worker):
    """A worker that counts the queries whose values it computed."""

    counts: list[int] = field(default_factory=list)

    def gather(self, part: Tensor, rows: int) -> Tensor:
        self.counts.append(len(part))
        return super().gather(part, rows)


def evaluate_all(rank: int, world_size: int, folder: Path) -> dict[str, Any]:
    """Return the outcome of each case by name; an error is a text."""
    worker = Counting(Feed(None, None, "hash"), folder, rank=rank, world_size=world_size)  # type: ignore[arg-type]
    outcomes = {}
    for name, size in SIZES.items():
        worker.counts.clear()
        metrics = _evaluate(worker, *size)
        outcomes[name] = {"metrics": metrics, "counts": list(worker.counts)}
    for compute in (median, raises, raises_elsewhere, gives_text, mistaken):
        outcomes[compute.__name__] = _user_metric(worker, compute)
    outcomes["fitted"] = _fitted(worker, folder)
    return outcomes


def median(query_codes: Tensor, query_labels: Tensor, database_codes: Tensor, database_labels: Tensor) -> float:
    return float((query_codes @ database_codes.T).median()) + len(query_labels) + len(database_labels)


def raises(*_: Tensor) -> float:
    raise ZeroDivisionError("no such neighbour")


def raises_elsewhere(*_: Tensor) -> float:
    """Only rank 0 may call it."""
    if torch.distributed.is_initialized() and torch.distributed.get_rank() > 0:
        raise ZeroDivisionError("on another rank")
    return 2.0


def gives_text(*_: Tensor) -> str:
    return "high"


def mistaken(*_: Tensor) -> float:
    raise UserError("k is too large")


def _codes(rng: np.random.Generator, labels: np.ndarray, bits: int, flipped: float) -> Tensor:
    of_classes = np.where(np.random.default_rng(5).random((CLASSES, bits)) < 0.5, -1.0, 1.0)
    flips = np.where(rng.random((len(labels), bits)) < flipped, -1, 1)
    return torch.from_numpy((of_classes[labels] * flips).astype(np.float32))


def _evaluate(
    worker: Worker, queries: int, held_out: int, bits: int, flipped: float, metrics: tuple[UserMetric, ...] = ()
) -> dict[str, Any]:
    rng = np.random.default_rng(queries)
    labels = {part: rng.integers(0, CLASSES, n) for part, n in (("all", ITEMS), ("test", queries), ("val", held_out))}
    codes = {part: _codes(rng, of_part, bits, flipped) for part, of_part in labels.items()}
    sets = {part: ImageSet(np.zeros((len(l), 1, 1, 3), np.uint8), l) for part, l in labels.items()}
    evaluator = RetrievalEvaluator(sets["all"], sets["test"], sets["val"], worker, metrics)
    return evaluator.evaluate(lambda images: codes["test" if images is sets["test"] else "val"], codes["all"])


def _user_metric(worker: Worker, compute: Callable[..., Any]) -> dict[str, Any] | str:
    metric = UserMetric("mine", SimpleNamespace(reference="mine.py:mine"), compute)  # type: ignore[arg-type]
    try:
        return _evaluate(worker, 9, 3, 12, 0.2, (metric,))
    except Exception as error:
        kind = next(kind.__name__ for kind in (UserError, UserCodeError) if isinstance(error, kind))
        return f"{kind}: {error}"


def _fitted(worker: Worker, folder: Path) -> dict[str, Any]:
    """Evaluate a fitted method. Ranks above 0 fit another encoder, as another GPU may."""
    rng = np.random.default_rng(3)
    labels = np.arange(36) % 4
    pixels = (40 * labels[:, None, None, None] + rng.integers(0, 90, (36, 32, 32, 3))).astype(np.uint8)
    sets = ImageSet(pixels[:24], labels[:24]), ImageSet(pixels[24:], labels[24:])
    settings = {"data.side": 32, "data.validation": 0.25, "model.backbone": "small", "hash.method": "lsh"}
    config = overrides.resolve("retrieval", {**settings, "hash.bits": 16})
    cache = folder / f"fitted-{worker.world_size}"
    task = ShallowHashingTask(
        config, 0, Worker(Feed(*sets, "h"), cache, rank=worker.rank, world_size=worker.world_size)
    )
    fit = hashing.fit
    hashing.fit = lambda name, features, classes, bits, seed: fit(name, features, classes, bits, seed + worker.rank)  # type: ignore[assignment]
    try:
        report = task.advance()
    finally:
        hashing.fit = fit
    return {"validation": report["map_validation"], "metrics": task.evaluate(), "codes": task.codes.tolist()}


def write(rank: int, world_size: int, folder: Path) -> None:
    """Write the outcomes of this process to a file."""
    text = json.dumps(evaluate_all(rank, world_size, folder))
    (folder / f"evaluated-{world_size}-{rank}.json").write_text(text)
