"""A run goes on from its state: bit for bit under its own config, with other rates under another."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import dropout

from raysearch.models.backbones import Backbone

from ...registries import replace_backbone
from .small_runs import FROZEN, PIXELS, WARM, TinyBody, finish, make, tensors

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.mark.parametrize(
    "change",
    [
        {**PIXELS, "train.iterations": 3, "train.milestones": [0.5]},
        {**PIXELS, **WARM, "warmup.iterations": 2},
        {**FROZEN, "train.iterations": 3},
        {"model.standardise": True, "data.validation": 0.4},
    ],
    ids=["pixels", "warm-up", "frozen", "validation"],
)
def test_a_run_goes_on_from_its_state_bit_for_bit(change: dict[str, Any], tmp_path: Path) -> None:
    whole = make(tmp_path / "whole", change)
    expected = finish(whole)
    for stop in range(whole.steps + 1):
        task = make(tmp_path / "part", change)
        for _ in range(stop):
            task.advance()
        file = io.BytesIO()
        torch.save(task.state_dict(), file)
        file.seek(0)
        resumed = make(tmp_path / f"another machine {stop}", change)
        resumed.load_state_dict(torch.load(file, weights_only=True))
        assert finish(resumed) == expected[stop:]
        for name, value in tensors(whole).items():
            assert torch.equal(value, tensors(resumed)[name]), (stop, name)


class DroppingBody(TinyBody):
    """Draws in training, as a backbone of an extension may."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {name: dropout(tap, 0.3, self.training) for name, tap in super().forward(images).items()}


def test_dropout_of_a_backbone_is_that_of_an_undisturbed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_backbone(monkeypatch, "small", lambda name, weights: Backbone(DroppingBody(), ("block",), (5,)))
    change = {**PIXELS, "train.iterations": 3}
    expected = finish(make(tmp_path / "whole", change))
    task = make(tmp_path / "part", change)
    task.advance()
    resumed = make(tmp_path / "another machine", change)
    resumed.load_state_dict(task.state_dict())
    assert finish(resumed) == expected[1:]


RATES = {
    "train.lr": 0.02,
    "train.hash_lr": 0.5,
    "train.momentum": 0.3,
    "train.weight_decay": 0.1,
    "esrl.positive": 0.1,
    "esrl.erased": 1.5,
    "srem.regions": 5,
    "srem.size": 3,
    "adsh.gamma": 1.0,
}


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("change", [PIXELS, {**PIXELS, **WARM, "warmup.iterations": 2}], ids=["pixels", "warm-up"])
def test_another_config_trains_on_with_its_own_rates(change: dict[str, Any], tmp_path: Path) -> None:
    """As a member of a population goes on from another's state."""
    first = make(tmp_path, change, {"train.iterations": 3})
    first.advance()
    torch.save(first.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)

    second = make(tmp_path, change, {"train.iterations": 3}, RATES)
    second.load_state_dict(state)
    groups = [{k: v for k, v in g.items() if k != "params"} for g in second.optimizer.param_groups]
    assert [(g["scale"], g["momentum"], g["weight_decay"]) for g in groups] == [(1.0, 0.3, 0.1), (0.5, 0.3, 0.1)]

    # A second writing of SGD, with the momentum that the first run had gathered.
    parameters = [p for group in second.optimizer.param_groups for p in group["params"]]
    gathered = {index: entry["momentum_buffer"].clone() for index, entry in state["optimiser"].items()}
    assert gathered
    expected = [p.detach().clone() for p in parameters]
    rates = [0.02] * (len(parameters) - 2) + [0.01] * 2
    if first.done < first.warm_steps:
        rates = [0.003] * len(parameters)

    def before_step(optimiser: torch.optim.Optimizer, *_: object) -> None:
        for index, parameter in enumerate(parameters):
            if parameter.grad is not None:
                slope = parameter.grad + 0.1 * parameter.detach()
                gathered[index] = 0.3 * gathered[index] + slope if index in gathered else slope
                expected[index] = parameter.detach() - rates[index] * gathered[index]

    def after_step(optimiser: torch.optim.Optimizer, *_: object) -> None:
        after = [p.detach() for p in parameters]
        steps.append(max(float((p - e).abs().max()) for p, e in zip(after, expected, strict=True)))

    steps: list[float] = []
    second.optimizer.register_step_pre_hook(before_step)
    second.optimizer.register_step_post_hook(after_step)
    second.advance()
    assert len(steps) == 2 * 3
    assert max(steps) < 1e-12

    alone = make(tmp_path, change, {"train.iterations": 3})
    alone.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    alone.advance()
    assert any(not torch.equal(value, tensors(second)[name]) for name, value in tensors(alone).items())


def test_a_state_is_plain_and_stays_as_it_is(tmp_path: Path) -> None:
    def kinds(value: Any) -> set[type]:
        if type(value) is dict:
            return {dict}.union(*(kinds(key) | kinds(inner) for key, inner in value.items()))
        return {list}.union(*map(kinds, value)) if type(value) is list else {type(value)}

    task = make(tmp_path, PIXELS)
    task.advance()
    state = task.state_dict()
    assert kinds(state) <= {dict, list, Tensor, int, float, str, bool, type(None)}
    file = io.BytesIO()
    torch.save(state, file)
    before = file.getvalue()
    # Neither the task that gave it nor one that took it changes it.
    taker = make(tmp_path, PIXELS)
    taker.load_state_dict(state)
    task.advance()
    taker.advance()
    file = io.BytesIO()
    torch.save(state, file)
    assert file.getvalue() == before


def test_a_state_of_another_network_or_database_is_refused(tmp_path: Path) -> None:
    state = make(tmp_path, {"hash.bits": 9}).state_dict()
    with pytest.raises(ValueError, match=r"\(14, 9\).*\(14, 6\)"):
        make(tmp_path).load_state_dict(state)
    state = make(tmp_path, {"data.validation": 0.4}).state_dict()
    with pytest.raises(ValueError, match="codes"):
        make(tmp_path).load_state_dict(state)
