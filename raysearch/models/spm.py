"""Semantic pixel matching (SPM) of LWFM-SPM, arXiv 2411.06363: which pixels of two images correspond.

In each layer, the P pixels of a support image are matched with the P pixels of a query image at the least total cost,
1 - cosine. The score of an image pair is the similarity of its matched pixels. The matching is constant almost
everywhere, so the gradient flows only through the similarities of the matched pixels; only the Sinkhorn plan is smooth.

The paper matches by the Hungarian algorithm, or each query pixel with its nearest support pixel. Departures, as
options: mutual nearest neighbours, and entropic optimal transport (Cuturi, "Sinkhorn Distances: Lightspeed Computation
of Optimal Transport", NeurIPS 2013, arXiv 1306.0895).

Legend: `P` pixels, `i` of a support (rows), `j` of a query (columns).
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from raysearch.core import UserError, nearest
from raysearch.models.assignment import LARGEST, assign_by_paths, assign_by_subsets

# Problems of more than 12 rows that a GPU solves sooner than scipy, by an estimate: 11 n^2 operations of 7 us, against
# 12 us per problem of 16 rows, 33 us of 25, and 137 us of 49.
_MANY = 2000


class Matches(NamedTuple):
    """P matches per image pair and layer."""

    similarity: Tensor  # (..., P)
    valid: Tensor  # (..., P) bool; False: not a match, which counts nowhere


Matcher = Callable[[Tensor, Tensor], Matches]  # cost and similarity, (..., P, P) each -> matches


def assign(cost: Tensor) -> Tensor:
    """Find the minimum-cost assignment exactly, in float64.

    Of several assignments with the same cost, a GPU with n <= 12 returns the lowest, compared row by row; otherwise the
    solver decides. Checking that costs are finite makes the host wait for the GPU; `solve` does not check.

    Args:
        cost: (..., n, n) of any dtype.

    Returns:
        (..., n) int64: row i takes column out[..., i].

    Raises:
        ValueError: a cost that is not finite, or matrices that are not square.

    >>> assign(torch.tensor([[4.0, 1.0, 3.0], [2.0, 0.0, 5.0], [3.0, 2.0, 2.0]])).tolist()
    [1, 0, 2]
    """
    if cost.ndim < 2 or cost.shape[-1] != cost.shape[-2] or cost.shape[-1] == 0:
        raise ValueError(f"costs must be (..., n, n), got {tuple(cost.shape)}")
    # A finite sum means that all costs are finite, and is faster to check. An infinite one may be an overflow.
    if not cost.sum().isfinite():
        not_finite = ~cost.isfinite().flatten(-2).all(-1)
        if not_finite.any():
            index = tuple(not_finite.nonzero()[0].tolist())
            raise ValueError(
                f"the costs of problem {index} are not all finite" if index else "costs are not all finite"
            )
    return solve(cost)


@torch.no_grad()
def solve(cost: Tensor) -> Tensor:
    """Do as `assign`, for costs that are known to be finite.

    A GPU solves up to 12 rows, or many problems, without the host. Few larger problems, of an `lwe.grid` above 3, are
    solved by scipy: the host waits for them, and the GPU for the host.
    """
    n = cost.shape[-1]
    problems = cost.reshape(math.prod(cost.shape[:-2]), n, n)
    if cost.is_cpu or (n > LARGEST and len(problems) < _MANY):
        columns = _assign_on_host(problems)
    else:
        columns = assign_by_subsets(problems) if n <= LARGEST else assign_by_paths(problems)
    return columns.view(cost.shape[:-1])


def _assign_on_host(cost: Tensor) -> Tensor:
    """Solve (B, n, n) -> (B, n) by scipy, with one copy to the host and one back."""
    solutions = [linear_sum_assignment(problem)[1] for problem in cost.cpu().double().numpy()]
    columns = np.concatenate(solutions) if solutions else np.empty(0, np.int64)
    return torch.from_numpy(columns).view(cost.shape[:2]).to(cost.device)


def hungarian(cost: Tensor, similarity: Tensor) -> Matches:
    """Match pixels one to one at the least total cost; costs must be finite.

    >>> similarity = torch.tensor([[0.9, 0.8], [0.7, 0.1]])
    >>> hungarian(1 - similarity, similarity).similarity
    tensor([0.8000, 0.7000])
    """
    columns = solve(cost).unsqueeze(-1)
    return _all_valid(similarity.gather(-1, columns).squeeze(-1))


def nearest_neighbour(cost: Tensor, similarity: Tensor) -> Matches:
    """Match each query pixel with its cheapest support pixel; several may share one.

    >>> similarity = torch.tensor([[0.9, 0.8], [0.7, 0.1]])
    >>> nearest_neighbour(1 - similarity, similarity).similarity
    tensor([0.9000, 0.8000])
    """
    rows = cost.argmin(-2, keepdim=True)
    return _all_valid(similarity.gather(-2, rows).squeeze(-2))


def mutual_nearest_neighbour(cost: Tensor, similarity: Tensor) -> Matches:
    """Match a support pixel with its cheapest query pixel, if it is also the cheapest support pixel of that one.

    A pixel without a partner counts nowhere. A similarity of 0 would not be neutral, since cosines have both signs: the
    score would depend on the number of partners. The cheapest pair of all is always mutual, so at least one match
    remains.

    >>> similarity = torch.tensor([[0.9, 0.8], [0.7, 0.1]])
    >>> mutual_nearest_neighbour(1 - similarity, similarity)
    Matches(similarity=tensor([0.9000, 0.7000]), valid=tensor([ True, False]))
    """
    columns, rows = cost.argmin(-1), cost.argmin(-2)
    mutual = rows.gather(-1, columns) == torch.arange(cost.shape[-1], device=cost.device)
    return Matches(similarity.gather(-1, columns.unsqueeze(-1)).squeeze(-1), mutual)


def sinkhorn(cost: Tensor, similarity: Tensor, eps: float, iterations: int) -> Matches:
    """Match each support pixel with all query pixels, by the weights of a transport plan; also smooth in the cost.

    >>> similarity = torch.tensor([[0.9, 0.8], [0.7, 0.1]])
    >>> sinkhorn(1 - similarity, similarity, eps=0.05, iterations=50).similarity
    tensor([0.8011, 0.6977])
    """
    return _all_valid((transport_plan(cost, eps, iterations) * similarity).sum(-1))


def transport_plan(cost: Tensor, eps: float, iterations: int) -> Tensor:
    """Minimise sum plan * cost + eps sum plan log plan over plans whose rows and columns sum to 1.

    Args:
        cost: (..., P, P).
        eps: a smaller value is closer to an assignment and takes more iterations.
        iterations: the iterations of scaling columns and then rows.

    Returns:
        (..., P, P); rows sum to 1, columns nearly so, depending on the iterations.

    >>> transport_plan(torch.zeros(2, 2), eps=0.1, iterations=1)
    tensor([[0.5000, 0.5000],
            [0.5000, 0.5000]])
    """
    kernel = -cost / eps
    rows = columns = kernel.new_zeros(())  # logarithms of the factors of rows and columns
    for _ in range(iterations):
        columns = -(kernel + rows).logsumexp(-2, keepdim=True)
        rows = -(kernel + columns).logsumexp(-1, keepdim=True)
    return (kernel + rows + columns).exp()


def build_matcher(name: str, eps: float, iterations: int) -> Matcher:
    """Return a matcher by its name.

    Args:
        name: "hungarian", "nearest", "mutual" or "sinkhorn".
        eps: the regularization of "sinkhorn", see `transport_plan`.
        iterations: likewise.

    Raises:
        ValueError: eps or iterations are not positive.
        UserError: unknown name.

    >>> build_matcher("nearest", eps=0.05, iterations=50) is nearest_neighbour
    True
    """
    if not (eps > 0 and iterations > 0):
        raise ValueError(f"Sinkhorn's eps and iterations must be positive, got {eps} and {iterations}")
    known: dict[str, Matcher] = {
        "hungarian": hungarian,
        "nearest": nearest_neighbour,
        "mutual": mutual_nearest_neighbour,
        "sinkhorn": functools.partial(sinkhorn, eps=eps, iterations=iterations),
    }
    if name not in known:
        raise UserError(f"unknown matcher '{name}'{nearest(name, known)}")
    return known[name]


def strongest(matches: Matches, k: int) -> Tensor:
    """Average the similarity of the k most similar matches, or of all valid ones where there are fewer.

    Args:
        matches: (..., P).
        k: number of matches.

    Returns:
        (...).

    Raises:
        ValueError: k is larger than the number of pixels.

    >>> strongest(Matches(torch.tensor([0.2, 0.6, 0.4, 0.9]), torch.tensor([True, True, True, False])), k=2)
    tensor(0.5000)
    """
    pixels = matches.similarity.shape[-1]
    if k > pixels:
        raise ValueError(f"k={k} matches, but there are only {pixels} pixels")
    top = matches.similarity.masked_fill(~matches.valid, -torch.inf).topk(k).values
    # Sorted in descending order, so invalid matches come last.
    count = matches.valid.sum(-1, keepdim=True).clamp(max=k)
    counted = torch.arange(k, device=top.device) < count
    return (torch.where(counted, top, 0) / count).sum(-1)


def _all_valid(similarity: Tensor) -> Matches:
    return Matches(similarity, torch.ones_like(similarity, dtype=torch.bool))
