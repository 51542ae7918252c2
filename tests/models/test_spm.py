"""Assignment and the other matchers against every permutation, scipy and loops over pixels."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from raysearch.core import UserError
from raysearch.models.spm import (
    Matches,
    assign,
    build_matcher,
    hungarian,
    mutual_nearest_neighbour,
    nearest_neighbour,
    sinkhorn,
    strongest,
    transport_plan,
)


def random(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def total(cost: Tensor, columns: Tensor) -> Tensor:
    return cost.double().gather(-1, columns.unsqueeze(-1)).sum((-1, -2))


def least(cost: Tensor) -> float:
    values = cost.tolist()
    orders = itertools.permutations(range(len(values)))
    return min(math.fsum(values[i][j] for i, j in enumerate(order)) for order in orders)


def gap(cost: np.ndarray) -> float:
    """What the second best assignment costs more: the best one of those that lack one edge of the best."""
    rows, columns = linear_sum_assignment(cost)
    others = []
    for row, column in zip(rows, columns, strict=True):
        without = cost.copy()
        without[row, column] = np.inf
        if np.isfinite(without[row]).any():
            others.append(without[linear_sum_assignment(without)].sum())
    return min(others) - cost[rows, columns].sum()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", range(1, 7))
def test_no_permutation_costs_less(n: int, dtype: torch.dtype) -> None:
    costs = random(n, 2, 5, n, n).to(dtype)
    columns = assign(costs)
    assert columns.shape == (2, 5, n)
    assert columns.dtype == torch.int64
    assert (columns.sort(-1).values == torch.arange(n)).all()
    for cost, value in zip(costs.flatten(0, 1), total(costs, columns).flatten(), strict=True):
        assert value.item() == pytest.approx(least(cost.double()), rel=1e-12)


@pytest.mark.parametrize(("n", "problems"), [(9, 30), (16, 20), (25, 8), (49, 2)])
def test_scipy(n: int, problems: int) -> None:
    costs = random(10 + n, problems, n, n)
    for cost, columns in zip(costs.numpy(), assign(costs).numpy(), strict=True):
        rows, expected = linear_sum_assignment(cost)
        assert cost[rows, columns].sum() == pytest.approx(cost[rows, expected].sum(), rel=1e-12)
        assert gap(cost) > 1e-9
        assert (columns == expected).all()


def rank_one(draw: torch.Generator) -> Tensor:
    x, y = torch.rand(2, 5, generator=draw, dtype=torch.float64)
    return x.outer(y)


HARD: dict[str, Callable[[torch.Generator], Tensor]] = {
    "constant": lambda draw: torch.full((5, 5), 0.1, dtype=torch.float64),
    "ties": lambda draw: torch.randint(3, (5, 5), generator=draw).double(),
    "integers": lambda draw: torch.randint(3, (5, 5), generator=draw),
    "rank one": rank_one,
    "duplicated rows": lambda draw: torch.rand(1, 5, generator=draw, dtype=torch.float64).repeat(5, 1),
    "permutation": lambda draw: -torch.eye(5)[torch.randperm(5, generator=draw)],
    "huge": lambda draw: 1e300 * torch.rand(5, 5, generator=draw, dtype=torch.float64),
    "a sum that overflows": lambda draw: 1e307 * (2 + torch.rand(5, 5, generator=draw, dtype=torch.float64)),
    "tiny": lambda draw: 1e-300 * torch.rand(5, 5, generator=draw, dtype=torch.float64),
    "two scales": lambda draw: 10.0 ** torch.randint(-9, 9, (5, 5), generator=draw).double(),
    "negative": lambda draw: -torch.rand(5, 5, generator=draw),
}


@pytest.mark.parametrize("kind", HARD)
def test_hard_costs(kind: str) -> None:
    draw = torch.Generator().manual_seed(30)
    for _ in range(5):
        cost = HARD[kind](draw)
        columns = assign(cost)
        assert columns.sort().values.tolist() == list(range(5))
        assert total(cost, columns).item() == pytest.approx(least(cost.double()), rel=1e-12)


def test_nothing_to_assign_and_strided_costs() -> None:
    assert assign(torch.empty(3, 0, 4, 4)).shape == (3, 0, 4)
    assert assign(torch.zeros(2, 1, 1)).tolist() == [[0], [0]]
    costs = random(31, 4, 6, 6)
    assert torch.equal(assign(costs.mT), torch.stack([assign(cost.T.contiguous()) for cost in costs]))
    assert not assign(costs.requires_grad_()).requires_grad


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_cost_that_is_not_finite_is_named(value: float) -> None:
    costs = random(32, 3, 4, 5, 5)
    costs[1, 2, 0, 3] = costs[2, 0, 0, 0] = value
    with pytest.raises(ValueError, match=r"\(1, 2\)"):
        assign(costs)
    with pytest.raises(ValueError, match="not all finite"):
        assign(costs[1, 2])


def test_matrices_that_are_not_square_are_refused() -> None:
    for shape in ((4,), (2, 3, 4), (2, 0, 0)):
        with pytest.raises(ValueError, match=r"\(\.\.\., n, n\)"):
            assign(torch.zeros(shape))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("n", [5, 9, 12, 16])
def test_a_gpu_finds_the_same(n: int) -> None:
    costs = random(33, 40, n, n)
    columns = assign(costs.cuda())
    assert columns.is_cuda
    assert torch.equal(columns.cpu(), assign(costs))


def test_hungarian_takes_what_the_assignment_says() -> None:
    cost, similarity = random(34, 2, 3, 4, 4), random(35, 2, 3, 4, 4)
    matches = hungarian(cost, similarity)
    for e, s in np.ndindex(2, 3):
        rows, columns = linear_sum_assignment(cost[e, s])
        assert matches.similarity[e, s].tolist() == similarity[e, s][rows, columns].tolist()
    assert matches.valid.all()


def test_nearest_neighbours_by_loops() -> None:
    costs, similarities = random(36, 20, 5, 5), random(37, 20, 5, 5)
    costs[0] = 1.0  # all alike
    costs[1, 3] = costs[1, 0]
    nearest, mutual = (match(costs, similarities) for match in (nearest_neighbour, mutual_nearest_neighbour))
    partners = set()
    for index, (cost, similarity) in enumerate(zip(costs.tolist(), similarities.tolist(), strict=True)):
        query_of = [row.index(min(row)) for row in cost]
        support_of = [column.index(min(column)) for column in map(list, zip(*cost, strict=True))]
        assert nearest.similarity[index].tolist() == [similarity[support_of[j]][j] for j in range(5)]
        assert mutual.valid[index].tolist() == [support_of[query_of[i]] == i for i in range(5)]
        for i in range(5):
            if mutual.valid[index, i]:
                assert mutual.similarity[index, i].item() == similarity[i][query_of[i]]
        partners.add(sum(mutual.valid[index].tolist()))
    assert nearest.valid.all()
    assert min(partners) >= 1
    assert len(partners) > 2


def plain_plan(cost: list[list[float]], eps: float, iterations: int) -> np.ndarray:
    """Scaling of exp(-cost / eps), columns then rows, entry by entry."""
    n = len(cost)
    plan = [[math.exp(-value / eps) for value in row] for row in cost]
    for _ in range(iterations):
        for j in range(n):
            column = sum(plan[i][j] for i in range(n))
            for i in range(n):
                plan[i][j] /= column
        for i in range(n):
            row = sum(plan[i])
            plan[i] = [value / row for value in plan[i]]
    return np.array(plan)


def test_transport_plan_by_scaling() -> None:
    costs = random(38, 4, 5, 5)
    plans = transport_plan(costs, eps=0.2, iterations=7)
    for plan, cost in zip(plans, costs, strict=True):
        np.testing.assert_allclose(plan, plain_plan(cost.tolist(), 0.2, 7), rtol=1e-11)
    torch.testing.assert_close(plans.sum(-1), torch.ones(4, 5, dtype=torch.float64))
    even = transport_plan(costs, eps=0.2, iterations=300)
    torch.testing.assert_close(even.sum(-2), torch.ones(4, 5, dtype=torch.float64), rtol=1e-9, atol=0)


def test_transport_plan_becomes_the_assignment_and_the_even_plan() -> None:
    cost = random(51, 6, 5, 5)
    assert min(gap(each) for each in cost.numpy()) > 0.02
    permutation = torch.nn.functional.one_hot(assign(cost), 5).double()
    sharp = transport_plan(cost, eps=2e-3, iterations=2000)
    torch.testing.assert_close(sharp, permutation, rtol=0, atol=1e-2)
    even = torch.full_like(cost, 0.2)
    torch.testing.assert_close(transport_plan(cost, eps=1e6, iterations=2), even, rtol=1e-5, atol=0)
    # Far below what an exponential of the cost itself could hold.
    assert transport_plan(cost.float(), eps=1e-5, iterations=10).isfinite().all()


def test_sinkhorn_is_smooth_in_the_cost() -> None:
    cost, similarity = random(40, 2, 3, 3).requires_grad_(), random(41, 2, 3, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda c, s: sinkhorn(c, s, 0.3, 6).similarity, (cost, similarity))


@pytest.mark.parametrize("k", [1, 2, 5])
def test_strongest_by_sorting(k: int) -> None:
    similarity = (random(42, 30, 5) - 0.5).requires_grad_()
    valid = random(43, 30, 5) < 0.5
    valid[:, 2] = True
    scores = strongest(Matches(similarity, valid), k)
    expected = []
    for values, mask in zip(similarity, valid.tolist(), strict=True):
        strongest_values = sorted((v for v, counts in zip(values, mask, strict=True) if counts), key=Tensor.item)[-k:]
        expected.append(torch.stack(strongest_values).mean())
    weights = random(44, 30)
    torch.testing.assert_close(scores, torch.stack(expected))
    slopes = [torch.autograd.grad((each * weights).sum(), similarity) for each in (scores, torch.stack(expected))]
    torch.testing.assert_close(*(slope for (slope,) in slopes))


def test_a_similarity_that_is_not_a_number_shows() -> None:
    similarity = torch.tensor([0.3, math.nan, 0.2])
    for k in (1, 3):
        assert strongest(Matches(similarity, torch.ones(3, dtype=torch.bool)), k).isnan()


def test_more_matches_than_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match="4 pixels"):
        strongest(Matches(torch.zeros(4), torch.ones(4, dtype=torch.bool)), 5)


def test_names() -> None:
    cost = random(45, 3, 3)
    for name in ("hungarian", "nearest", "mutual", "sinkhorn"):
        assert build_matcher(name, 0.1, 10)(cost, 1 - cost).similarity.shape == (3,)
    with pytest.raises(UserError, match="did you mean 'sinkhorn'"):
        build_matcher("sinkhorm", 0.1, 10)
    for eps, iterations in ((0.0, 10), (0.1, 0), (math.nan, 10)):
        with pytest.raises(ValueError, match="positive"):
            build_matcher("sinkhorn", eps, iterations)
