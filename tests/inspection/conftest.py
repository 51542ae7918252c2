"""A run as a sweep leaves it, trained in this process: cells, checkpoints, study.json, and the evaluated codes."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from raysearch.data import feed, shards
from raysearch.models import backbones
from raysearch.runs import describe, results
from raysearch.storage import Location
from raysearch.studies.design import Ablation, ablation_plan, factor
from raysearch.tasks.base import Feed, Worker

from .fewshot_run import fewshot_run as fewshot_run
from .fewshot_tasks import untrained as untrained
from .finished_cells import train_cell

BASE: dict[str, Any] = {
    "data.side": 32,
    "data.validation": 0.25,
    "model.backbone": "small",
    "model.standardise": True,
    "hash.bits": 12,
    "srem.size": 8,
    "train.samples": 24,
    "train.batch": 12,
    "train.iterations": 3,
    "train.epochs": 1,
    "train.select": "validation",
    "train.hash_lr": 0.03,
    "warmup.iterations": 1,
    "warmup.epochs": 1,
}
STUDY = Ablation(
    question="What is erased?",
    task="retrieval",
    base=BASE,
    reference={"srem.regions": 5, "hash.method": "adsh", "train.select": "validation"},
    factors=[
        factor("srem.regions", 0, 5),
        factor("hash.method", "adsh", "itq", "dpsh", "exchnet"),
        factor("train.select", "last"),
    ],
    seeds=1,
    metric="map",
    mode="max",
)
EVERY = ["reference", "srem.regions=0", "hash.method=itq", "hash.method=dpsh", "hash.method=exchnet"]
EVERY += ["train.select=last"]


class Trained(NamedTuple):
    """The run, and the codes of queries and database that each variant's evaluation ranked."""

    directory: Path
    data: Path
    weights: Path  # that the backbones started from
    codes: dict[str, tuple[Tensor, Tensor]]


@pytest.fixture(scope="session")
def trained(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs")
    weights = folder / "backbone.pth"
    directory = folder / "run"
    torch.manual_seed(7)
    torch.save(backbones.build("small").network.state_dict(), weights)
    manifest = shards.read_manifest(tiny_data)
    planned = ablation_plan.plan_ablation(
        "erasing", STUDY, "laptop", manifest.content_hash, {"model.weights": str(weights)}
    )
    surroundings = describe.describe_surroundings(
        manifest, Location.parse(tiny_data), {}, "As asked.", "command", planned.reference.config
    )
    results.write_study(directory, describe.describe_ablation(planned, surroundings))
    images = Feed(**feed.decode_dataset(tiny_data, 32), content_hash=manifest.content_hash)
    codes = {}
    for cell in planned.cells:
        worker = Worker(images, folder / "features")
        task = train_cell(cell, worker, directory)
        encode, database = task.judged()
        codes[cell.variant.name] = (encode(images.test), database)
    assert set(codes) == set(EVERY)
    return Trained(directory, tiny_data, weights, codes)
