"""The dynamic programme over sets of columns against every permutation, and against scipy."""

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from raysearch.models import assignment, spm
from raysearch.models.assignment import assign_by_paths, assign_by_subsets
from raysearch.testing import count_syncs


def random_costs(seed: int, problems: int, n: int) -> Tensor:
    """Costs like those of two images: 1 - cosine of correlated pixels."""
    draw = torch.Generator().manual_seed(seed)
    s, q = (torch.randn(problems, n, 8, generator=draw, dtype=torch.float64) for _ in range(2))
    s, q = (torch.nn.functional.normalize(each + 2 * s.mean(1, keepdim=True), dim=-1) for each in (s, q))
    return 1 - s @ q.mT


def best_permutation(cost: list[list[float]]) -> list[int]:
    """The first in lexicographic order of those that cost least, sums taken from the last row up."""
    n = len(cost)

    def total(columns: list[int]) -> float:
        value = 0.0
        for row in reversed(range(n)):
            value = cost[row][columns[row]] + value
        return value

    return min(map(list, itertools.permutations(range(n))), key=total)  # min keeps the first of equals


def totals(cost: Tensor, columns: Tensor) -> Tensor:
    return cost.double().gather(-1, columns.unsqueeze(-1)).sum((-1, -2))


@pytest.mark.parametrize("n", range(1, 7))
def test_every_permutation(n: int) -> None:
    costs = random_costs(n, 12, n)
    columns = assign_by_subsets(costs)
    assert columns.dtype == torch.int64
    assert columns.tolist() == [best_permutation(cost) for cost in costs.tolist()]


@pytest.mark.parametrize("n", range(1, 7))
def test_the_lowest_of_equals(n: int) -> None:
    draw = torch.Generator().manual_seed(20 + n)
    costs = torch.randint(3, (15, n, n), generator=draw).double()
    costs[0] = 0.1  # constant
    costs[1] = torch.arange(1.0, n + 1).outer(torch.ones(n))  # duplicated columns
    costs[2] = costs[2, :1].expand(n, n)  # duplicated rows
    costs[3] = torch.arange(n).outer(torch.arange(n))  # rank 1
    columns = assign_by_subsets(costs).tolist()
    assert columns == [best_permutation(cost) for cost in costs.tolist()]
    assert columns[0] == list(range(n))


@pytest.mark.parametrize(("n", "problems"), [(7, 50), (9, 200), (10, 30), (11, 20), (12, 20)])
def test_scipy(n: int, problems: int) -> None:
    costs = random_costs(n, problems, n)
    columns = assign_by_subsets(costs)
    assert (columns.sort(-1).values == torch.arange(n)).all()
    expected = torch.from_numpy(np.stack([linear_sum_assignment(cost)[1] for cost in costs.numpy()]))
    torch.testing.assert_close(totals(costs, columns), totals(costs, expected), rtol=1e-12, atol=0)
    assert torch.equal(columns, expected)  # random reals: the best is the only one


def test_permutation_matrices_give_their_permutation() -> None:
    draw = torch.Generator().manual_seed(30)
    columns = torch.stack([torch.randperm(8, generator=draw) for _ in range(10)])
    assert torch.equal(assign_by_subsets(-torch.nn.functional.one_hot(columns).float()), columns)


@pytest.mark.parametrize("scale", [1e300, 1e-300, -1.0])
def test_scale(scale: float) -> None:
    costs = random_costs(31, 20, 6)
    expected = [best_permutation(cost) for cost in (costs * scale).tolist()]
    assert assign_by_subsets(costs * scale).tolist() == expected


def test_dtypes_and_batches() -> None:
    costs = random_costs(32, 7, 5)
    for narrow in (costs.float(), costs.bfloat16(), (100 * costs).int()):
        assert torch.equal(assign_by_subsets(narrow), assign_by_subsets(narrow.double()))
    assert assign_by_subsets(costs[:0]).shape == (0, 5)
    assert torch.equal(assign_by_subsets(costs.mT.contiguous().mT), assign_by_subsets(costs))


def test_a_large_batch_is_done_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = random_costs(33, 11, 4)
    expected = assign_by_subsets(costs)
    monkeypatch.setattr(assignment, "ENTRIES", 3 * 2**4)
    assert torch.equal(assign_by_subsets(costs), expected)


def solve_by_scipy(costs: Tensor) -> Tensor:
    return torch.from_numpy(np.stack([linear_sum_assignment(cost)[1] for cost in costs.double().numpy()]))


@pytest.mark.parametrize(
    ("n", "problems"), [(1, 3), (2, 50), (3, 100), (5, 200), (9, 200), (12, 50), (13, 50), (16, 60), (25, 40), (49, 12)]
)
def test_paths_find_what_scipy_finds(n: int, problems: int) -> None:
    costs = random_costs(40 + n, problems, n)
    columns = assign_by_paths(costs)
    assert columns.dtype == torch.int64
    assert torch.equal(columns, solve_by_scipy(costs))
    assert torch.equal(assign_by_paths(costs.float()), solve_by_scipy(costs.float()))


@pytest.mark.parametrize("n", [1, 4, 6, 16, 25])
def test_paths_through_equal_costs_are_as_cheap_as_any(n: int) -> None:
    draw = torch.Generator().manual_seed(50 + n)
    costs = torch.randint(-3, 4, (30, n, n), generator=draw).double()
    costs[0] = 0.1
    costs[1] = costs[1, :1].expand(n, n)
    costs[2] = costs[2, :, :1].expand(n, n)
    costs[3] = -torch.arange(n).outer(torch.arange(n))
    costs[4] = 1e12 * torch.eye(n)
    columns = assign_by_paths(costs)
    assert torch.equal(columns.sort(-1).values, torch.arange(n).expand(len(costs), -1))
    torch.testing.assert_close(totals(costs, columns), totals(costs, solve_by_scipy(costs)), rtol=1e-12, atol=1e-12)


def test_paths_of_a_large_batch_are_found_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = random_costs(34, 11, 14)
    expected = assign_by_paths(costs)
    monkeypatch.setattr(assignment, "ENTRIES", 3 * 14**2)
    assert torch.equal(assign_by_paths(costs), expected)
    assert assign_by_paths(costs[:0]).shape == (0, 14)


@pytest.mark.parametrize(
    ("problems", "n", "waits"), [(10, 9, False), (10, 12, False), (5000, 16, False), (2000, 25, False), (10, 16, True)]
)
def test_a_gpu_waits_for_the_host_only_where_problems_are_large_and_few(problems: int, n: int, waits: bool) -> None:
    cost = torch.empty(problems, n, n, device="meta")
    with count_syncs():
        spm.solve(cost)  # also fills caches
    with count_syncs() as counter:
        assert spm.solve(cost).shape == (problems, n)
    assert (counter.count > 0) == waits
