"""One of the processes of a worker group: trains every case of a folder and writes down what it saw.

    python -m tests.tasks.retrieval.worker_process RANK WORLD_SIZE FOLDER

First all processes are one group of three, and evaluate. Then each belongs to its own group, and evaluates again.

FOLDER holds `images-SIDE.npz` and `cases.json` (name -> {"changes": dotted settings, "double": bool}); the outcome is
`WORLD_SIZE-RANK.pt`. Only rank 0 can update database codes: anywhere else the attempt ends the process.
"""

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raysearch.data.feed import ImageSet, augment
from raysearch.models import adsh
from raysearch.studies.configs import overrides
from raysearch.tasks.base import Feed, Worker
from raysearch.tasks.retrieval.task import RetrievalTask
from raysearch.tasks.retrieval.views import Batch, Outputs, PixelViews
from tests.tasks.retrieval import shared_evaluation
from tests.tasks.worker_group import GROUPS, join_group


def main(rank: int, world_size: int, folder: Path) -> None:
    position = GROUPS.index((world_size, rank))
    join_group(position, len(GROUPS), folder)  # before the cases, which take the groups unequal times
    shared_evaluation.write(position, len(GROUPS), folder)
    torch.distributed.destroy_process_group()
    join_group(rank, world_size, folder)
    shared_evaluation.write(rank, world_size, folder)
    if rank > 0:
        adsh.update_codes = forbidden
    cases = json.loads((folder / "cases.json").read_text())
    outcomes = {name: run(case, folder, rank, world_size) for name, case in cases.items()}
    torch.save(outcomes, folder / f"{world_size}-{rank}.pt")


def forbidden(*_: Any, **__: Any) -> Tensor:
    raise AssertionError("codes are updated by rank 0 alone")


def run(case: dict[str, Any], folder: Path, rank: int, world_size: int) -> dict[str, Any]:
    """Train one case; returns what went through the backbone in order, and what came out."""
    config = overrides.resolve("retrieval", case["changes"])
    arrays = np.load(folder / f"images-{config.data.side}.npz")
    train, test = (ImageSet(arrays[f"{split}_images"], arrays[f"{split}_labels"]) for split in ("train", "test"))
    worker = Worker(Feed(train, test, "hash"), folder / f"cache-{world_size}", rank=rank, world_size=world_size)
    single = Tensor.float
    forward = PixelViews.forward
    loads: list[tuple[Tensor, Tensor]] = []

    def listen(self: PixelViews, batch: Batch, *inputs: Tensor) -> Outputs:
        loaded = list(itertools.islice(batch.images, 1 + batch.extra.positive))
        rows = batch.rows, batch.positives
        views = batch.anchor_views, batch.positive_views
        loads.extend((part.clone(), augment(*images)) for part, *images in zip(rows, loaded, views, strict=False))
        return forward(self, batch._replace(images=iter(loaded)), *inputs)

    PixelViews.forward = listen  # type: ignore[method-assign]
    if case["double"]:  # rounding is then too small to hide a real difference
        Tensor.float = Tensor.double  # type: ignore[method-assign]
        torch.set_default_dtype(torch.float64)
    try:
        task = RetrievalTask(config, 0, worker)
        reports = [task.advance() for _ in range(task.steps)]
        metrics = task.evaluate()
    finally:
        Tensor.float = single
        PixelViews.forward = forward  # type: ignore[method-assign]
        torch.set_default_dtype(torch.float32)
    return {"loads": loads, "reports": reports, "metrics": metrics, **task.state_dict()}


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
