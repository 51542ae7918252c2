"""ESRL against a plain loop over images and bits."""

import pytest
import torch
from torch import Tensor

from raysearch.models.esrl import esrl


def outputs(seed: int, batch: int = 6, bits: int = 5) -> list[Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [torch.rand(batch, bits, generator=draw, dtype=torch.float64) * 2 - 1 for _ in range(3)]


def mean_squared_distance(a: Tensor, b: Tensor) -> float:
    rows = zip(a.tolist(), b.tolist(), strict=True)
    return sum(sum((x - y) ** 2 for x, y in zip(p, q, strict=True)) for p, q in rows) / len(a)


@pytest.mark.parametrize(("positive_weight", "erased_weight"), [(0.1, 0.1), (0.3, 1.0), (1.0, 0.0), (0.0, 0.03)])
def test_loop(positive_weight: float, erased_weight: float) -> None:
    u, positive, erased = outputs(0)
    expected = positive_weight * mean_squared_distance(u, positive) + erased_weight * mean_squared_distance(u, erased)
    loss = esrl(u, positive, erased, positive_weight, erased_weight)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_a_view_without_weight_may_be_missing() -> None:
    u, positive, erased = outputs(1)
    assert esrl(u, positive, None, 0.5, 0.0).item() == pytest.approx(0.5 * mean_squared_distance(u, positive))
    assert esrl(u, None, erased, 0.0, 0.5).item() == pytest.approx(0.5 * mean_squared_distance(u, erased))
    assert esrl(u, None, None, 0.0, 0.0).item() == 0


def test_gradient_flows_into_all_three() -> None:
    # Equation 14 with kappa = alpha / c: 2 kappa (u_i - u_i') / B, the other sign at the other end.
    u, positive, erased = (t.requires_grad_() for t in outputs(2))
    esrl(u, positive, erased, 0.3, 0.7).backward()
    from_positive = (0.6 / 6 * (u - positive)).detach()
    from_erased = (1.4 / 6 * (u - erased)).detach()
    torch.testing.assert_close(u.grad, from_positive + from_erased)
    torch.testing.assert_close(positive.grad, -from_positive)
    torch.testing.assert_close(erased.grad, -from_erased)


def test_equal_views_cost_nothing() -> None:
    u = outputs(3)[0].float()
    assert esrl(u, u.clone(), u.clone(), 1.0, 1.0).item() == 0


def test_an_autocast_region_changes_no_number() -> None:
    u, positive, erased = (t.float().requires_grad_() for t in outputs(4))
    expected = esrl(u, positive, erased, 0.3, 0.7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = esrl(u, positive, erased, 0.3, 0.7)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, expected)
    for a, b in zip(*(torch.autograd.grad(loss, (u, positive, erased)) for loss in (inside, expected)), strict=True):
        assert torch.equal(a, b)


def test_outputs_of_a_network_that_runs_channels_last() -> None:
    # Pooled features of such a network keep odd strides, and so may the outputs.
    u, positive, erased = (t.float() for t in outputs(5))
    strided = [t.T.contiguous().T for t in (u, positive, erased)]
    assert not strided[0].is_contiguous()
    torch.testing.assert_close(esrl(*strided, 0.3, 0.7), esrl(u, positive, erased, 0.3, 0.7), rtol=1e-6, atol=0)
