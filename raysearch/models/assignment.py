"""Minimum-cost assignment of many small problems at once, by dynamic programming over sets of columns.

Held and Karp, "A Dynamic Programming Approach to Sequencing Problems", Journal of SIAM 1962,
https://doi.org/10.1137/0110015. The last k rows can take any k columns J, at a cost that follows from the costs of sets
of k - 1 columns:

    f(J) = min over j in J of cost[n - k, j] + f(J without j)

These are n 2^(n-1) additions per problem, the same ones for every problem. So a batch takes a few dozen large
operations, and a GPU never waits for the host. Solvers that follow shortest paths do less work but branch at every
step; they are faster where one processor solves one problem after another.

Sums are float64. Of several assignments with the least cost, the lowest is returned, compared row by row. Legend: `B`
problems, `n` rows and columns; a set of columns is an integer with one bit per column.
"""

import functools
import itertools
from typing import NamedTuple

import torch
from torch import Tensor

LARGEST = 12  # rows; the memory grows with 2^n
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
