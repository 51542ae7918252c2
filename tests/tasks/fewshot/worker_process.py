"""One of the processes of a worker group: runs every few-shot case of a folder and writes down what came out.

    python -m tests.tasks.fewshot.worker_process RANK WORLD_SIZE FOLDER

FOLDER holds `images-SIDE.npz` and `cases.json` (name -> {"task", "changes": dotted settings}). All arithmetic is in
float64: rounding is then too small to hide a real difference. The outcome is `WORLD_SIZE-RANK.pt`.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raysearch.data.feed import ImageSet
from raysearch.studies.configs import overrides
from raysearch.tasks import registry
from raysearch.tasks.base import Feed, Worker
from tests.tasks.worker_group import join_group


def main(rank: int, world_size: int, folder: Path) -> None:
    Tensor.float = Tensor.double  # type: ignore[method-assign]
    torch.set_default_dtype(torch.float64)
    join_group(rank, world_size, folder)
    cases = json.loads((folder / "cases.json").read_text())
    outcomes = {name: run(case, folder, rank, world_size) for name, case in cases.items()}
    torch.save(outcomes, folder / f"{world_size}-{rank}.pt")


def run(case: dict[str, Any], folder: Path, rank: int, world_size: int) -> dict[str, Any]:
    """Train one case; what came out of it."""
    config = overrides.resolve(case["task"], case["changes"])
    arrays = np.load(folder / f"images-{config.images.side}.npz")
    sets = {part: ImageSet(arrays[f"{part}_images"], arrays[f"{part}_labels"]) for part in ("train", "val", "test")}
    worker = Worker(Feed(**sets, content_hash="hash"), folder, rank=rank, world_size=world_size)
    task = registry.build(config, 0, worker)
    reports = [task.advance() for _ in range(task.steps)]
    state = task.state_dict()
    return {"reports": reports, "metrics": task.evaluate(), "network": state.get("network") or state["classifier"]}


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
