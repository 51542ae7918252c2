"""Semantic pixel matching (SPM) of LWFM-SPM, arXiv 2411.06363: which pixels of two images answer to each other.

Each layer's P pixels of a support image are matched with the P of a query image at least cost, 1 - cosine, and the
similarity of the matched pixels is what an image pair scores. The matching is constant almost everywhere, so it is no
part of the gradient, which flows through the similarities of the matched pixels; only the Sinkhorn plan is smooth.

The paper matches by the Hungarian algorithm or each query pixel with its nearest support pixel. Beside them: mutual
nearest neighbours and entropic optimal transport (Cuturi, "Sinkhorn Distances", NeurIPS 2013).

Legend: `P` pixels, `i` a support's (rows), `j` a query's (columns).
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from raysearch.core.errors import UserError, nearest
from raysearch.models.assignment import LARGEST, assign_by_subsets


class Matches(NamedTuple):
    """P matches of each image pair and layer."""

    similarity: Tensor  # (..., P)
    valid: Tensor  # (..., P) bool; False: not a match, which counts nowhere


Matcher = Callable[[Tensor, Tensor], Matches]  # of cost and similarity, (..., P, P) each


def assign(cost: Tensor) -> Tensor:
    """Minimum-cost assignment, exact, in float64.

    Which one comes among assignments of the same cost depends on the device: on a GPU with n <= 12 the lowest, compared
    row by row; else the one that scipy finds. The check for finite costs makes the host wait for a GPU; `solve` has no
    check.

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
    # A sum is finite only if all costs are, and is quicker to look at; one that overflowed proves nothing.
    if not cost.sum().isfinite():
        broken = ~cost.isfinite().flatten(-2).all(-1)
        if broken.any():
            which = tuple(broken.nonzero()[0].tolist())
            raise ValueError(
                f"the costs of problem {which} are not all finite" if which else "costs are not all finite"
            )
    return solve(cost)


@torch.no_grad()
def solve(cost: Tensor) -> Tensor:
    """`assign` for costs that are known to be finite."""
    n = cost.shape[-1]
    problems = cost.reshape(math.prod(cost.shape[:-2]), n, n)
    by_subsets = cost.is_cuda and n <= LARGEST
    columns = assign_by_subsets(problems) if by_subsets else _assign_one_by_one(problems)
    return columns.view(cost.shape[:-1])


def _assign_one_by_one(cost: Tensor) -> Tensor:
    """(B, n, n) -> (B, n) with one copy to the host and one back."""
    found = [linear_sum_assignment(problem)[1] for problem in cost.cpu().double().numpy()]
    columns = np.concatenate(found) if found else np.empty(0, np.int64)
    return torch.from_numpy(columns).view(cost.shape[:2]).to(cost.device)


def hungarian(cost: Tensor, similarity: Tensor) -> Matches:
    """One to one at the least total cost; cost must be finite.

    >>> similarity = torch.tensor([[0.9, 0.8], [0.7, 0.1]])
    >>> hungarian(1 - similarity, similarity).similarity
    tensor([0.8000, 0.7000])
    """
    columns = solve(cost).unsqueeze(-1)
    return _all_valid(similarity.gather(-1, columns).squeeze(-1))


def nearest_neighbour(cost: Tensor, similarity: Tensor) -> Matches:
    """Each query pixel takes its cheapest support pixel; several may take the same one.

    >>> similarity = torch.tensor([[0.9, 0.8], [0.7, 0.1]])
    >>> nearest_neighbour(1 - similarity, similarity).similarity
    tensor([0.9000, 0.8000])
    """
    rows = cost.argmin(-2, keepdim=True)
    return _all_valid(similarity.gather(-2, rows).squeeze(-2))


def mutual_nearest_neighbour(cost: Tensor, similarity: Tensor) -> Matches:
    """Each support pixel and its cheapest query pixel, where that one's cheapest support pixel is this one.

    A pixel without a partner counts nowhere: a similarity of 0 would not be neutral, since cosines are of both signs,
    and would make the score one of how many partners there are. The cheapest pair of all is always mutual, so that one
    match is left at least.

    >>> similarity = torch.tensor([[0.9, 0.8], [0.7, 0.1]])
    >>> mutual_nearest_neighbour(1 - similarity, similarity)
    Matches(similarity=tensor([0.9000, 0.7000]), valid=tensor([ True, False]))
    """
    columns, rows = cost.argmin(-1), cost.argmin(-2)
    mutual = rows.gather(-1, columns) == torch.arange(cost.shape[-1], device=cost.device)
    return Matches(similarity.gather(-1, columns.unsqueeze(-1)).squeeze(-1), mutual)


def sinkhorn(cost: Tensor, similarity: Tensor, eps: float, iterations: int) -> Matches:
    """Each support pixel with all query pixels, by the weights of an entropic transport plan; smooth in the cost too.

    >>> similarity = torch.tensor([[0.9, 0.8], [0.7, 0.1]])
    >>> sinkhorn(1 - similarity, similarity, eps=0.05, iterations=50).similarity
    tensor([0.8011, 0.6977])
    """
    return _all_valid((transport_plan(cost, eps, iterations) * similarity).sum(-1))


def transport_plan(cost: Tensor, eps: float, iterations: int) -> Tensor:
    """Minimise sum plan * cost + eps sum plan log plan over plans whose rows and columns sum to 1.

    Args:
        cost: (..., P, P).
        eps: the smaller, the closer to an assignment and the more iterations it takes.
        iterations: of scaling columns and then rows.

    Returns:
        (..., P, P); rows sum to 1 exactly, columns as far as the iterations went.

    >>> transport_plan(torch.zeros(2, 2), eps=0.1, iterations=1)
    tensor([[0.5000, 0.5000],
            [0.5000, 0.5000]])
    """
    kernel = -cost / eps
    rows = columns = kernel.new_zeros(())  # logarithms of the factors that scale rows and columns
    for _ in range(iterations):
        columns = -(kernel + rows).logsumexp(-2, keepdim=True)
        rows = -(kernel + columns).logsumexp(-1, keepdim=True)
    return (kernel + rows + columns).exp()


def build_matcher(name: str, eps: float, iterations: int) -> Matcher:
    """A matcher by its name: "hungarian", "nearest", "mutual" or "sinkhorn", the only one with eps and iterations.

    Raises:
        ValueError: eps or iterations that are not positive; as a UserError, an unknown name.

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
    """Mean similarity of the k most similar matches, of all that were found where they are fewer: (..., P) -> (...).

    Raises:
        ValueError: more matches than pixels.

    >>> strongest(Matches(torch.tensor([0.2, 0.6, 0.4, 0.9]), torch.tensor([True, True, True, False])), k=2)
    tensor(0.5000)
    """
    pixels = matches.similarity.shape[-1]
    if k > pixels:
        raise ValueError(f"{k} matches are to count, but there are {pixels} pixels")
    top = matches.similarity.masked_fill(~matches.valid, -torch.inf).topk(k).values
    # Sorted from the top, so that what was not found comes last.
    count = matches.valid.sum(-1, keepdim=True).clamp(max=k)
    counted = torch.arange(k, device=top.device) < count
    return (torch.where(counted, top, 0) / count).sum(-1)


def _all_valid(similarity: Tensor) -> Matches:
    return Matches(similarity, torch.ones_like(similarity, dtype=torch.bool))
