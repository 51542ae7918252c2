"""Asymmetric deep supervised hashing (ADSH): the hash loss and the database-code update that FCAENet builds on.

Jiang and Li, "Asymmetric Deep Supervised Hashing", AAAI 2018; FCAENet, arXiv 2110.04479, equations 10 and 14 to 17.
A network gives real outputs `u` for a sample of the database. The codes `V` of the whole database are learned as free
binary variables. Inner products `u.v` are fitted to `c S`.

Departure from the printed formulas: S is +1 for the same class and -rho otherwise, with rho such that S sums to zero.
With -1, as printed, all codes become equal. Legend: `n` database rows, `r` sampled rows, `B` batch, `c` bits,
`K` classes. With one label per image, S has at most rank K, so class sums and c x c Gram matrices replace every n x r
matrix. Everything is computed in float32 or wider, also inside an autocast region.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from raysearch.models.class_sums import class_counts, class_sums
from raysearch.models.precision import at_least_single, full_precision


class Targets(NamedTuple):
    """Sums over a fixed database that the hash loss needs: O(c^2 + K c) numbers for any n."""

    gram: Tensor  # (c, c) V^T V / n
    pull: Tensor  # (K, c) sum_j S_kj v_j / n for each class k
    constant: Tensor  # (K,) c^2 sum_j S_kj^2 / n for each class k


def similarity_ratio(sample_labels: Tensor, database_labels: Tensor) -> float:
    """Return rho of the soft similarity: pairs of one class / pairs of two classes, so that S sums to zero.

    Args:
        sample_labels: (r,) int64.
        database_labels: (n,) int64.

    Raises:
        ValueError: the database has a single class.

    >>> similarity_ratio(torch.tensor([0, 1]), torch.tensor([0, 0, 1, 1]))
    1.0
    """
    classes = int(max(sample_labels.max(), database_labels.max())) + 1
    of_sample = torch.bincount(sample_labels, minlength=classes)
    of_database = torch.bincount(database_labels, minlength=classes)
    same = int((of_sample * of_database).sum())
    different = len(sample_labels) * len(database_labels) - same
    if different == 0:
        raise ValueError("the database has a single class; hashing needs at least two")
    return same / different


@full_precision
def targets(codes: Tensor, database_labels: Tensor, rho: float, classes: int | None = None) -> Targets:
    """Return the sums over the database that depend on its codes alone.

    Args:
        codes: (n, c) in {-1, +1}, float.
        database_labels: (n,) int64.
        rho: similarity of different classes is -rho.
        classes: K; None reads the labels, which waits for an accelerator.
    """
    codes = at_least_single(codes)
    n, bits = codes.shape
    classes = int(database_labels.max()) + 1 if classes is None else classes
    sums = class_sums(codes, database_labels, classes)
    counts = class_counts(database_labels, classes).to(codes.dtype)
    return Targets(
        gram=codes.T @ codes / n,
        pull=((1 + rho) * sums - rho * sums.sum(0)) / n,
        constant=bits**2 * (counts + rho**2 * (n - counts)) / n,
    )


@full_precision
def target_loss(u: Tensor, labels: Tensor, fixed: Targets) -> Tensor:
    """Return `hash_loss` for a database whose targets are known, in O(B c^2).

    Args:
        u: (B, c) network outputs in (-1, 1).
        labels: (B,) int64.
        fixed: see `targets`.
    """
    u = at_least_single(u)
    bits = u.shape[1]
    quadratic = ((u @ fixed.gram) * u).sum(1)
    linear = (u * fixed.pull[labels]).sum(1)
    return (quadratic - 2 * bits * linear + fixed.constant[labels]).mean()


@full_precision
def hash_loss(u: Tensor, labels: Tensor, codes: Tensor, database_labels: Tensor, rho: float) -> Tensor:
    """Return the mean over the batch of sum_j (u.v_j - c S_ij)^2 / n, equation 10, without building S.

    Args:
        u: (B, c) network outputs in (-1, 1); gradient flows into them.
        labels: (B,) int64 classes, all of which are in the database.
        codes: (n, c) in {-1, +1}.
        database_labels: (n,) int64.
        rho: see `similarity_ratio`.

    Returns:
        Scalar of the dtype of u, or float32 for a narrower one.
    """
    u = at_least_single(u)
    return target_loss(u, labels, targets(codes.to(u.dtype), database_labels, rho))


@full_precision
def quantization_loss(u: Tensor, codes: Tensor, database_size: int) -> Tensor:
    """Return the mean over the batch of ||u_i - v_i||^2 / n: the term that gamma weighs.

    Args:
        u: (B, c) outputs of sampled rows.
        codes: (B, c) database codes of the same rows.
        database_size: n.
    """
    return (at_least_single(u) - codes).square().sum(1).mean() / database_size


@torch.no_grad()
@full_precision
def update_codes(
    codes: Tensor,
    u: Tensor,
    sample: Tensor,
    database_labels: Tensor,
    gamma: float = 200.0,
    sweeps: int = 1,
    *,
    rho: float | None = None,
    pull: str = "outputs",
    zero: str = "keep",
    classes: int | None = None,
) -> Tensor:
    """Optimise the database codes bit by bit, equations 16 and 17; the objective never increases.

    Args:
        codes: (n, c) in {-1, +1}.
        u: (r, c) network outputs of the sampled rows.
        sample: (r,) int64 distinct rows of the database.
        database_labels: (n,) int64.
        gamma: weight of ||v_i - u_i||^2 over the sampled rows.
        sweeps: passes over the bits.
        rho: similarity of different classes is -rho; None takes the soft ratio of the sample.
        pull: "outputs"; or "signs", with which S^T U has the signs of the outputs, as in ADSH's own program. The
            minimized function is then not the objective.
        zero: a bit whose two values cost the same keeps its value ("keep"), or becomes +1 ("plus").
        classes: K; None reads the labels, which waits for an accelerator.

    Returns:
        (n, c) new codes, of the dtype of `codes`.
    """
    u = at_least_single(u)
    labels = database_labels[sample]
    rho = similarity_ratio(labels, database_labels) if rho is None else rho
    bits = codes.shape[1]
    classes = int(database_labels.max()) + 1 if classes is None else classes
    sums = class_sums(u.sign() if pull == "signs" else u, labels, classes)
    # A bit is a row here, so that each step reads and writes contiguous memory.
    linear = (bits * ((1 + rho) * sums - rho * sums.sum(0))).T[:, database_labels]
    linear[:, sample] += gamma * u.T
    others = (u.T @ u).fill_diagonal_(0)
    new = codes.T.to(u.dtype, memory_format=torch.contiguous_format, copy=True)
    for _ in range(sweeps):
        for bit in range(bits):
            drive = linear[bit] - others[bit] @ new
            undecided = new[bit] if zero == "keep" else torch.ones_like(drive)
            new[bit] = torch.where(drive == 0, undecided, drive.sign())
    return new.T.contiguous().to(codes.dtype)
