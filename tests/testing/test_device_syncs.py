"""The counter of waits: each operator that waits on CUDA is seen with its place, and answered so that code goes on."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.functional import one_hot

from raysearch.testing import METHODS, count_syncs, on_meta

META = torch.device("meta")


def values(*shape: int) -> torch.Tensor:
    return torch.zeros(*shape, device=META)


def rows(count: int) -> torch.Tensor:
    return torch.zeros(count, dtype=torch.int64, device=META)


def mask() -> torch.Tensor:
    return torch.zeros(4, dtype=torch.bool, device=META)


def assigned(target: torch.Tensor, index: Any, value: Any) -> None:
    target[index] = value


WAITS: dict[str, tuple[Callable[[], object], list[str]]] = {
    "to": (lambda: torch.zeros(3).to(META), ["upload"]),
    "to with another dtype": (lambda: torch.zeros(3).to(META, torch.float16), ["upload"]),
    "tensor": (lambda: torch.tensor([1, 2], device=META), ["upload"]),
    "as_tensor": (lambda: torch.as_tensor([1.0], device=META), ["upload"]),
    "new_tensor": (lambda: values(2).new_tensor([1.0]), ["upload"]),
    "copy_": (lambda: values(3).copy_(torch.zeros(3)), ["upload"]),
    "rows of the host": (lambda: values(4, 3)[torch.tensor([0, 2])], ["upload"]),
    "a list of rows": (lambda: values(4, 3)[[0, 2]], ["upload"]),
    "assignment to rows of the host": (lambda: assigned(values(4), torch.tensor([0]), values(1)), ["upload"]),
    "cpu": (lambda: values(3).cpu(), ["download"]),
    "copy_ to the host": (lambda: torch.zeros(3).copy_(values(3)), ["download"]),
    "tolist": (lambda: values(3).tolist(), ["download"]),
    "item": (lambda: values(3).sum().item(), ["read-back"]),
    "float": (lambda: float(values(3).sum()), ["read-back"]),
    "int": (lambda: range(rows(3).max()), ["read-back"]),
    "bool": (lambda: bool((values(3) > 0).any()), ["read-back"]),
    "a row by a value of the device": (lambda: values(4, 3)[rows(1)[0]], ["read-back"]),
    "equal": (lambda: torch.equal(values(3), values(3)), ["read-back"]),
    "allclose": (lambda: torch.allclose(values(3), values(3)), ["read-back"]),
    "nonzero": (lambda: mask().nonzero(), ["size"]),
    "where": (lambda: torch.where(mask()), ["size"]),
    "a mask": (lambda: values(4, 3)[mask()], ["size"]),
    "assignment by a mask": (lambda: assigned(values(4, 3), mask(), values(4, 3)), ["size"]),
    "masked_select": (lambda: values(4).masked_select(mask()), ["size"]),
    "bincount": (lambda: rows(4).bincount(minlength=3), ["size"]),
    "unique": (lambda: torch.unique(values(4)), ["size"]),
    "repeat_interleave": (lambda: values(4).repeat_interleave(rows(4)), ["size"]),
}
FREE: dict[str, Callable[[], object]] = {
    "to without blocking": lambda: torch.zeros(3).to(META, non_blocking=True),
    "copy_ without blocking": lambda: values(3).copy_(torch.zeros(3), non_blocking=True),
    "cpu without blocking": lambda: values(3).to("cpu", non_blocking=True),
    "made on the device": lambda: (torch.arange(4, device=META), torch.full((2,), 1.5, device=META)),
    "a change of dtype": lambda: values(3).to(torch.bfloat16),
    "rows of the device": lambda: values(4, 3)[rows(2)],
    "a slice": lambda: values(4, 3)[1:3, None],
    "a fill by a mask": lambda: assigned(values(4, 3), mask(), 0.0),
    "numbers of Python": lambda: torch.where(mask(), 1.0, values(4) * 2 + 1),
    "a number of the host": lambda: values(4) * torch.tensor(2.0),
    "one_hot": lambda: one_hot(rows(3), 5),
    "autocast": lambda: product_in_autocast(),
    "the host alone": lambda: torch.zeros(4)[torch.zeros(4) > 1].sum().item(),
    "iteration": lambda: [row.sum() for row in values(4, 3)],
}


def product_in_autocast() -> torch.Tensor:
    with torch.autocast("meta", enabled=False):
        return values(4) * 2


@pytest.mark.parametrize("name", WAITS)
def test_a_wait_is_counted_once_with_its_place(name: str) -> None:
    call, kinds = WAITS[name]
    with count_syncs() as counter:
        call()
    assert [sync.kind for sync in counter.syncs] == kinds
    for sync in counter.syncs:
        assert sync.place.startswith("tests/testing/test_device_syncs.py:")


@pytest.mark.parametrize("name", FREE)
def test_work_without_a_wait_is_not_counted(name: str) -> None:
    with count_syncs() as counter:
        FREE[name]()
    assert counter.syncs == []


def test_answers_have_the_shapes_of_a_mask_that_selects_everything() -> None:
    with count_syncs():
        assert values(4, 3)[mask()].shape == (4, 3)
        assert values(2, 3)[torch.zeros(2, 3, dtype=torch.bool, device=META)].shape == (6,)
        assert mask().nonzero().shape == (4, 1)
        assert rows(4).bincount(minlength=7).shape == (7,)
        assert torch.zeros(2, 2, device=META).tolist() == [[1.0, 1.0], [1.0, 1.0]]
        assert rows(2).tolist() == [0, 0]
        assert bool(mask().all())
        assert torch.unique(values(4), return_counts=True)[1].shape == (4,)


def test_waits_in_the_backward_pass_are_counted() -> None:
    weight = torch.zeros(3, device=META, requires_grad=True)
    with count_syncs() as counter:
        loss = (weight * 2).to("cpu", non_blocking=True).sum()
        loss.backward()
    assert [sync.kind for sync in counter.syncs] == ["upload"]
    assert weight.grad is not None
    assert "test_device_syncs" in counter.syncs[0].place


def test_places_are_listed_by_their_number() -> None:
    with count_syncs() as counter:
        values(2).cpu()
        for _ in range(3):
            values(2).sum().item()
    assert counter.count == 4
    assert list(counter.places().values()) == [3, 1]
    assert next(iter(counter.places())).endswith("read-back by aten._local_scalar_dense.default")


def test_a_counter_leaves_torch_as_it_was() -> None:
    autocast = torch.autocast
    with count_syncs():
        assert torch.autocast is not autocast
    assert torch.autocast is autocast
    with pytest.raises(ZeroDivisionError), count_syncs():
        raise ZeroDivisionError
    assert torch.autocast is autocast
    with pytest.raises(RuntimeError, match="meta"):
        values(1).item()


def test_a_task_on_meta_has_the_parameters_of_its_config() -> None:
    task = on_meta("retrieval", {"hash.bits": 7})
    network = task.network  # type: ignore[attr-defined]
    assert {parameter.device.type for parameter in network.parameters()} == {"meta"}
    assert network.hash_layer.linear.weight.shape[0] == 7


def test_every_shipped_method_has_a_small_task() -> None:
    named = {method.settings.get("hash.method", method.settings.get("model.method")) for method in METHODS.values()}
    assert named >= {"dpsh", "dsh", "hashnet", "exchnet", "helixformer", "lwfm"}
