"""Minimum-cost assignment of many small problems at once: a dynamic programme over sets of columns.

Held and Karp, "A Dynamic Programming Approach to Sequencing Problems", J. SIAM 1962. The last k rows can take any k
columns J, at a cost that is known from sets of k - 1 columns:

    f(J) = min over j in J of cost[n - k, j] + f(J without j)

which is n 2^(n-1) additions a problem, the same ones for every problem, so that a batch is a few dozen large operations
and nothing is ever asked of the host. Solvers that follow shortest paths do less work but branch at every step: they
win where one processor does one problem after another.

Sums are float64. Among assignments of the same least cost, the lowest is taken, compared row by row. Legend: `B`
problems, `n` rows and columns; a set of columns is an integer with a bit for each.
"""

import functools
import itertools
from typing import NamedTuple

import torch
from torch import Tensor

LARGEST = 12  # rows for which 2^n sets are still little
ENTRIES = 2**25  # of f at a time: 256 MiB


class ColumnSets(NamedTuple):
    """All M sets of k columns."""

    sets: Tensor  # (M,)
    columns: Tensor  # (M, k) the columns in each
    rest: Tensor  # (M, k) the set without that column


def assign_by_subsets(cost: Tensor) -> Tensor:
    """Exact assignment by dynamic programming.

    Args:
        cost: (B, n, n), finite, n <= 12, of any dtype and device.

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
    rows = cost.permute(1, 2, 0).contiguous()  # problems last, so that a set is a row of what is gathered
    least = rows.new_zeros(1 << n, problems)  # f
    for size, (sets, columns, rest) in enumerate(_sets_by_size(n, cost.device), start=1):
        least[sets] = (rows[n - size][columns] + least[rest]).amin(1)

    bits = 1 << torch.arange(n, device=cost.device).unsqueeze(1)
    free = torch.full((1, problems), (1 << n) - 1, device=cost.device)
    taken = []
    for row in rows:
        # The sums of above once more: the lowest column that attains the least one.
        total = torch.where(free & bits != 0, row + least.gather(0, free & ~bits), torch.inf)
        taken.append(total.argmin(0))
        free = free & ~(1 << taken[-1])
    return torch.stack(taken, dim=1)


@functools.lru_cache(maxsize=2 * LARGEST)
def _sets_by_size(n: int, device: torch.device) -> list[ColumnSets]:
    """The sets of 1 to n columns; kept, since copying them to a device makes the host wait."""
    by_size = []
    for size in range(1, n + 1):
        columns = torch.tensor(list(itertools.combinations(range(n), size)))
        bits = 1 << columns
        sets = bits.sum(1)
        by_size.append(ColumnSets(*(each.to(device) for each in (sets, columns, sets.unsqueeze(1) - bits))))
    return by_size
