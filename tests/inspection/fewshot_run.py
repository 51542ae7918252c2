"""A few-shot run as a sweep leaves it, trained briefly in this process."""

from pathlib import Path
from typing import Any

import pytest
import torch

from raysearch.data import class_splits, feed, shards, synthetic
from raysearch.models import backbones
from raysearch.runs import describe, results
from raysearch.storage import Location
from raysearch.studies.configs import FewshotConfig
from raysearch.studies.design import Ablation, ablation_plan, choice
from raysearch.tasks.base import Feed, Worker

from .finished_cells import train_cell

EPISODES = 12
BASE: dict[str, Any] = {
    "data.side": 32,
    "data.zoom": 1.0,
    "data.split": "mod4",
    "model.backbone": "small",
    "model.frozen": True,
    "episodes.ways": 2,
    "episodes.shots": 1,
    "episodes.queries": 3,
    "episodes.test": EPISODES,
    "episodes.validation": 2,
    "helix.dim_head": 4,
    "helix.fusion": "mul_res",  # the product of untrained features is nearly zero
    "spm.weight": 1.0,
    "lwe.grid": 2,
    "lwfm.aux_batch": 6,
    "train.epochs": 2,
    "train.episodes": 2,
    "train.batch": 1,
}
METHODS = {
    "centroid": {"model.method": "centroid"},
    "helix": {"model.method": "helixformer", "head.kind": "cosine"},
    "matched": {"model.method": "lwfm"},
    "both": {"model.method": "helix_lwfm"},
    "late": {"model.method": "centroid", "episodes.shots": 2},
}
STUDY = Ablation(
    question="Which way finds the class?",
    task="fewshot",
    base=BASE,
    reference={"model.method": "centroid"},
    factors=[choice("method", METHODS)],  # type: ignore[arg-type]
    seeds=1,
    metric="accuracy",
    mode="max",
)


@pytest.fixture(scope="session")
def fewshot_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run's directory; its data is beside it."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("fewshot")
    data = synthetic.ensure_shards(
        synthetic.SyntheticSpec(classes=8, train_per_class=8, test_per_class=4, side=32), folder
    )
    directory = folder / "runs" / "few"
    weights = folder / "backbone.pth"
    torch.manual_seed(7)
    torch.save(backbones.build("small").network.state_dict(), weights)
    manifest = shards.read_manifest(data)
    split = class_splits.partition_of(data, "mod4")
    planned = ablation_plan.plan_ablation(
        "few", STUDY, "laptop", manifest.content_hash, {"model.weights": str(weights)}
    )
    assert isinstance(planned.reference.config, FewshotConfig)
    surroundings = describe.describe_surroundings(
        manifest, Location.parse(data), {}, "As asked.", "command", planned.reference.config
    )
    results.write_study(directory, describe.describe_ablation(planned, surroundings))
    images = feed.decode_dataset(data, 32, parts=split.of_class)
    worker = Worker(Feed(**images, content_hash=manifest.content_hash, split=split.identity), folder / "features")
    for cell in planned.cells:
        train_cell(cell, worker, directory)
    return directory
