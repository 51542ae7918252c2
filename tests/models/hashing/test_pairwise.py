"""DPSH, DSH and HashNet: sums over pairs written as loops, slopes by finite differences."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from raysearch.models.hashing import dpsh, dsh, hashnet


def outputs(batch: int, bits: int, seed: int) -> Tensor:
    return torch.randn(batch, bits, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def labels(kind: str, batch: int, seed: int = 0) -> Tensor:
    if kind == "one class":
        return torch.full((batch,), 4)
    if kind == "all different":
        return torch.arange(batch)
    return torch.randint(3, (batch,), generator=torch.Generator().manual_seed(seed))


KINDS = ("mixed", "one class", "all different")


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def likelihood(log_odds: float, same: bool) -> float:
    return math.log(1 + math.exp(log_odds)) - same * log_odds


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("eta", [0.0, 0.1, 2.0])
def test_dpsh_loop(kind: str, eta: float) -> None:
    u = outputs(5, 3, 0)
    bank = outputs(8, 3, 1)
    classes = labels(kind, 5)
    other_classes = 100 * (kind == "all different") + labels(kind, 8, 1)
    pairs = [
        likelihood(0.5 * dot(a, b), x == y)
        for a, x in zip(u.tolist(), classes.tolist(), strict=True)
        for b, y in zip(bank.tolist(), other_classes.tolist(), strict=True)
    ]
    rounding = [(value - math.copysign(1, value)) ** 2 for row in u.tolist() for value in row]
    expected = sum(pairs) / len(pairs) + eta * sum(rounding) / len(rounding)
    assert dpsh.loss(u, classes, bank, other_classes, eta).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [1, 2, 6])
@pytest.mark.parametrize(("margin", "alpha"), [(None, None), (1.5, 0.3), (0.0, 0.0)])
def test_dsh_loop(kind: str, batch: int, margin: float | None, alpha: float | None) -> None:
    u = outputs(batch, 3, 2)
    classes = labels(kind, batch)
    weight = 0.01 if alpha is None else alpha
    far = 6.0 if margin is None else margin
    rows = u.tolist()
    pairs = []
    off = [sum(abs(abs(value) - 1) for value in row) for row in rows]
    for i in range(batch):
        for j in range(i + 1, batch):
            distance = sum((x - y) ** 2 for x, y in zip(rows[i], rows[j], strict=True))
            y = float(classes[i] != classes[j])
            pair = (1 - y) / 2 * distance + y / 2 * max(far - distance, 0)
            pairs.append(pair + weight * (off[i] + off[j]))
    expected = sum(pairs) / len(pairs) if pairs else 2 * weight * off[0]
    loss = dsh.loss(u, classes, margin) if alpha is None else dsh.loss(u, classes, margin, alpha)
    assert loss.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("alpha", [None, 0.7])
@pytest.mark.parametrize("second", [False, True])
def test_hashnet_loop(kind: str, alpha: float | None, second: bool) -> None:
    h = outputs(6, 4, 3).tanh()
    classes = labels(kind, 6)
    second_h = outputs(7, 4, 4).tanh()
    other_classes = 100 * (kind == "all different") + labels(kind, 7, 1)
    factor = 10 / 4 if alpha is None else alpha
    first = list(zip(h.tolist(), classes.tolist(), strict=True))
    right = list(zip(second_h.tolist(), other_classes.tolist(), strict=True))
    if second:
        pairs = [(a, b) for a in first for b in right]
    else:
        pairs = [(first[i], first[j]) for i in range(6) for j in range(i + 1, 6)]
    positive = sum(a[1] == b[1] for a, b in pairs)
    negative = len(pairs) - positive
    terms = []
    weights = []
    for (a, x), (b, y) in pairs:
        weights.append(len(pairs) / (positive if x == y else negative))
        terms.append(weights[-1] * likelihood(factor * dot(a, b), x == y))
    given = (second_h, other_classes) if second else (None, None)
    loss = hashnet.loss(h, classes, *given, alpha)
    assert loss.item() == pytest.approx(sum(terms) / sum(weights), rel=1e-12)


def test_hashnet_counts_both_kinds_alike() -> None:
    # One positive pair among fifteen: repeating negatives a hundred times over changes nothing.
    h = outputs(1, 4, 5).tanh()
    second_h = outputs(2, 4, 6).tanh()
    few = hashnet.loss(h, torch.tensor([0]), second_h, torch.tensor([0, 1]))
    many = hashnet.loss(h, torch.tensor([0]), second_h[[0] + [1] * 100], torch.tensor([0] + [1] * 100))
    assert many.item() == pytest.approx(few.item(), rel=1e-12)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "dpsh": lambda u, y: dpsh.loss(u, y, outputs(7, u.shape[1], 8).to(u), torch.arange(7) % 3),
    "dpsh, a live bank": lambda u, y: dpsh.loss(u, y, u, y),
    "dsh": dsh.loss,
    "hashnet": lambda u, y: hashnet.loss(u.tanh(), y),
    "hashnet, two batches": lambda u, y: hashnet.loss(u.tanh(), y, 0.3 * u.flip(0).tanh(), y.flip(0)),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("kind", KINDS)
def test_slopes(name: str, kind: str) -> None:
    u = outputs(5, 3, 7).requires_grad_()  # no entry is near 0, where sign jumps
    assert torch.autograd.gradcheck(lambda u: LOSSES[name](u, labels(kind, 5)), (u,))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("size", [0.0, 1.0, 1e3])
def test_any_batch_and_outputs_of_any_size_are_finite(name: str, kind: str, batch: int, size: float) -> None:
    u = (size * outputs(batch, 48, 9)).float().requires_grad_()
    loss = LOSSES[name](u, labels(kind, batch))
    loss.backward()
    assert loss.shape == ()
    assert loss.isfinite()
    assert u.grad.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_an_autocast_region_changes_no_number(name: str) -> None:
    u = outputs(6, 24, 10).float()
    classes = labels("mixed", 6)
    expected = LOSSES[name](u, classes)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = LOSSES[name](u, classes)
        half = LOSSES[name](u.bfloat16(), classes)
    assert inside.dtype == half.dtype == torch.float32
    assert torch.equal(inside, expected)


@pytest.mark.parametrize("name", LOSSES)
def test_the_order_of_a_batch_is_nothing(name: str) -> None:
    u = outputs(6, 5, 11)
    classes = labels("mixed", 6)
    order = torch.tensor([3, 0, 5, 1, 2, 4])
    assert LOSSES[name](u[order], classes[order]).item() == pytest.approx(LOSSES[name](u, classes).item(), rel=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_a_step_down_the_slope_brings_a_class_together(name: str) -> None:
    u = 0.1 * outputs(8, 6, 12)
    classes = torch.arange(8) % 2
    for _ in range(200):
        u.requires_grad_()
        (slope,) = torch.autograd.grad(LOSSES[name](u, classes % 3), u)
        u = (u - 2 * slope).detach()
    codes = u.sign()
    inner = codes @ codes.T
    same = classes[:, None] == classes
    assert inner[same].mean() > inner[~same].mean() + 4


def test_hashnet_needs_a_second_batch_whole() -> None:
    h = outputs(3, 4, 13)
    classes = labels("mixed", 3)
    with pytest.raises(ValueError, match="both"):
        hashnet.loss(h, classes, h)
    with pytest.raises(ValueError, match="both"):
        hashnet.loss(h, classes, None, classes)


def test_beta_of_the_published_schedule() -> None:
    steps = range(0, 10_000, 37)
    assert [hashnet.scale(step) for step in steps] == [(1 + 0.005 * (step - step % 200)) ** 0.5 for step in steps]
    assert hashnet.scale(25, growth=0.1, every=10) == pytest.approx(3**0.5)


def test_a_bank_as_large_as_a_data_set_needs_batch_times_bank() -> None:
    # n x n of 75,750 would be 23 GB
    bank = torch.randn(75_750, 12)
    loss = dpsh.loss(torch.randn(4, 12), torch.arange(4), bank, torch.arange(75_750) % 101)
    assert loss.isfinite()
