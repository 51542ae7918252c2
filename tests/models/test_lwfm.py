"""The metric of LWFM-SPM against pairs one by one, with the weighted maps built and phi after them."""

import copy
import itertools
import random
from typing import Any

import pytest
import torch
from torch import Tensor

from raysearch.core import UserError
from raysearch.models import lwfm, spm
from raysearch.models.lwfm import LayerwiseMatching, PairMatching, PixelMetric, pool_taps

from .lwfm_reference import assert_same, image_pairs, own_pairs, slopes, slow_matching

MATCHERS, REDUCES, LAYERS = ("hungarian", "nearest", "mutual", "sinkhorn"), ("top1", "topk", "mean"), ("max", "mean")
PLAIN: dict[str, Any] = {
    "temperature": 2.0,
    "lwe": True,
    "matcher": "hungarian",
    "reduce": "top1",
    "k": 2,
    "layers": "max",
    "weight": 0.7,
    "tau": 0.2,
    "residual": True,
    "sinkhorn_eps": 0.3,
    "sinkhorn_iterations": 4,
}


def maps(draw: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=draw, dtype=torch.float64).requires_grad_()


def episode(
    seed: int,
    channels: tuple[int, ...],
    ways: int = 3,
    shots: int = 2,
    queries: int = 2,
    grid: int = 2,
    episodes: int = 1,
) -> tuple[list[Tensor], list[Tensor]]:
    draw = torch.Generator().manual_seed(seed)
    support = [maps(draw, episodes, ways, shots, each, grid, grid) for each in channels]
    return support, [maps(draw, episodes, queries, each, grid, grid) for each in channels]


def metric_of(kind: type[PixelMetric], seed: int, channels: tuple[int, ...], options: dict[str, Any]) -> Any:
    torch.manual_seed(seed)
    return kind(channels, **options).double()


CASES: list[dict[str, Any]] = [
    {"matcher": matcher, "reduce": reduce, "layers": layers}
    for matcher, reduce, layers in itertools.product(MATCHERS, REDUCES, LAYERS)
]
CASES += [{"lwe": False}, {"residual": False}, {"weight": 0.0}, {"weight": 0.0, "lwe": False}]
CASES += [{"residual": False, "matcher": "sinkhorn", "reduce": "mean"}]
CASES += [{"residual": False, "lwe": False, "matcher": "mutual"}, {"temperature": 0.3, "tau": 1.0, "weight": 2.0}]


@pytest.mark.parametrize("index", range(len(CASES)), ids=lambda index: "-".join(map(str, CASES[index].values())))
def test_images_pair_by_pair(index: int) -> None:
    options, size = PLAIN | CASES[index], random.Random(index)
    channels = tuple(size.sample(range(2, 7), size.randint(1, 3)))
    grid = size.choice((2, 2, 3))
    sizes = {"ways": size.randint(2, 5 if grid == 2 else 3), "shots": size.randint(1, 3 if grid == 2 else 2)}
    support, query = episode(index, channels, queries=size.randint(1, 4 if grid == 2 else 2), grid=grid, **sizes)
    metric = metric_of(LayerwiseMatching, index, channels, options)
    expected = slow_matching(metric, options, image_pairs(support, query), sum(channels))
    assert_same(metric(support, query), expected, [*support, *query, *metric.parameters()])


def test_a_grid_of_four_and_two_episodes() -> None:
    for seed, sizes in enumerate(({"grid": 4, "ways": 2, "shots": 1, "queries": 1}, {"episodes": 2, "ways": 2})):
        support, query = episode(100 + seed, (3, 4), **sizes)
        metric = metric_of(LayerwiseMatching, seed, (3, 4), PLAIN)
        expected = slow_matching(metric, PLAIN, image_pairs(support, query), 7)
        assert_same(metric(support, query), expected, [*support, *query, *metric.parameters()])


PAIR_CASES: list[dict[str, Any]] = [{"matcher": matcher} for matcher in MATCHERS]
PAIR_CASES += [{"reduce": "topk"}, {"reduce": "mean", "lwe": False}, {"residual": False}, {"weight": 0.0}]


@pytest.mark.parametrize("options", PAIR_CASES, ids=str)
def test_maps_of_pairs_one_by_one(options: dict[str, Any]) -> None:
    options, draw = PLAIN | options, torch.Generator().manual_seed(7)
    for queries, ways, shots, layers in ((2, 3, 2, (5,)), (1, 2, 1, (4,)), (1, 2, 2, (3, 4))):
        support, query = ([maps(draw, 2, queries, ways * shots, each, 2, 2) for each in layers] for _ in range(2))
        metric = metric_of(PairMatching, 8, layers, options)
        expected = slow_matching(metric, options, own_pairs(support, query, shots), sum(layers))
        assert_same(metric(support, query, shots), expected, [*support, *query, *metric.parameters()])


def test_maps_of_pairs_that_are_maps_of_images() -> None:
    support, query = episode(9, (5,), ways=3, shots=2, queries=4)
    images, pairs = (metric_of(kind, 10, (5,), PLAIN) for kind in (LayerwiseMatching, PairMatching))
    pairs.load_state_dict(images.state_dict())
    by_pair = (
        support[0].flatten(1, 2)[:, None].expand(-1, 4, -1, -1, -1, -1),
        query[0][:, :, None].expand(-1, -1, 6, -1, -1, -1),
    )
    for a, b in zip(images(support, query), pairs([by_pair[0]], [by_pair[1]], 2), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("matcher", MATCHERS)
def test_order_of_ways_shots_and_queries(matcher: str) -> None:
    support, query = episode(11, (4, 3), ways=4, shots=3, queries=5)
    metric = metric_of(LayerwiseMatching, 12, (4, 3), PLAIN | {"matcher": matcher})
    ways, shots, queries = (torch.randperm(n, generator=torch.Generator().manual_seed(n)) for n in (4, 3, 5))
    straight = metric(support, query)
    moved = metric([each[:, ways][:, :, shots] for each in support], [each[:, queries] for each in query])
    torch.testing.assert_close(moved.logits, straight.logits[:, queries][:, :, ways], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(moved.query, straight.query[:, queries], rtol=1e-12, atol=1e-12)


def pixel_scores(metric: LayerwiseMatching, support: list[Tensor], query: list[Tensor]) -> Tensor:
    """SPM alone: what the logits lose without it."""
    without = copy.copy(metric)
    without.weight = 0.0
    return (metric(support, query).logits - without(support, query).logits) * metric.tau / metric.weight


@pytest.mark.parametrize("matcher", MATCHERS)
@pytest.mark.parametrize("reduce", ["top1", "mean"])
def test_pixel_matching_sees_neither_the_weights_nor_the_length_of_a_pixel(matcher: str, reduce: str) -> None:
    support, query = episode(13, (4, 3), ways=3, shots=2, queries=3)
    metric = metric_of(LayerwiseMatching, 14, (4, 3), PLAIN | {"matcher": matcher, "reduce": reduce})
    straight = pixel_scores(metric, support, query)
    draw = torch.Generator().manual_seed(15)
    factors = [torch.rand(*each[0].shape[:-3], 1, 2, 2, generator=draw).double() * 9 + 0.1 for each in (support, query)]
    scaled = [[each * factor for each in side] for side, factor in zip((support, query), factors, strict=True)]
    torch.testing.assert_close(pixel_scores(metric, *scaled), straight, rtol=1e-10, atol=1e-12)
    assert (metric(*scaled).logits - metric(support, query).logits).abs().max() > 1e-3
    metric.temperature = 0.05
    torch.testing.assert_close(pixel_scores(metric, support, query), straight, rtol=1e-10, atol=1e-12)


def test_matched_with_itself_an_image_is_most_similar() -> None:
    support, _ = episode(16, (6, 4), ways=4, shots=1, queries=1, grid=3)
    metric = metric_of(LayerwiseMatching, 17, (6, 4), PLAIN | {"reduce": "mean", "layers": "mean", "weight": 1.0})
    logits = metric(support, [each[:, :, 0] for each in support]).logits[0]
    torch.testing.assert_close(logits.diagonal(), torch.full((4,), 2 / 0.2, dtype=torch.float64))
    assert (logits.fill_diagonal_(0) < 9).all()


@pytest.mark.parametrize("options", [{}, {"reduce": "mean", "layers": "mean"}, {"residual": False}], ids=str)
def test_gradient_with_frozen_matches(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    support, query = episode(18, (3, 2), ways=2, shots=1, queries=1)
    metric = metric_of(LayerwiseMatching, 19, (3, 2), PLAIN | options)
    solve, frozen = spm.solve, []

    def first(cost: Tensor) -> Tensor:
        if not frozen:
            frozen.append(solve(cost))
        return frozen[0]

    monkeypatch.setattr(spm, "solve", first)
    inputs = [*support, *query, *metric.parameters()]
    assert torch.autograd.gradcheck(lambda *z: metric(z[:2], z[2:4]).logits, inputs)


def test_without_weight_nothing_is_matched_and_nothing_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Tensor) -> None:
        raise AssertionError

    monkeypatch.setattr(spm, "solve", refuse)
    monkeypatch.setattr(lwfm, "strongest", refuse)
    metric = LayerwiseMatching((4, 3), weight=0)
    assert not metric.state_dict()
    assert metric([torch.rand(1, 2, 1, c, 2, 2) for c in (4, 3)], [torch.rand(1, 3, c, 2, 2) for c in (4, 3)])


def test_parameters() -> None:
    names = {f"residual.{layer}.{part}.weight" for layer in (0, 1) for part in ("squeeze", "expand")}
    metric = LayerwiseMatching((512, 512))
    assert set(metric.state_dict()) == names
    assert sum(each.numel() for each in metric.parameters()) == 2 * 2 * 512 * 256
    assert not list(LayerwiseMatching((512,), residual=False).parameters())


@pytest.mark.parametrize("matcher", MATCHERS)
def test_bfloat16_autocast(matcher: str) -> None:
    support, query = ([each.detach().float() for each in side] for side in episode(20, (16, 8), grid=3))
    torch.manual_seed(21)
    metric = LayerwiseMatching((16, 8), matcher=matcher)
    expected = metric(support, query)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = metric([each.bfloat16() for each in support], [each.bfloat16() for each in query])
        unmapped = LayerwiseMatching((16, 8), matcher=matcher, residual=False)
        same = unmapped(support, query)
    inside.logits.sum().backward()
    for a, b in zip(inside, expected, strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=0.05, atol=0.1)
    assert all(each.grad is not None and each.grad.isfinite().all() for each in metric.parameters())
    for a, b in zip(same, unmapped(support, query), strict=True):
        assert torch.equal(a, b)  # phi is all that autocast may touch


@pytest.mark.parametrize("matcher", MATCHERS)
def test_features_that_overflowed_end_in_the_loss(matcher: str) -> None:
    support, query = ([each.detach() for each in side] for side in episode(22, (4,), queries=3))
    query[0][0, 1, 0, 0, 0] = torch.nan
    logits = metric_of(LayerwiseMatching, 23, (4,), PLAIN | {"matcher": matcher})(support, query).logits
    assert logits[0, 1].isnan().all()
    assert logits[0, [0, 2]].isfinite().all()


@pytest.mark.parametrize("matcher", MATCHERS)
def test_empty_pixels_and_images_stay_finite(matcher: str) -> None:
    support, query = ([each.detach() for each in side] for side in episode(24, (4, 3), queries=3))
    for each in (*support, *query):
        each[0, 0] = 0
        each[..., 1, 1] = 1
        each.requires_grad_()
    metric = metric_of(LayerwiseMatching, 25, (4, 3), PLAIN | {"matcher": matcher, "reduce": "mean"})
    matched = metric(support, query)
    assert all(each.isfinite().all() for each in matched)
    for slope in slopes(matched, 26, [*support, *query, *metric.parameters()]):
        assert slope is not None
        assert slope.abs().max() < 1e6


def test_taps_come_to_one_grid() -> None:
    draw = torch.Generator().manual_seed(27)
    stem, odd, last = (maps(draw, 2, 3, 4, side, side) for side in (6, 5, 3))
    pooled = pool_taps([stem, odd, last])
    for image, channel, y, x in itertools.product(range(2), range(4), range(3), range(3)):
        block = stem[image, 1, channel, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
        torch.testing.assert_close(pooled[0][image, 1, channel, y, x], block.mean())
    assert pooled[1].shape == (2, 3, 4, 3, 3)
    assert torch.equal(pooled[2], last)
    assert pool_taps([last.bfloat16()], grid=2)[0].dtype == torch.float32


def test_options_out_of_range_are_named() -> None:
    for name, value in (("temperature", 0.0), ("tau", -1.0), ("k", 0), ("weight", -0.1), ("weight", float("nan"))):
        with pytest.raises(ValueError, match=name):
            LayerwiseMatching((4,), **{name: value})  # type: ignore[arg-type]
    for name, wrong, right in (
        ("reduce", "topp1", "top1"),
        ("layers", "maxx", "max"),
        ("matcher", "hungaria", "hungarian"),
    ):
        with pytest.raises(UserError, match=f"{name} '{wrong}'; did you mean '{right}'"):
            LayerwiseMatching((4,), **{name: wrong})  # type: ignore[arg-type]
    metric = LayerwiseMatching((4,), reduce="topk", k=5)
    with pytest.raises(ValueError, match="5 matches"):
        metric([torch.rand(1, 2, 1, 4, 2, 2)], [torch.rand(1, 2, 4, 2, 2)])
