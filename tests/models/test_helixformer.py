"""HelixFormer against a writing with every pair apart, and by what must not matter."""

import copy
import itertools
import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from raysearch.models.helixformer import DESIGNS, HelixFormer

from .helix_reference import Reference

FUSIONS = ("mul", "add", "mul_res")
CASES = [(design, seed) for design in DESIGNS for seed in range(12)]


@pytest.fixture(autouse=True)
def _same_start() -> Iterator[None]:
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def started(module: nn.Module) -> Any:
    """In double precision, with weights, biases and statistics that tell every part from every other."""
    for tensor in module.double().state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.3, 0.7)
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1 or "bias" in name:
            nn.init.normal_(parameter, std=0.3)
    return module


def maps(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def episodes(seed: int) -> tuple[Tensor, Tensor]:
    """Supports (E,S,C,H,W) and queries (E,Q,C,H,W): 2 to 5 ways of 1 to 3 shots and 1 to 4 queries."""
    draw = random.Random(seed)
    while True:
        ways, shots, queries, count = draw.randint(2, 5), draw.randint(1, 3), draw.randint(1, 4), draw.randint(1, 3)
        if count * ways**2 * shots * queries <= 60:
            break
    height, width = draw.randint(3, 7), draw.randint(3, 7)
    torch.manual_seed(seed)
    return maps(count, ways * shots, 4, height, width), maps(count, ways * queries, 4, height, width)


def options(design: str, seed: int) -> dict[str, Any]:
    draw = random.Random(f"{design}{seed}")
    return {
        "design": design,
        "fusion": FUSIONS[seed % 3],
        "depth": draw.randint(1, 3),
        "heads": draw.randint(1, 4),
        "kv_stride": draw.randint(1, 2),
        "rep": seed % 4 != 0,
        "rmp": seed % 5 != 0,
    }


def network(**given: Any) -> Any:
    draw = random.Random(repr(given))
    sizes = {"dim_head": draw.randint(1, 3), "width": draw.choice([3, 4, 5]), "mlp_ratio": 2}
    return started(HelixFormer(4, **sizes, embed_kernel=draw.choice([1, 3]), **given))


def assert_close(got: Tensor, expected: Tensor, relative: float, floor: float = 0.0) -> None:
    error = (got - expected).norm().item()
    assert error <= relative * expected.norm().item() + floor, error / max(expected.norm().item(), 1e-300)


@pytest.mark.parametrize(("design", "seed"), CASES)
def test_pairs_apart(design: str, seed: int) -> None:
    given = options(design, seed)
    helix, (support, query) = network(**given), episodes(seed)
    before = {name: value.clone() for name, value in helix.state_dict().items()}
    state = before | {name: before[name].clone().requires_grad_() for name, _ in helix.named_parameters()}
    reference = Reference(state, **given)
    slow = [support.clone().requires_grad_(), query.clone().requires_grad_()]
    fast = [support.clone().requires_grad_(), query.clone().requires_grad_()]
    expected, got = reference(*slow), helix(*fast)
    for one, other in zip(got, expected, strict=True):
        assert one.shape == other.shape
        assert_close(one, other, 1e-9)
    weights = [torch.randn_like(one) for one in expected]
    sum((x * w).sum() for x, w in zip(expected, weights, strict=True)).backward()
    sum((x * w).sum() for x, w in zip(got, weights, strict=True)).backward()
    largest = max(
        state[name].grad.norm().item() for name, _ in helix.named_parameters() if state[name].grad is not None
    )
    for name, parameter in helix.named_parameters():
        assert_close(parameter.grad, state[name].grad, 1e-9, floor=1e-13 * largest)
    for one, other in zip(fast, slow, strict=True):
        assert_close(one.grad, other.grad, 1e-9, floor=1e-13 * largest)
    after = dict(helix.named_buffers())
    assert set(reference.statistics) == set(after)
    for name, expected_value in reference.statistics.items():
        assert_close(after[name].double(), expected_value.double(), 1e-12)


@pytest.mark.parametrize("design", DESIGNS)
def test_pairs_apart_in_eval_mode(design: str) -> None:
    given = options(design, 7)
    helix, (support, query) = network(**given).eval(), episodes(3)
    before = {name: value.clone() for name, value in helix.state_dict().items()}
    for one, other in zip(
        helix(support, query), Reference(before, **given, training=False)(support, query), strict=True
    ):
        assert_close(one, other, 1e-12)
    for name, value in helix.state_dict().items():
        assert torch.equal(value, before[name])
