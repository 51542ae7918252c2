"""Sums of rows by class. On an accelerator they are products with one-hot matrices, which can be repeated bit for bit.

`index_add_` and `bincount` add in the order in which threads arrive there, and `bincount` makes the host wait for its
size. On a CPU they are exact repetitions of one order, and faster.
"""

import torch
from torch import Tensor

from raysearch.models.precision import full_precision

_ENTRIES = 1 << 25  # of a one-hot matrix, in float32 128 MiB; longer inputs are added part by part


@full_precision
def class_sums(rows: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return the sum of the rows of each class.

    Args:
        rows: (m, ...) floats.
        labels: (m,) int64 from 0 to below `classes`.
        classes: K.

    Returns:
        (K, ...), of the dtype of the rows; zeros for a class without rows.

    >>> class_sums(torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([1, 0, 1]), classes=3).flatten().tolist()
    [2.0, 5.0, 0.0]
    """
    if rows.device.type == "cpu":
        return rows.new_zeros(classes, *rows.shape[1:]).index_add_(0, labels, rows)
    return one_hot_sums(rows.flatten(1), labels, classes).unflatten(1, rows.shape[1:])


def class_counts(labels: Tensor, classes: int) -> Tensor:
    """Return the number of rows of each class: labels (m,) from 0 to below `classes`, to (K,) int64."""
    if labels.device.type == "cpu":
        return torch.bincount(labels, minlength=classes)
    return sum(
        ((part[:, None] == _numbers(labels, classes)).sum(0) for part in labels.split(max(1, _ENTRIES // classes))),
        start=torch.zeros(classes, dtype=torch.int64, device=labels.device),
    )


def one_hot_sums(rows: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return the sums of `class_sums` for rows (m, c), by products of one-hot matrices with the rows."""
    sums = rows.new_zeros(classes, rows.shape[1])
    size = max(1, _ENTRIES // classes)
    for part, part_labels in zip(rows.split(size), labels.split(size), strict=True):
        sums += (part_labels == _numbers(labels, classes)[:, None]).to(rows.dtype) @ part
    return sums


def _numbers(labels: Tensor, classes: int) -> Tensor:
    return torch.arange(classes, device=labels.device)
