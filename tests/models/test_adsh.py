"""ADSH without the similarity matrix, against writings that build it."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.linalg import hadamard
from torch import Tensor

from raysearch.models.adsh import (
    hash_loss,
    quantization_loss,
    similarity_ratio,
    target_loss,
    targets,
    update_codes,
)

from .allocations import LargestAllocation


def similarity(sample_labels: Tensor, database_labels: Tensor, rho: float) -> Tensor:
    """(r, n) S: 1 for one class, -rho for two."""
    same = sample_labels[:, None] == database_labels
    return torch.where(same, torch.tensor(1.0, dtype=torch.float64), torch.tensor(-rho, dtype=torch.float64))


def random_codes(n: int, bits: int, draw: torch.Generator) -> Tensor:
    return torch.randint(2, (n, bits), generator=draw).double() * 2 - 1


def problem(seed: int, n: int, r: int, bits: int, classes: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Codes, outputs, sample and labels; class sizes differ, labels have gaps, some classes are not sampled."""
    draw = torch.Generator().manual_seed(seed)
    labels = 3 * torch.multinomial(torch.arange(1.0, classes + 1), n, replacement=True, generator=draw)
    sample = torch.randperm(n, generator=draw)[:r]
    u = torch.tanh(torch.randn(r, bits, generator=draw, dtype=torch.float64))
    return random_codes(n, bits, draw), u, sample, labels


def objective(codes: Tensor, u: Tensor, sample: Tensor, labels: Tensor, gamma: float, rho: float) -> float:
    distance = (u @ codes.T - u.shape[1] * similarity(labels[sample], labels, rho)).square().sum()
    return (distance + gamma * (codes[sample] - u).square().sum()).item()


def slow_update(codes: Tensor, u: Tensor, sample: Tensor, labels: Tensor, gamma: float, rho: float) -> Tensor:
    """Equation 17 as printed, O(n r c^2); checks after every bit that the objective did not grow."""
    codes = codes.clone()
    bits = u.shape[1]
    q = bits * similarity(labels[sample], labels, rho).T @ u
    q[sample] += gamma * u
    before = objective(codes, u, sample, labels, gamma, rho)
    for k in range(bits):
        others = [i for i in range(bits) if i != k]
        d = q[:, k] - codes[:, others] @ u[:, others].T @ u[:, k]
        codes[:, k] = torch.where(d == 0, codes[:, k], d.sign())
        after = objective(codes, u, sample, labels, gamma, rho)
        assert after <= before * (1 + 1e-12)
        before = after
    return codes


def test_ratio_counts_pairs() -> None:
    _, _, sample, labels = problem(0, n=150, r=40, bits=1, classes=8)
    pairs = [a == b for a in labels[sample].tolist() for b in labels.tolist()]
    rho = similarity_ratio(labels[sample], labels)
    assert rho == pytest.approx(sum(pairs) / (len(pairs) - sum(pairs)), rel=1e-12)
    assert isinstance(rho, float)
    assert abs(similarity(labels[sample], labels, rho).sum().item()) < 1e-9  # T1: S sums to zero


def test_ratio_of_balanced_classes_is_exact_for_many_pairs() -> None:
    # 10^10 pairs: more than int32 or float32 count.
    database = torch.arange(200_000) % 200
    assert similarity_ratio(database[:50_000], database) == pytest.approx(1 / 199, rel=1e-12)


@pytest.mark.parametrize("rho", [None, 1.0, 0.0])
def test_loss_and_gradient_with_explicit_similarity(rho: float | None) -> None:
    codes, u, sample, labels = problem(1, n=900, r=200, bits=12, classes=30)
    rho = similarity_ratio(labels[sample], labels) if rho is None else rho
    plain = u.clone().requires_grad_()
    fast = u.clone().requires_grad_()
    expected = (plain @ codes.T - 12 * similarity(labels[sample], labels, rho)).square().sum(1).mean() / 900
    loss = hash_loss(fast, labels[sample], codes, labels, rho)
    expected.backward()
    loss.backward()
    assert loss.shape == ()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
    assert (fast.grad - plain.grad).norm() < 1e-9 * plain.grad.norm()
    single = hash_loss(u.float(), labels[sample], codes.float(), labels, rho)
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize(("bits", "start"), [(12, 0.724), (24, 1.447), (32, 1.930), (48, 2.894)])
def test_loss_at_the_start_of_public_training_logs(bits: int, start: float) -> None:
    # K = 200, times 12 / c. Small outputs add c mean(u^2), since V^T V is near n I (T7).
    labels = torch.arange(200 * 40) % 200
    draw = torch.Generator().manual_seed(2)
    codes = random_codes(len(labels), bits, draw)
    loss = hash_loss(torch.zeros(200, bits, dtype=torch.float64), labels[:200], codes, labels, 1 / 199)
    assert 12 / bits * loss.item() == pytest.approx(start, abs=6e-4)
    u = 0.1 * torch.randn(200, bits, generator=draw, dtype=torch.float64)
    first = hash_loss(u, labels[:200], codes, labels, 1 / 199).item()
    assert first == pytest.approx(bits**2 / 199 + bits * u.square().mean().item(), rel=0.02)


@pytest.mark.parametrize("bits", [12, 24, 48])
def test_floor_of_the_loss_with_orthogonal_class_codes(bits: int) -> None:
    classes = torch.from_numpy(hadamard(256)[:, 1 : bits + 1].astype(np.float64))
    labels = torch.arange(1024) % 256
    u = (bits / 255 * classes).requires_grad_()
    loss = hash_loss(u, torch.arange(256), classes[labels], labels, 1 / 255)
    loss.backward()
    assert loss.item() == pytest.approx(bits**2 / 255 * (1 - bits / 255), rel=1e-12)
    assert u.grad.abs().max() < 1e-12


@pytest.mark.parametrize("gamma", [0.0, 200.0])
@pytest.mark.parametrize("rho", [None, 1.0])
@pytest.mark.parametrize("sweeps", [1, 3])
def test_update_with_explicit_similarity(gamma: float, rho: float | None, sweeps: int) -> None:
    codes, u, sample, labels = problem(3, n=400, r=90, bits=10, classes=12)
    ratio = similarity_ratio(labels[sample], labels) if rho is None else rho
    given = codes.clone()
    expected = codes
    for _ in range(sweeps):
        expected = slow_update(expected, u, sample, labels, gamma, ratio)
    updated = update_codes(codes, u, sample, labels, gamma, sweeps, rho=rho)
    assert torch.equal(updated, expected)
    assert torch.equal(codes, given)  # new codes, the old ones stay
    outside = torch.ones(400, dtype=torch.bool).index_fill_(0, sample, False)
    assert (updated != codes)[outside].any()
    assert torch.equal(update_codes(codes, u, sample, labels, gamma, sweeps, rho=rho), updated)


@pytest.mark.parametrize("seed", range(5))
def test_objective_never_grows_and_ends_where_no_bit_helps(seed: int) -> None:
    gamma = 20.0
    codes, u, sample, labels = problem(10 + seed, n=120, r=60, bits=8, classes=6)
    rho = similarity_ratio(labels[sample], labels)
    values = [objective(codes, u, sample, labels, gamma, rho)]
    for _ in range(30):
        previous = codes
        codes = update_codes(codes, u, sample, labels, gamma)
        assert (codes.abs() == 1).all()
        values.append(objective(codes, u, sample, labels, gamma, rho))
    assert all(after <= before * (1 + 1e-12) for before, after in pairwise(values))
    assert values[-1] < values[0]
    assert torch.equal(previous, codes)
    for row, bit in np.ndindex(12, 8):
        flipped = codes.clone()
        flipped[10 * row, bit] *= -1
        assert objective(flipped, u, sample, labels, gamma, rho) >= values[-1] * (1 - 1e-12)


@pytest.mark.parametrize("dtype", [torch.int8, torch.float32, torch.float64])
def test_a_bit_that_costs_the_same_either_way_stays(dtype: torch.dtype) -> None:
    codes, u, sample, labels = problem(4, n=60, r=20, bits=6, classes=4)
    codes = codes.to(dtype)
    assert torch.equal(update_codes(codes, torch.zeros(20, 6), sample, labels), codes)
    u[:, 2] = 0
    updated = update_codes(codes, u.float(), sample, labels)
    assert updated.dtype == dtype
    assert torch.equal(updated[:, 2], codes[:, 2])
    assert not torch.equal(updated, codes)
    assert (updated.abs() == 1).all()


def test_neither_function_builds_anything_as_large_as_the_similarity() -> None:
    n = 200_000
    r = 50_000
    bits = 12
    draw = torch.Generator().manual_seed(5)
    labels = torch.randint(200, (n,), generator=draw)
    sample = torch.randperm(n, generator=draw)[:r]
    codes = random_codes(n, bits, draw).float()
    u = torch.rand(r, bits, generator=draw) - 0.5
    with LargestAllocation() as memory:
        update_codes(codes, u, sample, labels, sweeps=1)
        hash_loss(u.requires_grad_(), labels[sample], codes, labels, 1 / 199).backward()
    assert 4 * n * bits <= memory.largest <= 4 * 8 * n * bits  # a few times the codes; S would take 40 GB


@pytest.mark.parametrize(("hard", "fewest", "bound"), [(False, 190, 200), (True, 1, 1)])
def test_only_the_soft_similarity_tells_classes_apart(hard: bool, fewest: int, bound: int) -> None:
    # T6: one free embedding a class. With S = -1 a constant pair u = -v is cheaper than any spread of codes.
    classes = 200
    bits = 12
    labels = torch.arange(classes * 15) % classes
    codes = random_codes(len(labels), bits, torch.Generator().manual_seed(6)).float()
    u = torch.zeros(classes, bits)
    everyone = torch.arange(classes)
    rho = 1.0 if hard else 1 / (classes - 1)
    for _ in range(25):
        for _ in range(20):
            u.requires_grad_()
            (slope,) = torch.autograd.grad(hash_loss(u, everyone, codes, labels, rho) * classes, u)
            u = (u - slope / (2 * bits)).clamp(-1, 1).detach()  # the curvature is 2 c at most
        codes = update_codes(codes, u[labels], torch.arange(len(labels)), labels, gamma=0.0, rho=1.0 if hard else None)
    class_codes = codes.view(15, classes, bits).sum(0).sign()
    assert fewest <= len(class_codes.unique(dim=0)) <= bound


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_autocast_region_changes_no_number(dtype: torch.dtype) -> None:
    codes, u, sample, labels = problem(7, n=300, r=80, bits=24, classes=10)
    codes = codes.to(dtype)
    u = u.to(dtype)
    rho = similarity_ratio(labels[sample], labels)

    outputs = u.clone().requires_grad_()

    def everything() -> list[Tensor]:
        fixed = targets(codes, labels, rho)
        return [
            hash_loss(outputs, labels[sample], codes, labels, rho),
            target_loss(outputs, labels[sample], fixed),
            quantization_loss(outputs, codes[sample], 300),
            update_codes(codes, u, sample, labels, 5.0, 2),
            *fixed,
        ]

    expected = everything()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
        inside = everything()
    slopes = [[torch.autograd.grad(loss, outputs)[0] for loss in run[:3]] for run in (inside, expected)]
    for a, b in zip(inside + slopes[0], expected + slopes[1], strict=True):
        assert a.dtype == dtype
        assert torch.equal(a, b)


def test_outputs_in_half_the_bits_are_computed_with_all_of_them() -> None:
    codes, u, sample, labels = problem(8, n=300, r=80, bits=24, classes=10)
    half = u.bfloat16()
    rho = similarity_ratio(labels[sample], labels)
    wide = half.float()
    codes = codes.float()
    assert torch.equal(update_codes(codes, half, sample, labels), update_codes(codes, wide, sample, labels))
    arguments = labels[sample], codes, labels, rho
    assert torch.equal(hash_loss(half, *arguments), hash_loss(wide, *arguments))
    assert torch.equal(quantization_loss(half, codes[sample], 300), quantization_loss(wide, codes[sample], 300))


def test_single_and_double_precision_choose_the_same_codes() -> None:
    codes, u, sample, labels = problem(9, n=300, r=80, bits=24, classes=10)
    single = update_codes(codes.float(), u.float(), sample, labels, sweeps=3)
    assert torch.equal(single.double(), update_codes(codes, u.float().double(), sample, labels, sweeps=3))


def test_the_order_in_memory_changes_no_code() -> None:
    codes, u, sample, labels = problem(10, n=300, r=80, bits=24, classes=10)
    expected = update_codes(codes, u, sample, labels)
    by_columns = [t.T.contiguous().T for t in (codes, u)]
    assert not by_columns[0].is_contiguous()
    assert torch.equal(update_codes(*by_columns, sample, labels), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int8])
def test_new_codes_lie_in_memory_as_the_old_ones(dtype: torch.dtype) -> None:
    """Workers exchange them as they lie."""
    labels = torch.arange(12) % 3
    codes = torch.ones(12, 4, dtype=dtype)
    new = update_codes(codes, torch.randn(5, 4), torch.arange(5), labels)
    assert new.dtype == dtype
    assert new.is_contiguous()
    assert codes.eq(1).all(), "the old codes stay as they are"
