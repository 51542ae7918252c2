"""ExchNet-like: the network put together by hand, and its losses as loops over images, parts and positions."""

import math
from itertools import combinations
from pathlib import Path

import pytest
import torch
from torch import Tensor

from raysearch.models import backbones
from raysearch.models.hashing.exchnet import (
    ExchNet,
    alignment,
    channel_diversity,
    class_sums,
    exchange,
    spatial_diversity,
)

CHANNELS = {
    "small": 128,
    "conv4": 64,
    "resnet12": 512,
    "resnet18": 512,
    "resnet50": 2048,
    "squeezenet1_1": 512,
    "mobilenet_v2": 1280,
}
SECOND_LAST = {
    "small": (96, 8),
    "conv4": (64, 16),
    "resnet12": (256, 8),
    "resnet18": (256, 4),
    "resnet50": (1024, 4),
    "squeezenet1_1": (256, 7),
    "mobilenet_v2": (96, 4),
}


@pytest.fixture(autouse=True)
def _same_start() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


def small(bits: int = 6, parts: int = 3, **options) -> ExchNet:
    return ExchNet(backbones.build("small", "DRAWN_BIRDS_V1"), bits, parts, **options)


def images(batch: int = 4, side: int = 32) -> Tensor:
    return torch.randn(batch, 3, side, side)


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", CHANNELS)
def test_every_backbone(name: str) -> None:
    backbone = backbones.build(name)
    network = ExchNet(backbone, 12, parts=2)
    out = network(images(2, 64))
    (_, side) = SECOND_LAST[name]
    channels = CHANNELS[name]
    assert out.z.shape == (2, 12)
    assert out.local.shape == (2, 2, channels)
    assert out.whole.shape == (2, channels)
    assert out.maps.shape == out.scores.shape == (2, 2, side, side)
    assert network.hash_layer.linear.weight.shape == (12, 3 * channels)
    assert network.hash_layer.linear.bias is None
    assert network.attention[0].in_channels == SECOND_LAST[name][0]
    local = network.local_stage.state_dict()
    whole = network.whole_stage.state_dict()
    backbone = backbone.state_dict()
    assert {f"body.{key}" for key in whole} < set(backbone)
    for key, value in network.whole_stage.named_parameters():
        assert torch.equal(local[key], value)
        assert torch.equal(backbone[f"body.{key}"], value)
        assert local[key].data_ptr() != value.data_ptr()


def test_a_forward_pass_by_hand() -> None:
    network = small().eval()
    batch = images()
    for parameter in network.local_stage.parameters():
        parameter.data.mul_(1.1)
    with torch.no_grad():
        out = network(batch)
        maps = network.stem(batch)
        weight = network.attention[0].weight
        norm = network.attention[1]
        for i in range(4):
            features = []
            for part in range(3):
                logits = sum(weight[part, c, 0, 0] * maps[i, c] for c in range(96))
                scores = (logits - norm.running_mean[part]) / (norm.running_var[part] + norm.eps).sqrt()
                attention = 1 / (1 + (-scores).exp())
                torch.testing.assert_close(out.scores[i, part], scores, rtol=1e-4, atol=1e-5)
                torch.testing.assert_close(out.maps[i, part], attention, rtol=1e-4, atol=1e-5)
                features.append(network.local_stage((maps[i] * attention)[None])[0].mean((1, 2)))
                torch.testing.assert_close(out.local[i, part], features[-1], rtol=1e-4, atol=1e-5)
            features.append(network.whole_stage(maps[i : i + 1])[0].mean((1, 2)))
            torch.testing.assert_close(out.whole[i], features[-1], rtol=1e-4, atol=1e-5)
            z = network.hash_layer.linear.weight @ torch.cat(features)
            torch.testing.assert_close(out.z[i], z, rtol=1e-4, atol=1e-5)


def test_the_global_feature_is_the_backbone_s() -> None:
    backbone = backbones.build("small", "DRAWN_BIRDS_V1")
    network = ExchNet(backbone, 6).eval()
    batch = images()
    with torch.no_grad():
        torch.testing.assert_close(network(batch).whole, backbone(batch)["block4"].mean((2, 3)))


def test_building_moves_no_statistics() -> None:
    backbone = backbones.build("small", "DRAWN_BIRDS_V1")
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    network = ExchNet(backbone, 6)
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())
    assert all(module.training for module in network.modules())


def test_everything_learns_from_the_three_losses() -> None:
    network = small(classes=2)
    labels = torch.tensor([0, 1, 0, 1])
    network.update_anchors(torch.rand(2, 3, 128), torch.tensor([1, 1]))
    out = network(images(), labels, torch.full((4, 3), 0.9))
    loss = out.z.tanh().square().sum() + spatial_diversity(out.scores) + channel_diversity(out.local, 1.0)
    (loss + alignment(out.local, labels, network.anchors)).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.ndim == 1 or parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("training", [True, False])
def test_channels_last_changes_no_number(training: bool) -> None:
    network = small().train(training)
    batch = images()
    for norm in network.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.momentum = 0.0
    expected = network(batch)
    network.to(memory_format=torch.channels_last)
    last = network(batch.contiguous(memory_format=torch.channels_last))
    for a, b in zip(last, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_after_the_backbone_everything_is_float32() -> None:
    network = small(classes=2)
    labels = torch.tensor([0, 1, 0, 1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = network(images(), labels, torch.rand(4, 3))
        losses = (
            spatial_diversity(out.scores),
            channel_diversity(out.local),
            alignment(out.local, labels, network.anchors),
        )
    assert out.z.dtype == out.local.dtype == out.whole.dtype == torch.float32
    assert all(loss.dtype == torch.float32 for loss in losses)
    local = uniform(4, 3, 64, seed=1).float()
    scores = uniform(4, 3, 5, 5, seed=2).float()
    expected = spatial_diversity(scores), channel_diversity(local, 1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(spatial_diversity(scores), expected[0])
        assert torch.equal(channel_diversity(local, 1.0), expected[1])


@pytest.mark.parametrize("standardise", [False, True])
def test_exchanged_features_reach_the_code_and_nothing_else(standardise: bool) -> None:
    network = small(standardise=standardise, classes=2).eval()
    batch = images()
    labels = torch.tensor([0, 1, 0, 1])
    network.hash_layer.fit_statistics(torch.rand(50, 4 * 128))
    network.update_anchors(torch.rand(2, 3, 128), torch.tensor([1, 1]))
    drawn = uniform(4, 3).float()
    with torch.no_grad():
        plain = network(batch)
        exchanged = network(batch, labels, drawn)
        seen = exchange(plain.local, labels, network.anchors, drawn)
        z = network.hash_layer(torch.cat([seen.flatten(1), plain.whole], dim=1))
    torch.testing.assert_close(exchanged.z, z)
    assert not torch.allclose(plain.z, z)
    for a, b in zip(plain[1:], exchanged[1:], strict=True):
        assert torch.equal(a, b)


def test_exchange_loop() -> None:
    local = uniform(6, 3, 4)
    anchors = uniform(5, 3, 4, seed=1)
    labels = torch.tensor([0, 4, 2, 2, 1, 0])
    anchors[2] = 0  # a class that has none yet
    drawn = uniform(6, 3, seed=2)
    for options in ({}, {"probability": 0.3}, {"probability": 0.0}, {"probability": 1.0}):
        swapped = exchange(local, labels, anchors, drawn, **options)
        for i in range(6):
            for part in range(3):
                taken = drawn[i, part] < options.get("probability", 0.5) and labels[i] != 2
                assert torch.equal(swapped[i, part], (anchors[labels[i]] if taken else local[i])[part])


def test_an_exchanged_feature_and_its_anchor_have_no_gradient() -> None:
    local = uniform(2, 3, 4).requires_grad_()
    anchors = uniform(2, 3, 4, seed=1).requires_grad_()
    drawn = torch.tensor([[0.1, 0.5, 0.49], [0.9, 0.0, 0.7]])
    exchange(local, torch.tensor([1, 0]), anchors, drawn).sum().backward()
    assert local.grad[..., 0].tolist() == [[0, 1, 0], [1, 0, 1]]
    assert anchors.grad is None


def test_anchors_are_class_means_and_stay_without_news() -> None:
    local = uniform(12, 3, 4)
    labels = torch.tensor([0, 0, 3, 1, 1, 1, 0, 3, 3, 0, 0, 1])
    network = ExchNet(backbones.build("small"), 6, parts=3, classes=4)
    network.anchors = torch.zeros(4, 3, 4, dtype=torch.float64)
    network.anchors[2] = 7.0
    whole = class_sums(local, labels, 4)
    halves = [class_sums(local[rows], labels[rows], 4) for rows in (slice(0, 5), slice(5, 12))]
    network.update_anchors(halves[0][0] + halves[1][0], halves[0][1] + halves[1][1])
    torch.testing.assert_close(halves[0][0] + halves[1][0], whole[0])
    assert whole[1].tolist() == [5, 4, 0, 3]
    for label in (0, 1, 3):
        rows = [local[i] for i in range(12) if labels[i] == label]
        torch.testing.assert_close(network.anchors[label], sum(rows) / len(rows))
    assert (network.anchors[2] == 7).all()


def test_anchors_are_saved(tmp_path: Path) -> None:
    network = small(classes=3)
    other = small(classes=3)
    network.update_anchors(*class_sums(torch.rand(8, 3, 128), torch.arange(8) % 3, 3))
    torch.save(network.state_dict(), tmp_path / "network.pt")
    other.load_state_dict(torch.load(tmp_path / "network.pt", weights_only=True))
    assert torch.equal(other.anchors, network.anchors)
    batch = images()
    with torch.no_grad():
        assert torch.equal(other.eval()(batch).z, network.eval()(batch).z)


def hellinger(a: list[float], b: list[float]) -> float:
    """Of the softmaxes of two rows."""
    p, q = ([math.exp(x) / sum(math.exp(y) for y in row) for x in row] for row in (a, b))
    return math.sqrt(sum((math.sqrt(x) - math.sqrt(y)) ** 2 for x, y in zip(p, q, strict=True))) / math.sqrt(2)


def mean_distance(rows: Tensor) -> float:
    pairs = list(combinations(rows.tolist(), 2))
    return sum(hellinger(a, b) for a, b in pairs) / len(pairs)


@pytest.mark.parametrize("parts", [2, 3, 4])
def test_diversities_loop(parts: int) -> None:
    scores = 4 * uniform(5, parts, 3, 4) - 2
    local = 3 * uniform(5, parts, 7, seed=1)
    distances = [mean_distance(image.flatten(1)) for image in scores]
    assert spatial_diversity(scores).item() == pytest.approx(1 - sum(distances) / 5, rel=1e-12)
    distances = [mean_distance(image) for image in local]
    assert min(distances) < 0.3 < max(distances)
    for threshold in (0.3, 0.4, 0.05):
        expected = sum(max(0.0, threshold - d) for d in distances) / 5
        given = () if threshold == 0.4 else (threshold,)
        assert channel_diversity(local, *given).item() == pytest.approx(expected, rel=1e-12)


def test_ends_of_the_diversities() -> None:
    same = uniform(1, 1, 4, 4).expand(2, 3, 4, 4)
    assert spatial_diversity(same).item() == pytest.approx(1)
    assert channel_diversity(same.flatten(2)).item() == pytest.approx(0.4)
    apart = torch.zeros(2, 3, 9)
    for part in range(3):
        apart[:, part, 3 * part : 3 * part + 3] = 200.0
    assert spatial_diversity(apart.view(2, 3, 3, 3)).item() == pytest.approx(0, abs=1e-6)
    assert channel_diversity(apart).item() == 0


@pytest.mark.parametrize("factor", [0.0, 1.0, 1e3])
def test_slopes_are_finite_where_parts_agree_or_are_far_apart(factor: float) -> None:
    scores = (factor * uniform(2, 3, 4, 4)).float()
    scores[0, 1] = scores[0, 0]
    scores.requires_grad_()
    (spatial_diversity(scores) + channel_diversity(scores.flatten(2))).backward()
    assert scores.grad.isfinite().all()


def test_one_part_has_nothing_to_differ_from() -> None:
    scores = uniform(2, 1, 4, 4)
    assert spatial_diversity(scores).item() == 0
    assert channel_diversity(scores.flatten(2)).item() == 0
    assert small(parts=1)(images()).local.shape == (4, 1, 128)


def test_alignment_loop() -> None:
    local = uniform(6, 3, 4)
    anchors = uniform(5, 3, 4, seed=1)
    labels = torch.tensor([0, 4, 2, 2, 1, 0])
    anchors[2] = 0
    costs = [
        0.0 if labels[i] == 2 else math.dist(local[i, part].tolist(), anchors[labels[i], part].tolist())
        for i in range(6)
        for part in range(3)
    ]
    assert alignment(local, labels, anchors).item() == pytest.approx(sum(costs) / 18, rel=1e-12)


def test_alignment_at_the_anchor_itself_is_finite() -> None:
    anchors = uniform(2, 3, 4)
    local = anchors.clone()[[0, 1, 1]].requires_grad_()
    alignment(local, torch.tensor([0, 1, 1]), anchors.requires_grad_()).backward()
    assert (local.grad == 0).all()
    assert anchors.grad is None


def test_slopes() -> None:
    scores = uniform(2, 3, 2, 3).requires_grad_()
    local = uniform(2, 3, 5, seed=1).requires_grad_()
    anchors = uniform(4, 3, 5, seed=2)
    labels = torch.tensor([3, 1])
    assert torch.autograd.gradcheck(spatial_diversity, (scores,))
    assert torch.autograd.gradcheck(channel_diversity, (local,))
    assert torch.autograd.gradcheck(lambda rows: alignment(rows, labels, anchors), (local,))


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(ValueError, match="parts=0"):
        small(parts=0)
    labels = torch.tensor([0, 1, 0, 1])
    drawn = torch.rand(4, 3)
    with pytest.raises(ValueError, match="classes=K"):
        small()(images(), labels, drawn)
    for arguments in ((labels, None), (None, drawn)):
        with pytest.raises(ValueError, match="both"):
            small(classes=2)(images(), *arguments)
