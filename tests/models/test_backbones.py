"""Backbones: what every name gives, and which files of weights fit."""

import copy
import io
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional

from raysearch.core import UserError
from raysearch.models import backbones
from raysearch.models.backbone_specs import BUILT_IN
from raysearch.models.backbones import block_networks

# tap -> (channels, stride); depths of torchvision's networks as their papers print them
TAPS = {
    "small": {"block1": (24, 2), "block2": (48, 4), "block3": (96, 8), "block4": (128, 8)},
    "conv4": {"block1": (64, 2), "block2": (64, 4), "block3": (64, 4), "block4": (64, 4)},
    "resnet12": {"block1": (64, 2), "block2": (128, 4), "block3": (256, 8), "block4": (512, 8)},
    "resnet18": {
        "maxpool": (64, 4),
        "layer1.0": (64, 4),
        "layer1.1": (64, 4),
        "layer2.0": (128, 8),
        "layer2.1": (128, 8),
        "layer3.0": (256, 16),
        "layer3.1": (256, 16),
        "layer4.0": (512, 32),
        "layer4.1": (512, 32),
    },
    "resnet50": {"layer1": (256, 4), "layer2": (512, 8), "layer3": (1024, 16), "layer4": (2048, 32)},
    "squeezenet1_1": {"features.4": (128, 4), "features.7": (256, 8), "features.12": (512, 16)},
    "mobilenet_v2": {"features.3": (24, 4), "features.6": (32, 8), "features.13": (96, 16), "features.18": (1280, 32)},
}
# the tap in front of the last stage, where it is not the second last
CUTS = {"resnet18": "layer3.1"}


pytestmark = pytest.mark.usefixtures("same_start")


def drawn(name: str, file: Path, prefix: str = "") -> Any:
    """A network of torchvision with random weights, whose state is in `file`."""
    network = torchvision.models.get_model(name, weights=None)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.05)
    torch.save({k: v for k, v in network.state_dict().items() if k.startswith(prefix)}, file)
    return network.eval()


def images(side: int = 64, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, side, side)


def test_names() -> None:
    assert list(backbones.BACKBONES) == list(BUILT_IN)
    assert set(backbones.BACKBONES) == set(TAPS)


@pytest.mark.parametrize("name", TAPS)
def test_specs_name_the_published_weights(name: str) -> None:
    published = ["DRAWN_BIRDS_V1"] if name == "small" else []
    if name in torchvision.models.list_models():
        published = [member.name for member in torchvision.models.get_model_weights(name)]
    assert list(backbones.BACKBONES[name].weights) == published


@pytest.mark.parametrize("name", TAPS)
def test_taps_channels_and_strides(name: str) -> None:
    training = backbones.build(name)
    assert all(module.training for module in training.modules())
    backbone = training.eval()
    assert backbone.taps == tuple(TAPS[name])
    assert backbone.widths == tuple(channels for channels, _ in TAPS[name].values())
    assert backbone.channels == backbone.widths[-1]
    with torch.no_grad():
        maps = backbone(images(96))
    assert list(maps) == list(TAPS[name])
    for tap, (channels, stride) in TAPS[name].items():
        side = 96 // stride - (name == "squeezenet1_1")  # its pools have no padding
        assert maps[tap].shape == (2, channels, side, side), tap


@pytest.mark.parametrize("name", TAPS)
def test_channels_last_changes_no_number(name: str) -> None:
    backbone = backbones.build(name).eval()
    batch = images()
    with torch.no_grad():
        plain = backbone(batch)
        last = backbone.to(memory_format=torch.channels_last)(batch.contiguous(memory_format=torch.channels_last))
    for tap in backbone.taps:
        scale = plain[tap].abs().max().item()
        torch.testing.assert_close(last[tap], plain[tap], rtol=1e-3, atol=1e-5 * scale)


@pytest.mark.parametrize("name", TAPS)
def test_stem_and_last_stage_make_the_whole_with_the_same_weights(name: str) -> None:
    backbone = backbones.build(name)
    stem, last_stage = backbone.split()
    before, last = CUTS.get(name, backbone.taps[-2]), backbone.taps[-1]
    all_parameters = {id(parameter) for parameter in backbone.parameters()}
    parts = [{id(parameter) for parameter in part.parameters()} for part in (stem, last_stage)]
    assert parts[0] | parts[1] == all_parameters
    assert not parts[0] & parts[1]
    for training in (True, False):
        backbone.train(training)
        batch = images()
        maps = backbone(batch)
        features = stem(batch)
        assert torch.equal(features, maps[before])
        assert torch.equal(last_stage(features), maps[last])


@pytest.mark.parametrize("name", TAPS)
def test_a_copied_last_stage_learns_alone(name: str) -> None:
    backbone = backbones.build(name).eval()
    stem, last_stage = backbone.split()
    other = copy.deepcopy(last_stage)
    with torch.no_grad():
        features = stem(images())
        same = last_stage(features)
        assert torch.equal(other(features), same)
        for parameter in other.parameters():
            parameter.mul_(1.5)
        assert not torch.equal(other(features), same)
        assert torch.equal(last_stage(features), same)


@pytest.mark.parametrize(("name", "channels", "side"), [("conv4", 64, 21), ("resnet12", 512, 10)])
def test_positions_that_few_shot_networks_leave_to_attention(name: str, channels: int, side: int) -> None:
    backbone = backbones.build(name).eval()
    with torch.no_grad():
        assert backbone(images(84))["block4"].shape == (2, channels, side, side)


def test_sizes_of_few_shot_networks() -> None:
    def size(name: str) -> int:
        return sum(parameter.numel() for parameter in backbones.build(name).parameters())

    def block(a: int, b: int) -> int:  # weights of four convolutions and two numbers a channel of their norms
        return 9 * (a * b + 2 * b * b) + a * b + 8 * b

    assert size("conv4") == 112_832
    assert size("resnet12") == block(3, 64) + block(64, 128) + block(128, 256) + block(256, 512)


def test_conv4_by_hand() -> None:
    backbone, batch = backbones.build("conv4"), images(20)
    maps, features = backbone(batch), batch
    for index, pool in enumerate((True, True, False, False), start=1):
        weight = backbone.state_dict()[f"body.block{index}.0.weight"]
        features = functional.conv2d(features, weight, padding=1)
        mean, var = features.mean((0, 2, 3), keepdim=True), features.var((0, 2, 3), keepdim=True, correction=0)
        features = (features - mean) / (var + 1e-5).sqrt()
        features = torch.where(features > 0, features, 0.2 * features)
        features = functional.max_pool2d(features, 2) if pool else features
        torch.testing.assert_close(maps[f"block{index}"], features, rtol=1e-4, atol=1e-4)


def test_a_residual_block_by_hand() -> None:
    block, batch = block_networks.ResidualBlock(3, 5).double(), images(6).double()
    path, shortcut = block.path, block.shortcut

    def normed(convolution: nn.Module, features: torch.Tensor) -> torch.Tensor:
        features = convolution(features)
        mean, var = features.mean((0, 2, 3), keepdim=True), features.var((0, 2, 3), keepdim=True, correction=0)
        return (features - mean) / (var + 1e-5).sqrt()

    def leaky(features: torch.Tensor) -> torch.Tensor:
        return torch.maximum(features, 0.1 * features)

    inner = normed(path[6], leaky(normed(path[3], leaky(normed(path[0], batch)))))
    torch.testing.assert_close(block(batch), leaky(inner + normed(shortcut[0], batch)))


def test_convolutions_of_resnet12_start_by_the_fan_out() -> None:
    for module in backbones.build("resnet12").modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 5000:
            fan_out = module.out_channels * module.kernel_size[0] ** 2
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)


@pytest.mark.parametrize("name", ["squeezenet1_1", "resnet18"])
def test_weights_of_a_file_are_the_network_s(name: str, tmp_path: Path) -> None:
    network = drawn(name, tmp_path / "all.pt")
    backbone = backbones.build(name, str(tmp_path / "all.pt")).eval()
    batch = images()
    with torch.no_grad():
        got = backbone(batch)[backbone.taps[-1]]
        if name == "squeezenet1_1":
            expected = network.features(batch)
        else:
            early = network.maxpool(network.relu(network.bn1(network.conv1(batch))))
            expected = network.layer4(network.layer3(network.layer2(network.layer1(early))))
    assert torch.equal(got, expected)
    assert got.std() > 0


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v2"])
def test_a_file_of_the_convolutions_alone_is_enough(name: str, tmp_path: Path) -> None:
    network = drawn(name, tmp_path / "features.pt", prefix="features.")
    backbone = backbones.build(name, str(tmp_path / "features.pt")).eval()
    batch = images()
    with torch.no_grad():
        assert torch.equal(backbone(batch)[backbone.taps[-1]], network.features(batch))


def test_small_keeps_its_weights_in_a_file(tmp_path: Path) -> None:
    first = backbones.build("small").eval()
    torch.save(first.network.state_dict(), tmp_path / "small.pt")
    second, third = backbones.build("small", str(tmp_path / "small.pt")).eval(), backbones.build("small").eval()
    batch = images()
    with torch.no_grad():
        assert torch.equal(first(batch)["block4"], second(batch)["block4"])
        assert not torch.equal(first(batch)["block4"], third(batch)["block4"])


def test_the_weights_that_come_with_small_load_and_are_finite() -> None:
    backbone = backbones.build("small", "DRAWN_BIRDS_V1").eval()
    with torch.no_grad():
        maps = backbone(images(64, 8))
    for tap in backbone.taps:
        assert maps[tap].isfinite().all()
        assert maps[tap].std() > 0
    state = backbone.network.state_dict()
    assert all(value.dtype == torch.float32 for value in state.values() if value.is_floating_point())
    assert not torch.equal(state["block1.0.weight"], next(backbones.build("small").parameters()))


def refuse(name: str, weights: str | None) -> str:
    with pytest.raises(UserError) as caught:
        backbones.build(name, weights)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_unknown_names_are_told_the_nearest() -> None:
    assert "'resnet50'" in refuse("resnet5O", None)
    assert "'squeezenet1_1'" in refuse("squeezenet", None)
    assert "'IMAGENET1K_V1'" in refuse("resnet18", "IMAGENET_V1")
    assert "'DRAWN_BIRDS_V1'" in refuse("small", "DRAWN_BIRDS")
    assert "of conv4 'IMAGENET1K_V1'" in refuse("conv4", "IMAGENET1K_V1")


def test_weights_that_cannot_be_downloaded_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def fail(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", fail)
    monkeypatch.setattr(torch.hub, "urlopen", fail)
    message = refuse("squeezenet1_1", "IMAGENET1K_V1")
    assert "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth" in message
    assert "model.weights=FILE" in message


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    drawn("squeezenet1_1", tmp_path / "squeeze.pt")
    drawn("resnet50", tmp_path / "large.pt")
    torch.save(backbones.build("small").network.state_dict(), tmp_path / "small.pt")
    for name in ("small", "squeezenet1_1", "mobilenet_v2", "resnet18"):
        for file in ("squeeze.pt", "small.pt", "large.pt"):
            if (name, file) not in (("squeezenet1_1", "squeeze.pt"), ("small", "small.pt")):
                assert file in refuse(name, str(tmp_path / file))


def test_files_with_a_hole_or_something_more_are_refused(tmp_path: Path) -> None:
    whole = torchvision.models.squeezenet1_1(weights=None).state_dict()
    hole = {k: v for k, v in whole.items() if k != "features.12.expand3x3.bias"}
    for state, what in ((hole, "features.12.expand3x3.bias"), (whole | {"features.13.x": torch.ones(1)}, "13.x")):
        torch.save(state, tmp_path / "state.pt")
        assert what in refuse("squeezenet1_1", str(tmp_path / "state.pt"))
    torch.save({}, tmp_path / "state.pt")
    refuse("squeezenet1_1", str(tmp_path / "state.pt"))
    refuse("small", str(tmp_path / "state.pt"))


def test_files_that_are_no_state_dict_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save(nn.Linear(2, 2).state_dict(), buffer)
    contents = {
        "text.pt": b"hello",
        "empty.pt": b"",
        "half.pt": buffer.getvalue()[:200],
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")  # needs unpickling of code
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"features.0.weight": 3}, tmp_path / "number.pt")
    for file in sorted(tmp_path.iterdir()):
        for name in ("small", "squeezenet1_1"):
            assert file.name in refuse(name, str(file)), file.name
