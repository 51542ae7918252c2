"""What a run draws: samples, order, positives; and that nothing else decides it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from raysearch.tasks.base import Feed, Worker
from raysearch.tasks.retrieval.task import RetrievalTask

from .small_runs import FROZEN, PIXELS, WARM, Log, config, finish, image_set, make, tensors

pytestmark = pytest.mark.usefixtures("tiny")


def test_every_epoch_sees_each_sampled_row_once_and_samples_have_no_repeats(log: Log, tmp_path: Path) -> None:
    task = make(tmp_path, {"train.iterations": 6, **FROZEN})
    finish(task)
    epochs = log.epochs(10, 4)
    assert len(epochs) == 12
    rows = [torch.cat([rows for rows, _ in epoch]) for epoch in epochs]
    samples = [sorted(r.tolist()) for r in rows]
    assert all(len(set(sample)) == 10 for sample in samples)
    for first, second in zip(range(0, 12, 2), range(1, 12, 2), strict=True):
        assert samples[first] == samples[second]  # the epochs of an iteration share their sample
        assert not torch.equal(rows[first], rows[second])  # in another order
    assert len({tuple(sample) for sample in samples}) > 1  # iterations draw anew
    assert set().union(*samples) == set(range(14))


def test_positives_are_other_images_of_the_class_uniformly(log: Log, tmp_path: Path) -> None:
    epochs = 400
    change = {**FROZEN, "train.samples": 14, "train.batch": 14, "train.iterations": 1, "train.epochs": epochs}
    task = make(tmp_path, change)
    task.advance()
    counts = np.zeros((14, 14), int)
    for rows, positives in log.batches:
        np.add.at(counts, (rows.numpy(), positives.numpy()), 1)
    labels = task.train.labels
    allowed = (labels[:, None] == labels) & ~np.eye(14, dtype=bool)
    assert not counts[~allowed].any()
    for row in range(14):
        drawn = counts[row, allowed[row]]
        share = epochs / len(drawn)
        assert (abs(drawn - share) < 4.5 * np.sqrt(share)).all()


@pytest.mark.parametrize("change", [PIXELS, {"data.augment": "crop"}, FROZEN, {**PIXELS, **WARM}])
def test_one_seed_gives_one_run_and_another_seed_another(change: dict[str, Any], tmp_path: Path) -> None:
    first = make(tmp_path / "a", change)
    second = make(tmp_path / "b", change)
    torch.manual_seed(5)  # the global generator decides nothing
    runs = [finish(first)]
    torch.manual_seed(6)
    runs += [finish(second), finish(make(tmp_path / "a", change, seed=1))]
    assert runs[0] == runs[1]
    assert runs[0][0]["loss"] != runs[2][0]["loss"]
    fresh = [make(tmp_path / "c", change, {"hash.bits": bits}, seed=seed) for bits, seed in ((6, 0), (9, 0), (6, 1))]
    backbones = [next(task.network.backbone.parameters()) for task in fresh]
    assert torch.equal(backbones[0], backbones[1])  # whatever the code length
    assert not torch.equal(backbones[0], backbones[2])
    assert not torch.equal(fresh[0].codes, fresh[2].codes)
    assert all(
        torch.equal(a, b) for a, b in zip(tree_leaves(tensors(first)), tree_leaves(tensors(second)), strict=True)
    )


class Half(Worker):
    """One of two workers, without the other."""

    def wrap(self, model: nn.Module) -> nn.Module:
        return model

    def sum(self, tensor: Tensor) -> Tensor:
        return tensor

    def broadcast(self, tensor: Tensor) -> Tensor:
        return tensor


@pytest.mark.parametrize("augment", ["flip", "crop"])
def test_two_workers_share_every_batch_whatever_its_size(augment: str, log: Log, tmp_path: Path) -> None:
    feed = Feed(image_set([7, 5, 5]), image_set([2, 2, 2]), "hash")
    change = {"data.augment": augment, "train.samples": 17, "train.batch": 5, "train.epochs": 4}
    seen = []
    for rank in range(2):
        log.batches.clear()
        task = RetrievalTask(config(change), 0, Half(feed, tmp_path, rank=rank, world_size=2))
        task.advance()
        seen.append([rows for rows, _ in log.batches])
    assert len(seen[0]) == 4 * 3  # of 17 rows, the last two join the batch before: batch norm needs two a worker
    for epoch in range(4):
        both = [torch.cat(seen[rank][3 * epoch : 3 * epoch + 3]) for rank in range(2)]
        assert sorted(torch.cat(both).tolist()) == list(range(17))
    for mine, theirs in zip(*seen, strict=True):
        assert abs(len(mine) - len(theirs)) <= 1
        assert min(len(mine), len(theirs)) >= 2
