"""Layer-wise embedding against loops over images, layers and pixels."""

import math
import statistics

import pytest
import torch
from torch import Tensor

from raysearch.models.lwe import attention, layerwise_attention


def maps(seed: int, images: tuple[int, ...], channels: tuple[int, ...], grid: tuple[int, int]) -> list[Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [torch.rand(*images, each, *grid, generator=draw, dtype=torch.float64) for each in channels]


def unit_vectors(image: list[Tensor]) -> list[list[list[float]]]:
    """u by layer and pixel, of one image's maps (C_l, h, w): formulas on plain numbers."""
    columns = [each.flatten(1).T.tolist() for each in image]
    units: list[list[list[float]]] = [[] for _ in image]
    for pixel in range(len(columns[0])):
        mean = statistics.fmean(value for layer in columns for value in layer[pixel])
        for of_layer, layer in zip(units, columns, strict=True):
            centred = [value - mean for value in layer[pixel]]
            length = math.sqrt(sum(value**2 for value in centred) + 1e-6)
            of_layer.append([value / length for value in centred])
    return units


def softmax_of_zscore(values: list[float], temperature: float) -> list[float]:
    deviation = math.sqrt(statistics.variance(values) + 1e-5)
    exponentials = [math.exp((value - statistics.fmean(values)) / deviation / temperature) for value in values]
    return [value / sum(exponentials) for value in exponentials]


def slow_attention(support: list[Tensor], query: list[Tensor], temperature: float) -> tuple[Tensor, Tensor]:
    """Of (S, C_l, h, w) and (Q, C_l, h, w)."""
    both: tuple[list, list] = ([], [])
    for query_image in zip(*query, strict=True):
        for side in both:
            side.append([])
        for support_image in zip(*support, strict=True):
            a_s, a_q = [], []
            for s, q in zip(unit_vectors(list(support_image)), unit_vectors(list(query_image)), strict=True):
                r = [[sum(x * y for x, y in zip(u, v, strict=True)) for v in q] for u in s]
                down = [softmax_of_zscore(list(column), temperature) for column in zip(*r, strict=True)]  # by j
                across = [softmax_of_zscore(row, temperature) for row in r]  # by i
                a_s.append([sum(column[i] for column in down) for i in range(len(s))])
                a_q.append([sum(row[j] for row in across) for j in range(len(q))])
            for side, weights in zip(both, (a_s, a_q), strict=True):
                side[-1].append(weights)
    return tuple(torch.tensor(side, dtype=torch.float64) for side in both)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("channels", "grid", "temperature"),
    [((4,), (2, 2), 1.0), ((3, 5), (3, 3), 5.0), ((2, 3, 4), (2, 4), 0.3), ((6, 6), (1, 2), 2.0)],
)
def test_loops(channels: tuple[int, ...], grid: tuple[int, int], temperature: float) -> None:
    support, query = maps(0, (3,), channels, grid), maps(1, (2,), channels, grid)
    actual, expected = (each(support, query, temperature) for each in (layerwise_attention, slow_attention))
    for fast, slow in zip(actual, expected, strict=True):
        assert fast.shape == (2, 3, len(channels), grid[0] * grid[1])
        torch.testing.assert_close(fast, slow, rtol=1e-11, atol=1e-12)


def test_episodes_are_episodes_one_by_one() -> None:
    support, query = maps(2, (2, 3, 4), (5, 3), (2, 3)), maps(3, (2, 3, 2), (5, 3), (2, 3))
    whole = layerwise_attention(support, query, 2.0)
    for episode, shot in ((0, 0), (1, 2)):
        alone = layerwise_attention(
            [each[episode, shot] for each in support], [each[episode, shot] for each in query], 2.0
        )
        for a, b in zip(whole, alone, strict=True):
            torch.testing.assert_close(a[episode, shot], b, rtol=1e-12, atol=1e-12)


def test_weights_of_a_map_sum_to_its_pixels_and_swap_with_the_sides() -> None:
    support, query = maps(4, (3,), (4, 4), (3, 3)), maps(5, (2,), (4, 4), (3, 3))
    a_s, a_q = layerwise_attention(support, query, 0.1)
    for side in (a_s, a_q):
        assert (side > 0).all()
        torch.testing.assert_close(side.sum(-1), torch.full((2, 3, 2), 9.0, dtype=torch.float64))
    b_s, b_q = layerwise_attention(query, support, 0.1)
    torch.testing.assert_close(a_s, b_q.transpose(0, 1))
    torch.testing.assert_close(a_q, b_s.transpose(0, 1))


def test_a_high_temperature_and_a_single_pixel_leave_all_weights_at_one() -> None:
    for grid, temperature in (((3, 3), 1e9), ((1, 1), 0.1)):
        support, query = maps(6, (2,), (4,), grid), maps(7, (2,), (4,), grid)
        for side in layerwise_attention(support, query, temperature):
            torch.testing.assert_close(side, torch.ones_like(side), rtol=0, atol=1e-8)


def test_equal_pixels_and_tiny_temperatures_stay_finite() -> None:
    support = [torch.zeros(2, 4, 3, 3), torch.ones(2, 4, 3, 3)]
    support[1][0, :, 0, 0] = 50
    query = [each.clone().requires_grad_() for each in support]
    a_s, a_q = layerwise_attention(support, query, 1e-4)
    assert a_s.isfinite().all()
    (a_s.square().sum() + a_q.square().sum()).backward()
    assert all(each.grad is not None and each.grad.isfinite().all() for each in query)


def test_gradient() -> None:
    support, query = maps(8, (2,), (3, 2), (2, 2)), maps(9, (2,), (3, 2), (2, 2))
    for each in (*support, *query):
        each.requires_grad_()
    assert torch.autograd.gradcheck(lambda *z: layerwise_attention(z[:2], z[2:], 1.5), (*support, *query))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_autocast_region_changes_no_number(dtype: torch.dtype) -> None:
    support, query = ([each.to(dtype) for each in maps(seed, (2,), (8, 4), (3, 3))] for seed in (10, 11))
    expected = layerwise_attention([each.float() for each in support], [each.float() for each in query], 2.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = layerwise_attention(support, query, 2.0)
    for a, b in zip(inside, expected, strict=True):
        assert a.dtype == torch.float32
        assert torch.equal(a, b)


def test_maps_that_lie_channels_last() -> None:
    support, query = maps(12, (2,), (8,), (3, 3)), maps(13, (2,), (8,), (3, 3))
    s, q = ([each.contiguous(memory_format=torch.channels_last) for each in side] for side in (support, query))
    for a, b in zip(layerwise_attention(s, q, 2.0), layerwise_attention(support, query, 2.0), strict=True):
        torch.testing.assert_close(a, b)


def test_attention_looks_at_each_axis() -> None:
    # Support pixel 0 is what both query pixels answer to; a query's pixels are alike for both.
    a_s, a_q = attention(torch.tensor([[0.9, 0.9], [0.1, 0.1]], dtype=torch.float64), 1.0)
    # A z-score of two values is +-1 / sqrt 2, less what 1e-5 takes.
    z = 0.4 / math.sqrt(0.32 + 1e-5)
    assert a_s[0].item() == pytest.approx(2 / (1 + math.exp(-2 * z)), rel=1e-12)
    torch.testing.assert_close(a_q, torch.ones(2, dtype=torch.float64))
