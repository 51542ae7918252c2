"""The emulated device computes what the CPU computes, and refuses what CUDA refuses."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from raysearch.testing import EmulatedDevice, count_syncs

META = torch.device("meta")


def views_and_changes(x: torch.Tensor) -> torch.Tensor:
    x = x.clone()
    x[1] += 1
    x[:, 2:].mul_(3)
    x.t()[0].neg_()
    x.view(-1)[::2].add_(0.5)
    return x


def masks_and_rows(x: torch.Tensor) -> torch.Tensor:
    y = x[x[:, 0] > 0].repeat(2, 1)
    y[torch.tensor([0])] = 5.0
    y[y > 4] = -1
    return torch.cat(
        [y, x[[1, 0]], x[x.argmax(1) % len(x)], torch.unique(x.round()).expand(2, -1)[:, :1].expand(-1, 5)]
    )


def network(x: torch.Tensor) -> torch.Tensor:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Sequential(
            nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(60, 2)
        )
    layers = layers.to(x.device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(layers.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):
        loss = layers(x[None, None].expand(2, 1, 4, 5) * torch.tensor([1.0, 2.0], device=x.device).view(2, 1, 1, 1))
        optimizer.zero_grad()
        loss.square().sum().backward()
        torch.nn.utils.clip_grad_norm_(layers.parameters(), 1.0)
        optimizer.step()
    return torch.cat([value.flatten().float() for value in layers.state_dict().values()])


def read_backs(x: torch.Tensor) -> torch.Tensor:
    total = x.sum().item() + float(x.max()) + sum(x[0].tolist()) + len(x.nonzero()) + int(torch.equal(x, x + 0))
    return x.new_tensor([total]) + torch.bincount(x.argmax(1), minlength=6)


FUNCTIONS: list[Callable[[torch.Tensor], torch.Tensor]] = [views_and_changes, masks_and_rows, network, read_backs]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_values_are_those_of_the_cpu(function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(3))
    expected = function(x)
    with EmulatedDevice() as device:
        result = function(x.to(META))
        assert result.device == META
        values = result.cpu()
    assert torch.equal(values, expected)
    assert device.count >= 2


def test_tensors_of_both_sides_are_refused_as_by_cuda() -> None:
    with EmulatedDevice():
        x = torch.ones(3).to(META)
        assert (x * torch.tensor(2.0)).cpu().tolist() == [2.0, 2.0, 2.0]
        for call in (lambda: x + torch.ones(3), lambda: torch.cat([x, torch.ones(3)]), lambda: torch.ones(3, 3) @ x):
            with pytest.raises(RuntimeError, match="one device"):
                call()
        with pytest.raises(RuntimeError, match="one device"):
            x.gather(0, torch.tensor([1]))


def test_waits_are_counted_as_without_values() -> None:
    def work() -> None:
        x = torch.ones(3).to(META)
        x[x > 0].sum().item()
        torch.ones(3).to(META, non_blocking=True)

    with EmulatedDevice() as device:
        work()
    with count_syncs() as counter:
        work()
    assert device.places() == counter.places()
    assert device.count == 3


def test_a_tensor_of_another_block_has_no_values() -> None:
    with EmulatedDevice():
        x = torch.ones(3).to(META)
    with EmulatedDevice(), pytest.raises(RuntimeError, match=r"\(3,\) has no values"):
        x + 1


def test_values_of_freed_tensors_are_freed() -> None:
    with EmulatedDevice() as device:
        for _ in range(11_000):
            torch.ones(1, device=META)
        assert len(device._values) < 2_000
