"""Few-shot training against its second writing: losses, gradients' steps, statistics, in float64."""

from typing import Any

import pytest
import torch
from torch import Tensor

from .fewshot_reference import Reference
from .fewshot_runs import FROZEN, METHODS, SGD, STARTED, finish, make

pytestmark = pytest.mark.usefixtures("tiny_taps", "double")

CASES: dict[str, dict[str, Any]] = {
    **METHODS,
    "relation, sgd": {**METHODS["relation"], **SGD},
    "lwfm, sgd, from a pre-training": {**METHODS["lwfm"], **SGD, **STARTED},
    "lwfm, frozen": {**METHODS["lwfm"], **FROZEN},
    "helixformer, frozen": {**METHODS["helixformer"], **FROZEN, **SGD},
    "centroid, decaying": {**METHODS["centroid"], "train.weight_decay": 0.1, "data.augment": "none"},
}
# In front of a batch norm: their gradients are nothing but rounding, of which Adam makes whole steps.
IDLE = ("comparer.head.compare.bias", "comparer.head.block.0.bias")


def close(name: str, value: Tensor, expected: Tensor, relative: float) -> None:
    def words(text: str) -> str:
        return f"{name}: {text}"

    torch.testing.assert_close(value.detach(), expected.detach(), rtol=relative, atol=relative / 100, msg=words)


@pytest.mark.parametrize("case", CASES)
def test_training_equals_its_second_writing(case: str) -> None:
    task = make(CASES[case], seed=3)
    before = {name: value.clone() for name, value in task.network.named_parameters()}
    second = Reference(task)
    reports = finish(task)
    expected = [second.epoch(number) for number in range(2)]

    for report, plain in zip(reports, expected, strict=False):
        assert {name: report[name] for name in plain} == pytest.approx(plain, rel=1e-8, abs=1e-10)
        assert set(report) - set(plain) == {"iteration", "phase", "epochs", "lr", "accuracy_validation"}
    for name, value in task.network.named_parameters():
        assert torch.equal(value, before[name]) == (name not in second.learned), name
        if name not in IDLE:
            close(name, value, second.values[name], 1e-7)
    for name, value in task.network.named_buffers():
        if name.startswith(("trunk.", "comparer.helix.")) and "num_batches" not in name:
            close(name, value, second.values[name], 1e-8)
