"""One of the processes of a worker group: runs every few-shot case of a folder and writes down what came out.

    python fewshot_process.py RANK WORLD_SIZE FOLDER

FOLDER holds `images-SIDE.npz` and `cases.json` (name -> {"task", "changes": dotted settings}). All arithmetic is in
float64: rounding is then too small to hide a real difference. The outcome is `WORLD_SIZE-RANK.pt`.
"""

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raysearch.data.feed import ImageSet
from raysearch.studies.configs import overrides
from raysearch.tasks import registry
from raysearch.tasks.base import Feed, Worker


def main(rank: int, world_size: int, folder: Path) -> None:
    torch.set_num_threads(1)
    Tensor.float = Tensor.double  # type: ignore[method-assign]
    torch.set_default_dtype(torch.float64)
    if world_size > 1:
        torch.distributed.init_process_group(
            "gloo",
            init_method=f"file://{folder}/meeting-{world_size}",
            rank=rank,
            world_size=world_size,
            timeout=timedelta(seconds=120),
        )
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
