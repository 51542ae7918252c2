"""SDH: every step against loops with the one-hot matrix written out, and the objective that no step may raise."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from raysearch.models import hashing
from raysearch.models.hashing.sdh import RIDGE, KernelMachine, classifier, discrete_codes, kernel, median_width


def problem(n: int = 90, d: int = 8, classes: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=draw)
    centres = torch.randn(classes, d, generator=draw, dtype=torch.float64)
    return centres[labels] + 0.5 * torch.randn(n, d, generator=draw, dtype=torch.float64), labels


def one_hot(labels: Tensor) -> np.ndarray:
    names = sorted(set(labels.tolist()))
    return np.array([[float(label == name) for name in names] for label in labels.tolist()])


def loop_kernel(features: Tensor, anchors: Tensor, width: float) -> np.ndarray:
    return np.array([[math.exp(-width * ((f - a) ** 2).sum()) for a in anchors.numpy()] for f in features.numpy()])


def objective(codes: np.ndarray, y: np.ndarray, w: np.ndarray, phi: np.ndarray, p: np.ndarray, lam: float, nu: float):
    error = ((y - codes @ w) ** 2).sum() + lam * (w**2).sum()
    return error + nu * (((codes - phi @ p) ** 2).sum() + RIDGE * (p**2).sum())


def loop_bits(codes: np.ndarray, y: np.ndarray, w: np.ndarray, target: np.ndarray, nu: float) -> np.ndarray:
    """Bit by bit in every row, by asking the objective which value is cheaper, until a pass changes nothing."""

    def cost(i: int, code: np.ndarray) -> float:
        return ((y[i] - code @ w) ** 2).sum() + nu * ((code - target[i]) ** 2).sum()

    codes = codes.copy()
    while True:
        before = codes.copy()
        for k in range(codes.shape[1]):
            for i in range(len(codes)):
                flipped = codes[i].copy()
                flipped[k] *= -1
                if cost(i, flipped) < cost(i, codes[i]):
                    codes[i] = flipped
        if np.array_equal(codes, before):
            return codes


@pytest.mark.parametrize(
    ("bits", "anchors", "width", "lam", "nu"), [(6, 20, None, 1.0, 1e-5), (4, 500, 0.05, 0.3, 0.1)]
)
@pytest.mark.parametrize("iterations", [1, 5])
def test_loop(bits: int, anchors: int, width: float | None, lam: float, nu: float, iterations: int) -> None:
    features, labels = problem()
    options = {"anchors": anchors, "width": width, "lam": lam, "nu": nu, "iterations": iterations}
    encoder = hashing.fit("sdh", features, 5 + 3 * labels, bits, seed=2, **options)
    draw = torch.Generator().manual_seed(2)
    chosen = features[torch.randperm(90, generator=draw)[:anchors]]
    codes = torch.randint(2, (90, bits), generator=draw).double().numpy() * 2 - 1
    assert torch.equal(encoder.anchors, chosen)
    if width is None:
        distances = sorted(math.dist(a, b) for a, b in itertools.combinations(chosen.tolist(), 2))
        width = 1 / (2 * distances[(len(distances) - 1) // 2] ** 2)
    assert encoder.width.item() == pytest.approx(width, rel=1e-9)
    phi = loop_kernel(features, chosen, width)
    y = one_hot(labels)

    def machine(codes: np.ndarray) -> np.ndarray:
        return np.linalg.solve(phi.T @ phi + RIDGE * np.eye(len(chosen)), phi.T @ codes)

    for _ in range(iterations):
        w = np.linalg.solve(codes.T @ codes + lam * np.eye(bits), codes.T @ y)
        codes = loop_bits(codes, y, w, phi @ machine(codes), nu)
    np.testing.assert_allclose(encoder.directions.numpy(), machine(codes), rtol=1e-4, atol=1e-5)
    assert np.array_equal(encoder(features).numpy(), np.sign(phi @ machine(codes)))
    fresh, _ = problem(seed=1)
    assert np.array_equal(encoder(fresh).numpy(), np.sign(loop_kernel(fresh, chosen, width) @ machine(codes)))


@pytest.mark.parametrize(("ridge", "bias"), [(1e-2, True), (1e-2, False), (0.5, True)])
def test_ridge_and_bias_of_the_authors_program(ridge: float, bias: bool) -> None:
    """Second writing: their demo appends ones to phi, and solves (phi^T phi + ridge I) P = phi^T B."""
    features, labels = problem()
    options = {"anchors": 20, "width": 0.2, "iterations": 1, "nu": 0.05, "ridge": ridge, "bias": bias}
    encoder = hashing.fit("sdh", features, labels, 6, seed=2, **options)
    draw = torch.Generator().manual_seed(2)
    chosen = features[torch.randperm(90, generator=draw)[:20]]
    start = torch.randint(2, (90, 6), generator=draw).double().numpy() * 2 - 1

    def mapped(rows: Tensor) -> np.ndarray:
        phi = loop_kernel(rows, chosen, 0.2)
        return np.hstack([phi, np.ones((len(phi), 1))]) if bias else phi

    phi = mapped(features)
    y = one_hot(labels)

    def machine(codes: np.ndarray) -> np.ndarray:
        return np.linalg.solve(phi.T @ phi + ridge * np.eye(phi.shape[1]), phi.T @ codes)

    w = np.linalg.solve(start.T @ start + np.eye(6), start.T @ y)
    codes = loop_bits(start, y, w, phi @ machine(start), 0.05)
    np.testing.assert_allclose(encoder.directions.numpy(), machine(codes), rtol=1e-6, atol=1e-9)
    fresh, _ = problem(seed=1)
    expected = np.sign(mapped(fresh) @ machine(codes))
    assert np.array_equal(encoder(fresh).numpy(), expected)
    assert np.array_equal(hashing.restore("sdh", encoder.state_dict())(fresh).numpy(), expected)


@pytest.mark.parametrize(("lam", "nu"), [(1.0, 1e-5), (0.1, 1.0)])
def test_no_step_raises_the_objective(lam: float, nu: float) -> None:
    features, labels = problem(n=150)
    anchors = features[:40]
    phi = kernel(features, anchors, median_width(anchors))
    y = one_hot(labels)
    bits = 10
    machine = KernelMachine(phi)
    draw = torch.Generator().manual_seed(3)
    codes = torch.randint(2, (150, bits), generator=draw).double() * 2 - 1
    w = torch.randn(bits, 4, generator=draw).double()
    p = torch.randn(40, bits, generator=draw).double()

    def now() -> float:
        return objective(codes.numpy(), y, w.numpy(), phi.numpy(), p.numpy(), lam, nu)

    values = [now()]
    for _ in range(6):
        w = classifier(codes, labels, 4, lam)
        values.append(now())
        p = machine.directions(codes)
        values.append(now())
        for _ in range(3):
            codes = discrete_codes(codes, w.T[labels] + nu * phi @ p, w @ w.T, sweeps=1)
            values.append(now())
    assert all(after <= before * (1 + 1e-9) for before, after in itertools.pairwise(values))
    assert values[-1] < 0.5 * values[1]


def test_classifier_and_kernel_machine_are_where_the_slope_is_zero() -> None:
    features, labels = problem()
    phi = kernel(features, features[:30], torch.tensor(0.2))
    y = torch.from_numpy(one_hot(labels))
    codes = torch.randint(2, (90, 7), generator=torch.Generator().manual_seed(4)).double() * 2 - 1
    w = classifier(codes, labels, 4, lam=0.7).requires_grad_()
    p = KernelMachine(phi).directions(codes).requires_grad_()
    error = (y - codes @ w).square().sum() + 0.7 * w.square().sum()
    error = error + (codes - phi @ p).square().sum() + RIDGE * p.square().sum()
    slopes = torch.autograd.grad(error, (w, p))
    assert max(slope.abs().max().item() for slope in slopes) < 1e-7


@pytest.mark.parametrize("seed", range(5))
def test_codes_against_all_codes_of_few_bits(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    bits = 5
    n = 60
    factor = 0.5 * torch.randn(bits, 3, generator=draw, dtype=torch.float64)
    gram = factor @ factor.T
    drive = 2 * torch.randn(n, bits, generator=draw, dtype=torch.float64)
    every = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=bits)), dtype=torch.float64)
    costs = ((every @ gram) * every).sum(1) - 2 * drive @ every.T
    best = every[costs.argmin(1)]

    def cost(codes: Tensor) -> Tensor:
        return ((codes @ gram) * codes).sum(1) - 2 * (codes * drive).sum(1)

    start = torch.ones(n, bits, dtype=torch.float64)
    minimum = discrete_codes(start, drive, gram, sweeps=100)
    assert (cost(minimum) >= costs.amin(1) - 1e-12).all()
    assert torch.isclose(cost(minimum), costs.amin(1)).double().mean() > 0.6
    for bit in range(bits):
        flipped = minimum.clone()
        flipped[:, bit] *= -1
        assert (cost(flipped) >= cost(minimum) - 1e-12).all()
    assert torch.equal(discrete_codes(best, drive, gram, sweeps=100), best)
    # Bits that do not meet are solved at once.
    alone = discrete_codes(start, drive, gram.diagonal().diag(), sweeps=1)
    assert torch.equal(alone, drive.sign())
    assert torch.equal(start, torch.ones(n, bits, dtype=torch.float64))


def test_a_bit_that_costs_the_same_either_way_stays() -> None:
    codes = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    assert torch.equal(discrete_codes(codes, torch.zeros(2, 2), torch.eye(2), sweeps=3), codes)


def test_sweeps_go_on_until_no_bit_changes() -> None:
    # A chain: each bit wants the sign of the next one, so a sweep moves the news by one bit.
    gram = torch.zeros(6, 6)
    for bit in range(5):
        gram[bit, bit + 1] = gram[bit + 1, bit] = -1.0
    drive = torch.full((1, 6), -0.5)
    drive[0, 5] = -10.0
    drive[0, 0] = 0.5
    start = torch.ones(1, 6)
    ends = [discrete_codes(start, drive, gram, sweeps).int().tolist()[0] for sweeps in (1, 100)]
    assert ends == [[1, 1, 1, 1, 1, -1], [-1] * 6]


def test_median_of_an_even_number_of_distances_is_the_lower() -> None:
    points = torch.tensor([[0.0], [1.0], [3.0], [7.0]])  # 1 2 3 4 6 7
    assert median_width(points).item() == pytest.approx(1 / 18)


def test_the_kernel_machine_stays_bounded_where_rounding_makes_eigenvalues_negative(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Singular values s of phi become s / (s^2 + ridge), at most 1 / (2 sqrt(ridge)).
    draw = torch.Generator().manual_seed(7)
    phi = torch.rand(100, 5, generator=draw, dtype=torch.float64).repeat(1, 10)
    codes = torch.randint(2, (100, 4), generator=draw).double() * 2 - 1
    values, vectors = torch.linalg.eigh(phi.T @ phi)
    assert values[0] < 0
    values[0] = -RIDGE  # as far as rounding goes with 75,000 rows and 1,000 anchors
    monkeypatch.setattr(torch.linalg, "eigh", lambda _: (values, vectors))
    directions = KernelMachine(phi).directions(codes)
    assert directions.norm() <= codes.norm() / (2 * RIDGE**0.5)
    best = torch.linalg.lstsq(phi[:, :5], codes).solution
    torch.testing.assert_close(phi @ directions, phi[:, :5] @ best, rtol=1e-4, atol=1e-4)


def test_repeated_images_leave_the_machine_finite() -> None:
    features, labels = problem(n=30)
    twice = features.repeat(3, 1)
    encoder = hashing.fit("sdh", twice, labels.repeat(3), 6)
    assert encoder.directions.isfinite().all()
    assert torch.equal(encoder(twice)[:30], encoder(twice)[60:])


def test_codes_of_a_class_agree_where_classes_are_easy() -> None:
    draw = torch.Generator().manual_seed(6)
    labels = torch.arange(200) % 4
    features = torch.eye(4)[labels] * 10 + torch.randn(200, 4, generator=draw)
    codes = hashing.fit("sdh", features, labels, 16)(features)
    for label in range(4):
        of_class = codes[labels == label]
        assert (of_class == of_class.mean(0).sign()).float().mean() > 0.95
    means = torch.stack([codes[labels == label].mean(0).sign() for label in range(4)])
    assert ((means[:, None] != means).sum(2) + 99 * torch.eye(4)).min() >= 2
