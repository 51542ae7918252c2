"""Backbones from elsewhere: a user's file, timm and torchvision."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

from raysearch.core import UserError, user_code
from raysearch.data.feed import ImageSet
from raysearch.engine.preflight import study_check
from raysearch.models import backbones
from raysearch.studies.configs import overrides
from raysearch.studies.design import cell_hash
from raysearch.tasks import builders
from raysearch.tasks.base import Feed, Worker

from ..tasks.fewshot import fewshot_runs
from ..tasks.retrieval import small_runs

SOURCE = '''
import torch
import torchvision
from torch import nn


class Maps(nn.Module):
    """The last map of torchvision's ResNet-18."""

    def __init__(self):
        super().__init__()
        self.body = torchvision.models.resnet18()

    def forward(self, images):
        body = self.body
        images = body.maxpool(body.relu(body.bn1(body.conv1(images))))
        return body.layer4(body.layer3(body.layer2(body.layer1(images))))


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, 2)
        self.second = nn.Conv2d(4, 6, 3, 2)

    def forward(self, images):
        first = self.first(images)
        return {"first": first, "second": self.second(first)}


def vector():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(3))


def fails():
    return nn.Conv2d(3, 4, 3).nothing


def no_module():
    return 3
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    Path("my_net.py").write_text(SOURCE)
    yield tmp_path
    user_code.unregister_all()
    backbones.BACKBONES.forget_codes()


def _retrieve(settings: dict[str, Any]) -> tuple[list[float], dict[str, Any]]:
    base = {"train.iterations": 2, "srem.regions": 2, "srem.size": 4, "model.weights": None}
    config = small_runs.config(overrides.register_codes({**base, **settings}, "retrieval"))
    config = config.model_copy(update={"data": config.data.model_copy(update={"side": 32})})
    feed = Feed(_enlarged(small_runs.image_set([7, 5, 8])), _enlarged(small_runs.image_set([2, 2, 2], seed=1)), "hash")
    task = builders.builder_for_workers("retrieval")(config.model_dump(mode="json"), 0, Worker(feed, Path("cache")))
    losses = [task.advance()["loss"] for _ in range(task.steps)]
    return losses, task.evaluate()


def _enlarged(images: ImageSet) -> ImageSet:
    """Return the images at 32 px."""
    rows = np.arange(32) * images.side // 32
    return ImageSet(images.images[:, rows][:, :, rows], images.labels)


def test_a_users_resnet_gives_the_numbers_of_the_built_in_one(folder):
    assert _retrieve({"model.backbone": "my_net.py:Maps"}) == _retrieve({"model.backbone": "resnet18"})


def test_the_source_names_the_cells(folder):
    def _hash():
        learned = overrides.register_codes({"model.backbone": "my_net.py:Two"}, "retrieval")
        return cell_hash(overrides.resolve("retrieval", learned), "data", 0)

    before = _hash()
    Path("my_net.py").write_text(SOURCE + "# a comment\n")
    assert _hash() == before
    Path("my_net.py").write_text(SOURCE.replace("nn.Conv2d(3, 4, 3, 2)", "nn.Conv2d(3, 4, 5, 2)"))
    assert _hash() != before


def test_named_maps_are_taps(folder):
    learned = overrides.register_codes({"model.backbone": "my_net.py:Two"}, "retrieval")
    backbone = backbones.build(learned["model.backbone"])
    assert backbone.taps == ("first", "second")
    assert backbone.widths == (4, 6)
    assert backbone(torch.zeros(1, 3, 32, 32))["second"].shape == (1, 6, 7, 7)


def test_weights_come_from_a_file_of_the_users_network(folder):
    learned = overrides.register_codes({"model.backbone": "my_net.py:Two"}, "retrieval")
    torch.manual_seed(3)
    state = backbones.build(learned["model.backbone"]).network.network.state_dict()
    torch.save(state, "two.pt")
    again = backbones.build(learned["model.backbone"], "two.pt").network.network.state_dict()
    assert all(torch.equal(again[name], state[name]) for name in state)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vector", r"returned \(2, 3\) as 'map', not a map \(B, C, h, w\)"),
        ("fails", r"AttributeError: .*nothing.*\(my_net\.py, line \d+, in fails\)"),
        ("no_module", "returned an int, not a torch.nn.Module"),
    ],
)
def test_a_network_without_maps_is_refused_before_anything_runs(folder, name, message):
    with pytest.raises(UserError, match=message):
        overrides.parse([f"model.backbone=my_net.py:{name}"], "retrieval")


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "resnet10t"])
def test_networks_of_timm_train_retrieval_and_few_shot(folder, name):
    pytest.importorskip("timm", reason="timm is not installed")
    losses, metrics = _retrieve({"model.backbone": f"timm:{name}", "train.iterations": 1})
    assert all(map(torch.isfinite, map(torch.tensor, losses)))
    assert 0 <= metrics["map"] <= 1
    task = fewshot_runs.make({"model.method": "centroid", "model.backbone": f"timm:{name}", "train.epochs": 1})
    assert 0 <= fewshot_runs.finish(task)[-1]["accuracy"] <= 1


def test_a_network_of_timm_gets_its_own_normalization(folder):
    timm = pytest.importorskip("timm", reason="timm is not installed")
    torch.manual_seed(0)
    backbone = backbones.build("timm:vit_tiny_patch16_224").eval()
    torch.manual_seed(0)
    plain = timm.create_model("vit_tiny_patch16_224", features_only=True, dynamic_img_size=True).eval()
    pixels = torch.rand(2, 3, 64, 64)
    mean, std = (torch.tensor(row).view(1, 3, 1, 1) for row in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        ours = backbone((pixels - mean) / std)["blocks_11"]
        theirs = plain((pixels - 0.5) / 0.5)[-1]
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_networks_of_torchvision_have_maps_of_each_size(folder):
    backbone = backbones.build("torchvision:resnet18").eval()
    plain = torchvision.models.resnet18()
    plain.load_state_dict(backbone.network.network.state_dict(), strict=False)
    images = torch.randn(1, 3, 64, 64)
    expected = plain.eval()
    with torch.no_grad():
        maps = backbone(images)
        layer1 = expected.layer1(expected.maxpool(expected.relu(expected.bn1(expected.conv1(images)))))
    assert torch.equal(maps["layer1"], layer1)
    assert [tuple(level.shape[2:]) for level in maps.values()] == [(32, 32), (16, 16), (8, 8), (4, 4), (2, 2)]


def test_a_side_that_patches_do_not_divide_is_found_before_anything_runs(folder):
    pytest.importorskip("timm", reason="timm is not installed")
    config = overrides.resolve("retrieval", {"model.backbone": "timm:vit_tiny_patch16_224", "data.side": 60})
    mistakes = study_check.config_mistakes(config, None)
    assert mistakes == ["data.side=60 is no multiple of 16, as model.backbone=timm:vit_tiny_patch16_224 needs; use 64"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:resnet1999", "timm has no network 'resnet1999'"),
        ("torchvision:resnet19", "did you mean 'resnet18'"),
        ("tim:resnet10t", "no module 'tim' here"),
    ],
)
def test_an_unknown_network_is_an_error_of_one_line(folder, name, message):
    if name.startswith("timm:"):
        pytest.importorskip("timm", reason="timm is not installed")
    with pytest.raises(UserError, match=message):
        overrides.resolve("retrieval", overrides.parse([f"model.backbone={name}"], "retrieval"))
