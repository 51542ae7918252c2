"""FCAENet's network: equations 1 and 2 by hand, and when the standardisation's statistics move."""

import pytest
import torch
from torch import Tensor

from raysearch.models import backbones
from raysearch.models.fcaenet import FCAENet, HashLayer, pool


@pytest.fixture(autouse=True)
def _same_start() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


def features(count: int = 40) -> Tensor:
    return torch.randn(count, 5) * torch.tensor([0.1, 1, 5, 20, 3]) + torch.tensor([0.0, 2, -3, 40, 1])


@pytest.mark.parametrize("standardise", [False, True])
def test_outputs_are_tanh_of_a_linear_layer_on_mean_features(standardise: bool) -> None:
    backbone = backbones.build("small", "DRAWN_BIRDS_V1")
    network = FCAENet(backbone, 12, standardise).eval()
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        if standardise:
            seen = torch.rand(50, 128)
            network.hash_layer.fit_statistics(seen)
        output = network(images)
        expected = backbone(images)["block4"]
        pooled = expected.flatten(2).mean(2)
        if standardise:
            pooled = (pooled - seen.mean(0)) / (seen.var(0) + 1e-5).sqrt()
        linear = network.hash_layer.linear
        torch.testing.assert_close(output.u, torch.tanh(pooled @ linear.weight.T + linear.bias))
    assert torch.equal(output.features, expected)
    assert output.u.shape == (3, 12)
    assert (network.hash_layer.standardise is not None) == standardise


def test_standardisation_has_no_weights_of_its_own() -> None:
    plain = HashLayer(5, 4, False)
    standardized = HashLayer(5, 4, True)
    assert [n for n, _ in plain.named_parameters()] == [n for n, _ in standardized.named_parameters()]


def test_statistics_are_a_batch_s_in_training_until_they_are_fitted() -> None:
    layer = HashLayer(5, 4, True)
    batch = features(8)
    linear = layer.linear
    norm = layer.standardise
    assert norm is not None
    scaled = (batch - batch.mean(0)) / (batch.var(0, unbiased=False) + norm.eps).sqrt()
    torch.testing.assert_close(layer.train()(batch), linear(scaled), rtol=1e-4, atol=1e-5)
    assert norm.num_batches_tracked == 1

    whole = features(200)
    layer.fit_statistics(whole)
    scaled = (batch - whole.mean(0)) / (whole.var(0) + norm.eps).sqrt()
    for mode in (True, False):
        layer.train(mode)
        torch.testing.assert_close(layer(batch), linear(scaled), rtol=1e-4, atol=1e-5)
    assert layer.train().training
    torch.testing.assert_close(norm.running_mean, whole.mean(0))
    torch.testing.assert_close(norm.running_var, whole.var(0))


def test_fitted_statistics_stay_when_the_whole_network_trains() -> None:
    network = FCAENet(backbones.build("small"), 4, True)
    network.hash_layer.fit_statistics(torch.rand(50, 128))
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    network.eval()
    network.train()
    network(torch.randn(4, 3, 16, 16))
    for name, buffer in network.named_buffers():
        assert torch.equal(buffer, before[name]) == name.startswith("hash_layer"), name


def test_fitting_without_standardisation_changes_nothing() -> None:
    layer = HashLayer(5, 4, False)
    before = layer.linear.weight.clone()
    batch = features(6)
    layer.fit_statistics(features())
    assert torch.equal(layer.linear.weight, before)
    assert torch.equal(layer.train()(batch), layer.linear(batch))


def test_after_the_backbone_everything_is_float32() -> None:
    network = FCAENet(backbones.build("small"), 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = network(torch.randn(4, 3, 16, 16))
    assert output.features.dtype == torch.bfloat16
    assert output.u.dtype == torch.float32
    half = torch.full((1, 1, 40, 40), 256.0, dtype=torch.bfloat16)
    half[..., 0] = 255.0
    assert pool(half).item() == pytest.approx(255.975)  # a sum in half the bits would have lost the small ones


def test_gradient_reaches_trunk_and_hash_layer() -> None:
    network = FCAENet(backbones.build("small"), 6, True)
    network(torch.randn(4, 3, 16, 16)).u.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters() if p.ndim > 1)
