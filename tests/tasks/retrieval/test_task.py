"""Steps of retrieval and what is reported of them: codes, rates, warm-up, figures, failures."""

import copy
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from raysearch.data.feed import ImageSet
from raysearch.models import adsh
from raysearch.tasks.base import NonFiniteLoss
from raysearch.tasks.retrieval.views import PixelViews

from .small_runs import FROZEN, TIMES, WARM, image_set, make

pytestmark = pytest.mark.usefixtures("tiny")


def test_codes_of_an_iteration_are_the_update_on_the_last_outputs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    outputs: dict[int, Tensor] = {}
    original = PixelViews.forward

    def forward(self, batch, *inputs):
        batch_outputs = original(self, batch, *inputs)
        anchors = batch_outputs.anchor.detach()
        outputs.update(zip(batch.rows.tolist(), anchors, strict=True))  # later epochs overwrite earlier ones
        return batch_outputs

    monkeypatch.setattr(PixelViews, "forward", forward)
    task = make(tmp_path, {"train.samples": 9, "train.epochs": 3})
    before = task.codes.clone()
    task.advance()
    sample = torch.tensor(sorted(outputs))
    assert len(sample) == 9  # one batch would have been left with a single image: it is not lost
    u = torch.stack([outputs[row] for row in sample.tolist()])
    assert torch.equal(task.codes, adsh.update_codes(before, u, sample, torch.from_numpy(task.train.labels), gamma=5.0))
    assert not torch.equal(task.codes, before)


def test_sgd_rates_fall_at_the_milestones(tmp_path: Path) -> None:
    change = {"train.iterations": 25, "train.epochs": 1, "train.milestones": [0.2, 0.56], "train.samples": 4}
    task = make(tmp_path, FROZEN, change)
    rates = [task.advance()["lr"] for _ in range(task.steps)]
    # 0.56 * 25 is a little more than 14 in floating point; the rate falls after 14 iterations all the same
    assert rates == pytest.approx([5e-3] * 5 + [5e-4] * 9 + [5e-5] * 11)
    assert [group["lr"] for group in task.optimizer.param_groups] == pytest.approx([5e-5, 15e-5])


def test_warmup_leaves_the_backbone_and_is_the_same_for_variants_of_srem_and_esrl(tmp_path: Path) -> None:
    states = []
    reports = []
    changes: tuple[dict[str, Any], ...] = (
        {},
        {"srem.regions": 0},
        {"esrl.positive": 2.0, "esrl.erased": 0.0},
        {"adsh.views": "all"},
    )
    for change in changes:
        task = make(tmp_path, {**WARM, "warmup.iterations": 2}, change)
        start = copy.deepcopy(task.network.backbone.state_dict())
        reports.append([task.advance() for _ in range(2)])
        assert all(torch.equal(start[name], value) for name, value in task.network.backbone.state_dict().items())
        states.append({**task.network.hash_layer.state_dict(), "codes": task.codes})
    for state in states[1:]:
        assert all(torch.equal(states[0][name], value) for name, value in state.items())
    losses = [[(report["phase"], report["loss"]) for report in pair] for pair in reports]
    assert losses[0][0][0] == losses[0][1][0] == "warmup"
    assert losses[0] == losses[1] == losses[2] == losses[3]
    task.advance()
    assert any(not torch.equal(start[name], value) for name, value in task.network.backbone.state_dict().items())


def test_a_loss_that_is_not_finite_names_iteration_and_epoch(tmp_path: Path) -> None:
    task = make(tmp_path, {"train.iterations": 3})
    task.advance()
    with torch.no_grad():
        task.network.hash_layer.linear.weight.fill_(torch.nan)
    with pytest.raises(NonFiniteLoss, match="iteration 2, epoch 1"):
        task.advance()
    with pytest.raises(NonFiniteLoss, match="iteration 1, epoch 2"):
        make(tmp_path, {"train.lr": 1e38, "train.samples": 4}).advance()


def test_evaluation_ranks_the_learned_codes_for_signs_of_the_outputs(tmp_path: Path) -> None:
    task = make(tmp_path)
    task.advance()
    metrics = task.evaluate()
    assert set(metrics) == set(task.metric_ids) - {"map_validation"} | {"by_radius"}
    assert set(task.metric_steps) < set(metrics)
    assert task.metric_steps["map"] == 1 / len(task.worker.feed.test)
    curves = json.loads(metrics["by_radius"])
    assert len(curves["precision"]) == len(curves["recall"]) == task.config.hash.bits + 1
    assert curves["recall"][-1] == 1
    assert curves["recall"] == sorted(curves["recall"])
    assert metrics["map_worst_ties"] <= metrics["map"] <= metrics["map_best_ties"]
    test = task.worker.feed.test
    task.network.eval()
    with torch.no_grad():
        queries = task.network(test.batch(torch.arange(len(test)), torch.device("cpu"))).u.sign()
    scores = []
    for query, label in zip(queries, test.labels, strict=True):
        order = (-(task.codes @ query)).sort(stable=True).indices
        hits = (torch.from_numpy(task.train.labels)[order] == label).double()
        scores.append(float((hits * hits.cumsum(0) / torch.arange(1, len(hits) + 1)).sum() / hits.sum()))
    assert metrics["map_index"] == pytest.approx(np.mean(scores))


class LargestResult(TorchDispatchMode):
    """Remembers the largest number of elements that an operation returned."""

    largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.largest = max([self.largest, *sizes])
        return result


def test_a_step_never_makes_a_matrix_of_database_times_sample(tmp_path: Path) -> None:
    n = 3000
    r = 1500
    rng = np.random.default_rng(0)
    train = ImageSet(rng.integers(0, 255, (n, 8, 8, 3)).astype(np.uint8), np.repeat(np.arange(30), n // 30))
    change = {"data.side": 8, "train.samples": r, "train.batch": 64, "train.epochs": 1, "train.iterations": 1}
    for more in ({}, {**FROZEN, "adsh.views": "all"}):
        with LargestResult() as mode:
            make(tmp_path, change, more, train=train).advance()
        assert n * 6 <= mode.largest < n * r / 10


def test_the_held_out_figure_is_that_of_the_last_state_and_has_an_id_of_its_own(tmp_path: Path) -> None:
    train = image_set([10, 4, 2, 7])
    task = make(tmp_path, {"data.validation": 0.3}, train=train)
    reports = [task.advance() for _ in range(task.steps)]
    metrics = task.evaluate()
    assert metrics["map_validation"] == reports[-1]["map_validation"] != metrics["map"]
    assert set(metrics) == set(task.metric_ids) | {"by_radius"}
    assert task.metric_ids["map_validation"] == "map@all/expected-ties/validation"
    # the same state judged on the held-out part instead of the test split
    other = make(tmp_path, {"data.validation": 0.3}, train=train, test=task.held_out)
    other.load_state_dict(task.state_dict())
    assert other.evaluate()["map"] == metrics["map_validation"]


def test_a_report_says_epochs_and_where_the_time_went(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take = ImageSet.take
    pause = 0.0

    def slowly(self, rows, device):
        time.sleep(pause)
        return take(self, rows, device)

    task = make(tmp_path, {**WARM, "train.epochs": 3, "data.validation": 0.3}, train=image_set([10, 4, 2, 7]))
    for phase, epochs, loads in (("warmup", 2, 1), ("train", 3, 3 * 3 * 2 + 1)):  # 3 batches, two views; validation
        with monkeypatch.context() as patch:
            patch.setattr(ImageSet, "take", slowly)
            pause = 0.3
            task.evaluate()  # between two steps: belongs to neither
            pause = 0.02
            report = task.advance()
        assert (report["phase"], report["epochs"]) == (phase, epochs)
        assert report["images_per_second"] == pytest.approx(10 * epochs / report["seconds"])
        waited = report["feed_wait_share"] * report["seconds"]
        assert 0.02 * loads <= waited < min(0.02 * loads + 0.5, report["seconds"])
        assert "gpu_memory_bytes" not in report
    assert 0 < task.advance()["feed_wait_share"] < 0.5
    assert set(TIMES) < set(report)
    plain = {name: type(value) for name, value in report.items()}
    assert set(plain.values()) <= {int, float, str}
