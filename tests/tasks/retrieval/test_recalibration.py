"""Batch norm's statistics come from the database before the warm-up, and nothing else of the network changes."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from raysearch.data.feed import normalize
from raysearch.tasks.retrieval.task import RetrievalTask

from .small_runs import WARM, make

RECALIBRATED = {**WARM, "warmup.recalibrate": True, "train.lr": 1e-9}


def state(task: RetrievalTask) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in task.network.state_dict().items()}


@torch.no_grad()
def outputs(task: RetrievalTask) -> Tensor:
    task.network.eval()
    return task.network(normalize(task.train.take(torch.arange(len(task.train)), torch.device("cpu")))).z


def first_norm(task: RetrievalTask) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    convolution = next(layer for layer in task.network.modules() if isinstance(layer, nn.Conv2d))
    norm = next(layer for layer in task.network.modules() if isinstance(layer, nn.BatchNorm2d))
    return convolution, norm


def test_statistics_are_those_of_the_database(tmp_path: Path) -> None:
    task = make(tmp_path, RECALIBRATED)
    convolution, norm = first_norm(task)
    with torch.no_grad():
        maps = convolution(normalize(task.train.take(torch.arange(len(task.train)), torch.device("cpu"))))
    # The small database is one batch, so that the mean over batches is that over the images.
    torch.testing.assert_close(norm.running_mean, maps.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, maps.var((0, 2, 3)), rtol=1e-4, atol=1e-5)


def test_only_statistics_of_the_backbone_change(tmp_path: Path) -> None:
    plain = state(make(tmp_path, WARM))
    changed = {
        name for name, value in state(make(tmp_path, RECALIBRATED)).items() if not torch.equal(plain[name], value)
    }
    running = {name for name in plain if name.startswith("backbone") and "running" in name}
    features = {name for name in plain if name.startswith("hash_layer.standardise.running")}  # they are of new features
    assert running < changed <= running | features


def test_a_second_cell_takes_the_statistics_from_the_cache(tmp_path: Path) -> None:
    first = make(tmp_path, RECALIBRATED)
    stored = {path.name for path in tmp_path.rglob("statistics-*")}
    second = make(tmp_path, {**RECALIBRATED, "srem.regions": 0})
    assert len(stored) == 1
    assert {path.name for path in tmp_path.rglob("statistics-*")} == stored
    for name, value in state(first).items():
        if "running" in name:
            assert torch.equal(value, state(second)[name]), name


@pytest.mark.parametrize("change", [{"warmup.iterations": 0}, {"model.frozen": True}])
def test_without_a_warm_up_nothing_changes(change: dict[str, object], tmp_path: Path) -> None:
    expected = state(make(tmp_path, {**WARM, **change}))
    got = state(make(tmp_path, {**RECALIBRATED, **change}))
    assert all(torch.equal(expected[name], value) for name, value in got.items())


def test_training_starts_without_a_jump(tmp_path: Path) -> None:
    """With the weights' own statistics, the first steps move the statistics, and the outputs with them."""

    def _jump(recalibrate: bool) -> float:
        task = make(tmp_path, {**RECALIBRATED, "warmup.recalibrate": recalibrate, "train.batch": 64})
        task.advance()
        before = outputs(task)
        task.advance()
        after = outputs(task)
        return float((after - before).norm() / before.norm())

    assert _jump(recalibrate=True) < 0.2 * _jump(recalibrate=False)
