"""Minimum-cost assignment of many small problems at once, in operations that never make the host wait.

`assign_by_subsets` is a dynamic program over sets of columns, for up to 12 rows. `assign_by_paths` takes any number.

Held and Karp, "A Dynamic Programming Approach to Sequencing Problems", Journal of SIAM 1962,
https://doi.org/10.1137/0110015. The last k rows can take any k columns J, at a cost that follows from the costs of sets
of k - 1 columns:

    f(J) = min over j in J of cost[n - k, j] + f(J without j)

These are n 2^(n-1) additions per problem, the same ones for every problem. So a batch takes a few dozen large
operations. Solvers that follow shortest paths do less work but branch at every step; they are faster where one
processor solves one problem after another.

Crouse, "On implementing 2D rectangular assignment algorithms", IEEE Transactions on Aerospace and Electronic Systems
2016, https://doi.org/10.1109/TAES.2016.140952, is such a solver, and scipy's. It adds one row after the other. A row
joins by the shortest path to a free column, where a step costs cost[i, j] - u_i - v_j, at least 0. Then u and v change
so that the steps of the assignment cost 0, which makes it optimal by duality. `assign_by_paths` does this for a batch:
the k-th row takes k steps in every problem, and a problem whose path has ended waits. These are about 11 n^2 operations
for any number of problems, of 6 to 8 microseconds each if the problems are few.

Sums are float64. Of several assignments with the least cost, `assign_by_subsets` returns the lowest, compared row by
row. Legend: `B` problems, `n` rows and columns; a set of columns is an integer with one bit per column.
"""

import functools
import itertools
from typing import NamedTuple

import torch
from torch import Tensor

LARGEST = 12  # rows of `assign_by_subsets`; the memory grows with 2^n
ENTRIES = 2**25  # of f at a time: 256 MiB


class ColumnSets(NamedTuple):
    """All M sets of k columns."""

    sets: Tensor  # (M,)
    columns: Tensor  # (M, k) the columns in each
    rest: Tensor  # (M, k) the set without that column


def assign_by_subsets(cost: Tensor) -> Tensor:
    """Solve assignment problems exactly.

    Args:
        cost: (B, n, n), finite, n <= 12, of any dtype and on any device.

    Returns:
        (B, n) int64: row i takes column out[:, i].

    >>> assign_by_subsets(torch.tensor([[[4.0, 1.0], [2.0, 3.0]], [[1.0, 1.0], [1.0, 1.0]]])).tolist()
    [[1, 0], [0, 1]]
    """
    n = cost.shape[-1]
    assert n <= LARGEST, f"2^{n} sets of columns are too many"
    return torch.cat([_solve(part.double()) for part in cost.split(max(1, ENTRIES >> n))])


def assign_by_paths(cost: Tensor) -> Tensor:
    """Solve assignment problems exactly, with any number of rows.

    Args:
        cost: (B, n, n), finite, of any dtype and on any device.

    Returns:
        (B, n) int64: row i takes column out[:, i].

    >>> assign_by_paths(torch.tensor([[[4.0, 1.0], [2.0, 3.0]], [[2.0, 1.0], [3.0, 1.0]]])).tolist()
    [[1, 0], [0, 1]]
    """
    at_once = max(1, ENTRIES // cost.shape[-1] ** 2)
    return torch.cat([_add_rows(part.double()) for part in cost.split(at_once)])


def _add_rows(cost: Tensor) -> Tensor:
    problems, n, _ = cost.shape
    u = cost.new_zeros(problems, n)  # of rows
    v = cost.new_zeros(problems, n)  # of columns
    row_of = torch.full((problems, n), -1, device=cost.device)
    column_of = row_of.clone()
    for row in range(n):
        path = _shortest_path(cost, u, v, row_of, row)
        change = torch.where(path.reached, path.length - path.distances, 0)
        v = v - change
        u = u + torch.where(column_of >= 0, change.gather(1, column_of.clamp(min=0)), 0)
        u[:, row] += path.length.squeeze(1)
        _augment(path, row_of, column_of, row)
    return column_of


class ShortestPath(NamedTuple):
    """The shortest path from a row to a free column."""

    end: Tensor  # (B, 1) the free column
    length: Tensor  # (B, 1)
    before: Tensor  # (B, n) the row before each column
    distances: Tensor  # (B, n)
    reached: Tensor  # (B, n) bool, columns whose distance is final


def _shortest_path(cost: Tensor, u: Tensor, v: Tensor, row_of: Tensor, start: int) -> ShortestPath:
    """Find the path from a row, the number of which is also that of the rows that have columns."""
    problems, n, _ = cost.shape
    columns = torch.arange(n, device=cost.device)
    at = torch.full((problems, 1), start, device=cost.device)  # a row
    length = cost.new_zeros(problems, 1)
    distances = torch.full_like(v, torch.inf)
    before = torch.full_like(row_of, start)
    reached = torch.zeros_like(row_of, dtype=torch.bool)
    end = torch.full_like(at, -1)
    for _ in range(start + 1):
        moving = end < 0
        step = cost.gather(1, at.unsqueeze(2).expand(-1, 1, n)).squeeze(1)
        candidates = length + step - u.gather(1, at) - v
        shorter = moving & ~reached & (candidates < distances)
        distances = torch.where(shorter, candidates, distances)
        before = torch.where(shorter, at, before)
        least, column = distances.masked_fill(reached, torch.inf).min(1, keepdim=True)
        length = torch.where(moving, least, length)
        reached = reached | (moving & (columns == column))
        row = row_of.gather(1, column)
        end = torch.where(moving & (row < 0), column, end)
        at = torch.where(moving & (row >= 0), row, at)
    return ShortestPath(end, length, before, distances, reached)


def _augment(path: ShortestPath, row_of: Tensor, column_of: Tensor, start: int) -> None:
    """Give each row on a path the column after it."""
    column = path.end
    moving = torch.ones_like(column, dtype=torch.bool)
    for _ in range(start + 1):
        row = path.before.gather(1, column)
        freed = column_of.gather(1, row)
        row_of.scatter_(1, column, torch.where(moving, row, row_of.gather(1, column)))
        column_of.scatter_(1, row, torch.where(moving, column, freed))
        moving = moving & (row != start)
        column = torch.where(moving, freed, column)


def _solve(cost: Tensor) -> Tensor:
    problems, n, _ = cost.shape
    rows = cost.permute(1, 2, 0).contiguous()  # problems last, so that gathering a set copies a row
    least = rows.new_zeros(1 << n, problems)  # f
    for size, (sets, columns, rest) in enumerate(_sets_by_size(n, cost.device), start=1):
        least[sets] = (rows[n - size][columns] + least[rest]).amin(1)

    bits = 1 << torch.arange(n, device=cost.device).unsqueeze(1)
    free = torch.full((1, problems), (1 << n) - 1, device=cost.device)
    chosen = []
    for row in rows:
        # The same sums as above; argmin returns the lowest column with the least one.
        total = torch.where(free & bits != 0, row + least.gather(0, free & ~bits), torch.inf)
        chosen.append(total.argmin(0))
        free = free & ~(1 << chosen[-1])
    return torch.stack(chosen, dim=1)


@functools.lru_cache(maxsize=2 * LARGEST)
def _sets_by_size(n: int, device: torch.device) -> list[ColumnSets]:
    """Return the sets of 1 to n columns. They are cached, since copying them to a device makes the host wait."""
    by_size = []
    for size in range(1, n + 1):
        columns = torch.tensor(list(itertools.combinations(range(n), size)))
        bits = 1 << columns
        sets = bits.sum(1)
        by_size.append(ColumnSets(*(part.to(device) for part in (sets, columns, sets.unsqueeze(1) - bits))))
    return by_size
