"""Studies that start from pre-trainings, on real Ray: each is run once, shared, and when it fails its cells say so."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from raysearch.data import class_splits, feed, synthetic
from raysearch.runs import results
from raysearch.runs.checkpoints import FOLDER
from raysearch.studies.configs import parse_config
from raysearch.tasks import registry
from raysearch.tasks.base import Feed, Task, Worker

STUDY = """
from raysearch.studies.space import Ablation, factor
study = Ablation(
    question="Which method?",
    task="fewshot",
    base={{
        "data.side": 32, "model.weights": None, "pretrain.epochs": 1, "pretrain.batch": 8, "episodes.ways": 2,
        "episodes.queries": 3, "episodes.test": 6, "episodes.validation": 3, "train.epochs": 2, "train.episodes": 2,
        "lwfm.aux_batch": 4, "pretrain.lr": {rate},
    }},
    reference={{"model.method": "{methods[0]}"}},
    factors=[factor("model.method", *{methods})],
    seeds=2,
    metric="accuracy",
)
"""
SPEC = synthetic.SyntheticSpec(classes=8, train_per_class=6, test_per_class=2, side=32)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.ensure_shards(SPEC, tmp_path_factory.mktemp("drawn"))


def sweep(folder: Path, data: Path, name: str, methods: tuple[str, str], rate: float, code: int = 0) -> str:
    """Run a study to its end; return its output."""
    (folder / f"{name}.py").write_text(STUDY.format(methods=methods, rate=rate))
    command = [sys.executable, "-m", "raysearch.sweep", str(folder / f"{name}.py"), "--profile", "laptop"]
    command += ["--data", str(data), "--out", str(folder / "runs" / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return results.load(folder / "runs" / name).to_pylist()


def starts(folder: Path, name: str) -> dict[str, dict[str, Any]]:
    """The pre-trainings of a run: cell -> its record."""
    starts = [start.cell for start in results.read_study(folder / "runs" / name).starts]
    return results.read_cells(folder / "runs" / name / "cells", starts)


def attempts(folder: Path, name: str, cell: str) -> bool:
    """Whether the cell was ever begun by this run."""
    return (folder / "runs" / name / FOLDER / cell / "attempts.json").exists()


def alone(data: Path, row: dict[str, Any], directory: Path) -> dict[str, Any]:
    """The metrics of a cell of the results, without Ray."""
    torch.set_num_threads(1)
    config = parse_config(json.loads(row["config"]))
    divided = class_splits.partition_of(data, "auto")
    sets = feed.decode_dataset(data, 32, 1.0, divided.of_class)
    worker = Worker(Feed(**sets, content_hash=row["data"], split=divided.identity), directory)

    def advance(task: Task) -> None:
        for _ in range(task.steps):
            task.advance()

    started = registry.with_pretrained_backbone(config, row["seed"], worker, directory, advance)
    task = registry.build(config, row["seed"], started)
    advance(task)
    return task.evaluate()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*classes have fewer")
def test_pre_trainings_are_run_once_and_shared(data: Path, tmp_path: Path) -> None:
    output = sweep(tmp_path, data, "one", ("centroid", "relation"), 0.01)
    assert "2 pre-trainings before that" in output
    finished = rows(tmp_path, "one")
    before = starts(tmp_path, "one")
    assert [row["status"] for row in finished] == ["finished"] * 4
    assert [record["status"] for record in before.values()] == ["finished"] * 2
    assert len(list((tmp_path / "runs" / "one" / "cells").glob("*.parquet"))) == 6
    assert all("accuracy_validation" in record for record in before.values())
    for row in finished:
        expected = alone(data, row, tmp_path / "kept")
        assert {name: row[name] for name in expected} == expected

    output = sweep(tmp_path, data, "two", ("lwfm", "helix_lwfm"), 0.01)
    assert "pre-trainings before that" not in output
    assert [row["status"] for row in rows(tmp_path, "two")] == ["finished"] * 4
    assert starts(tmp_path, "two").keys() == before.keys()
    for cell in before:
        assert attempts(tmp_path, "one", cell)
        assert not attempts(tmp_path, "two", cell)
    row = next(row for row in rows(tmp_path, "two") if row["variant"] == "reference" and row["seed"] == 1)
    expected = alone(data, row, tmp_path / "kept")
    assert {name: row[name] for name in expected} == expected


@pytest.mark.slow
def test_cells_of_a_pre_training_that_fails_say_so(data: Path, tmp_path: Path) -> None:
    sweep(tmp_path, data, "failing", ("centroid", "relation"), 1e30, code=1)
    before = starts(tmp_path, "failing")
    assert [record["status"] for record in before.values()] == ["failed"] * 2
    assert all("a lower pretrain.lr may help" in record["error"] for record in before.values())
    named = {record["seed"]: cell for cell, record in before.items()}
    for row in rows(tmp_path, "failing"):
        assert row["status"] == "failed"
        assert f"its pre-training, cell {named[row['seed']]}, did not come to its end" in row["error"]
