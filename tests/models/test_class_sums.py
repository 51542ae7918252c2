"""Sums by class: the products with one-hot matrices that accelerators get are the sums, and have one order."""

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from raysearch.models import adsh, class_sums
from raysearch.models.hashing import exchnet
from raysearch.testing import count_syncs

UNORDERED = ("index_add", "bincount", "scatter_add", "index_put")  # on CUDA their sums have no fixed order


class Operators(TorchDispatchMode):
    """Lists the operators that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def rows(count: int = 40, classes: int = 5) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(0)
    return torch.randn(count, 6, generator=draws), torch.randint(classes, (count,), generator=draws)


@pytest.mark.parametrize("entries", [1, 35, 1 << 25])
def test_one_hot_sums_are_the_sums_of_each_class(entries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_sums, "_ENTRIES", entries)  # parts of one row, of seven, and of all
    values, labels = rows()
    plain = torch.stack([values[labels == label].double().sum(0) for label in range(7)])
    torch.testing.assert_close(class_sums.one_hot_sums(values.double(), labels, 7), plain, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(class_sums.one_hot_sums(values, labels, 7).double(), plain, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(class_sums.class_sums(values, labels, 7).double(), plain, rtol=1e-5, atol=1e-5)
    assert class_sums.class_counts(labels, 7).tolist() == [int((labels == label).sum()) for label in range(7)]


def test_sums_of_larger_rows_keep_their_shape() -> None:
    values = torch.randn(9, 2, 3)
    labels = torch.arange(9) % 4
    plain = torch.stack([values[labels == label].sum(0) for label in range(4)])
    torch.testing.assert_close(class_sums.class_sums(values, labels, 4), plain)
    with count_syncs():
        assert class_sums.class_sums(values.to("meta"), labels.to("meta"), 4).shape == (4, 2, 3)
        assert class_sums.class_counts(labels.to("meta"), 4).shape == (4,)


def test_a_region_of_autocast_changes_no_sum() -> None:
    values, labels = rows()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = class_sums.class_sums(values, labels, 5)
    assert torch.equal(inside, class_sums.class_sums(values, labels, 5))


def test_on_a_device_targets_update_and_anchors_have_no_sum_without_an_order() -> None:
    codes = torch.ones(40, 6, device="meta")
    labels = torch.zeros(40, dtype=torch.int64, device="meta")
    sample = torch.zeros(8, dtype=torch.int64, device="meta")
    with count_syncs() as counter, Operators() as ran:
        adsh.targets(codes, labels, 0.2, classes=5)
        adsh.update_codes(codes, torch.ones(8, 6, device="meta"), sample, labels, gamma=0.0, rho=0.2, classes=5)
        exchnet.class_sums(torch.ones(8, 3, 4, device="meta"), labels[:8], 5)
    assert counter.count == 0
    assert ran.names
    # `linear[:, sample] += ...` of distinct rows adds nothing twice.
    unordered = [name for name in ran.names if any(part in name for part in UNORDERED) and "index_put_" not in name]
    assert unordered == []


def test_the_number_of_classes_can_be_given() -> None:
    draws = torch.Generator().manual_seed(3)
    codes = 2.0 * torch.randint(0, 2, (30, 4), generator=draws) - 1
    labels = torch.arange(30) % 5
    sample = torch.arange(0, 30, 3)
    u = torch.rand(10, 4, generator=draws) - 0.5
    assert torch.equal(
        adsh.update_codes(codes, u, sample, labels, classes=5), adsh.update_codes(codes, u, sample, labels)
    )
    for given, read in zip(adsh.targets(codes, labels, 0.3, 5), adsh.targets(codes, labels, 0.3), strict=True):
        assert torch.equal(given, read)
