"""A few-shot run goes on from its state bit for bit; the best epoch is chosen on the validation classes alone."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raysearch.models.backbones import Backbone
from raysearch.tasks.base import Worker
from raysearch.tasks.common import seed_step
from raysearch.tasks.fewshot.network import set_rate

from ...registries import replace_backbone
from .fewshot_runs import FROZEN, METHODS, SGD, STARTED, config, feed, finish, make, start, tiny_backbone

pytestmark = pytest.mark.usefixtures("tiny_taps")

CASES: dict[str, dict[str, Any]] = {
    **METHODS,
    "lwfm, sgd": {**METHODS["lwfm"], **SGD, "data.augment": "crop"},
    "relation, from a pre-training": {**METHODS["relation"], **STARTED, "data.augment": "colour"},
    "lwfm, frozen": {**METHODS["lwfm"], **FROZEN},
    "dropout": {**METHODS["helixformer"], "helix.dropout": 0.3},
    "dropout, frozen": {**METHODS["helix_lwfm"], **FROZEN, "helix.dropout": 0.3},
    "the last epoch": {**METHODS["relation"], "train.select": "last"},
    "nothing to learn": {**METHODS["centroid"], "train.epochs": 0},
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_goes_on_from_its_state_bit_for_bit(case: str) -> None:
    whole = make(CASES[case], seed=1)
    expected = finish(whole)
    for stop in range(whole.steps + 1):
        task = make(CASES[case], seed=1)
        for _ in range(stop):
            task.advance()
        file = io.BytesIO()
        torch.save(task.state_dict(), file)
        file.seek(0)
        resumed = make(CASES[case], seed=1)
        resumed.load_state_dict(torch.load(file, weights_only=True))
        assert finish(resumed) == expected[stop:]
        for name, value in whole.network.state_dict().items():
            assert torch.equal(value, resumed.network.state_dict()[name]), (stop, name)


def test_dropout_follows_from_the_place_in_the_run_and_from_the_rank() -> None:
    change = {**METHODS["helixformer"], "helix.dropout": 0.3}
    expected = finish(make(change, seed=1))
    disturbed = make(change, seed=1)
    for _ in range(disturbed.steps - 1):
        disturbed.advance()
        torch.rand(3)  # drawn by something else in the process
    assert finish(disturbed) == expected[disturbed.steps - 1 :]
    cpu = torch.device("cpu")
    draws = set()
    for place in ((0, 0, 0), (0, 0, 1), (0, 2, 0), (1, 0, 0)):
        for seed in (0, 1):
            seed_step(seed, *place, device=cpu)
            draws.add(tuple(torch.rand(4).tolist()))
    assert len(draws) == 8


def test_a_state_stays_as_it_is_while_its_task_and_its_taker_train_on() -> None:
    task = make(METHODS["lwfm"])
    task.advance()
    state = task.state_dict()
    before, after = io.BytesIO(), io.BytesIO()
    torch.save(state, before)
    taker = make(METHODS["lwfm"])
    taker.load_state_dict(state)
    task.advance()
    taker.advance()
    torch.save(state, after)
    assert before.getvalue() == after.getvalue()


def test_the_first_best_epoch_on_validation_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    accuracies = [0.4, 0.7, 0.7, 0.5]
    change = {**METHODS["relation"], "train.epochs": 4}
    task, last = make(change), make(change, {"train.select": "last"})
    networks: list[dict[str, torch.Tensor]] = []
    original = task._evaluate

    def judge(part: Any, *rest: Any) -> Any:
        assert len(networks) == len(accuracies) or part == "val"
        return (
            (accuracies[len(networks)], 0.0, np.zeros(4)) if len(networks) < len(accuracies) else original(part, *rest)
        )

    monkeypatch.setattr(task, "_evaluate", judge)
    for value in accuracies:
        assert task.advance()["accuracy_validation"] == value
        networks.append({name: value.clone() for name, value in task.network.state_dict().items()})
    outcome = task.evaluate()
    for name, value in task.network.state_dict().items():
        assert torch.equal(value, networks[3][name]), "evaluation leaves the network as it was"
    task.network.load_state_dict(networks[1])
    assert outcome["accuracy"] == original("test", task._test_episodes, 9)[0]
    assert outcome["accuracy_validation"] == original("val", task._val_episodes, 4)[0]

    finish(last)
    assert last._best.state_dict() == {}
    assert torch.equal(last.network.backbone.network.one[0].weight, networks[3]["trunk.body.one.0.weight"])  # type: ignore[union-attr, index]


class Untouchable:
    """Pixels that raise when they are read."""

    def __getitem__(self, rows: Any) -> np.ndarray:
        raise AssertionError("the test images were looked at")

    @property
    def shape(self) -> tuple[int, ...]:
        raise AssertionError("the test images were looked at")


@pytest.mark.parametrize("case", METHODS)
def test_the_test_images_are_not_looked_at_before_the_end(case: str) -> None:
    whole = feed()
    locked = replace(whole, test=replace(whole.test, pixels=Untouchable()))
    task = make(METHODS[case], worker=Worker(locked, Path()))
    reports = [task.advance() for _ in range(task.steps)]
    assert [report["accuracy_validation"] for report in reports]
    with pytest.raises(AssertionError, match="looked at"):
        task.evaluate()


def test_rates_fall_after_their_share_of_the_epochs() -> None:
    # 0.55 of 100 is a little more than 55 in floats
    task = make({**METHODS["relation"], "train.epochs": 100, "train.milestones": [0.55, 0.57], "train.lr": 1.0})
    rates: list[float] = []
    optimizer = task.optimizer
    assert optimizer is not None
    for epoch in range(100):
        rates.append(set_rate(optimizer, task.config.train, epoch))
        assert optimizer.param_groups[0]["lr"] == rates[-1]
    assert rates == [1.0] * 55 + [0.3] * 2 + [pytest.approx(0.09)] * 43


def test_a_frozen_trunk_stays_as_the_pre_training_left_it() -> None:
    task = make(METHODS["helixformer"], FROZEN)
    finish(task)
    for name, value in task.network.backbone.state_dict().items():
        assert torch.equal(value, start()[name])
    moving = make(METHODS["helixformer"], STARTED)
    finish(moving)
    states = moving.network.backbone.state_dict().items()
    moved = [name for name, value in states if not torch.equal(value, start()[name])]
    assert len(moved) == len(start())


def test_what_is_behind_the_trunk_begins_alike_whatever_the_trunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backbone is also the same with every head: methods differ in nothing else."""

    def another_backbone(name: str, weights: str | None) -> Backbone:
        backbone = tiny_backbone()
        torch.rand(3)  # draws more than the other
        return backbone

    backbones, heads = [], []
    for case in METHODS.values():
        fresh = make(case, seed=5).network
        with monkeypatch.context() as patch:
            replace_backbone(patch, "small", another_backbone)
            started = make(case, STARTED, seed=5).network
        backbones.append({name: value for name, value in fresh.backbone.state_dict().items()})
        heads.append([fresh.head.state_dict(), started.head.state_dict()])
    for other in backbones[1:]:
        assert all(torch.equal(value, other[name]) for name, value in backbones[0].items())
    for fresh_state, started_state in heads:
        assert all(torch.equal(value, started_state[name]) for name, value in fresh_state.items())
    another = make(METHODS["relation"], seed=6).network.backbone.state_dict()
    assert not torch.equal(backbones[0]["body.one.0.weight"], another["body.one.0.weight"])


# Two ways of writing one run, with the numbers of one run; which pairs have one name is tested beside the config.
SAME: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "ordinary batch": (METHODS["lwfm, no aux"], {"lwfm.aux_batch": 9, "lwfm.episode_weight": 7.0}),
    "of another method": (METHODS["relation"], {"lwfm.aux_batch": 9, "helix.depth": 3, "lwe.layers": [-1]}),
    "taps": (METHODS["helix_lwfm"], {"lwe.layers": [-1], "lwfm.aux": False}),
    "nothing attends": ({**METHODS["helixformer"], "helix.rmp": False},
                        {"helix.heads": 1, "helix.dim_head": 5, "helix.fusion": "add", "helix.kv_stride": 2}),
    "nothing enhances": ({**METHODS["helixformer"], "helix.rep": False}, {"helix.mlp_ratio": 2}),
    "no layers": ({**METHODS["helixformer"], "helix.depth": 0},
                  {"helix.depth": 2, "helix.rmp": False, "helix.rep": False, "helix.dropout": 0.5}),
    "no matching": ({**METHODS["lwfm"], "spm.weight": 0.0}, {"spm.matcher": "sinkhorn", "spm.reduce": "mean"}),
    "frozen": ({**METHODS["lwfm"], **FROZEN}, {"data.augment": "crop"}),
    "no training": ({**METHODS["lwfm"], "train.epochs": 0}, {"train.lr": 1.0, "lwfm.aux": False}),
    "no training, frozen": ({**METHODS["helixformer"], **STARTED, "train.epochs": 0}, {**FROZEN, "helix.dropout": 0.5}),
}  # fmt: skip


@pytest.mark.parametrize("case", SAME)
def test_what_the_name_leaves_out_changes_no_number(case: str) -> None:
    settings, change = SAME[case]
    assert config(settings).canonical() == config(settings, change).canonical()
    assert finish(make(settings)) == finish(make(settings, change))
