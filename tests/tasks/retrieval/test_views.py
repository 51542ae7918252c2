"""Views of a batch: which are computed, that cached and pixel views agree, and what the cache is keyed by."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from raysearch.data.feed import ImageSet
from raysearch.models import backbones
from raysearch.models.srem import erase_mask
from raysearch.studies.configs import overrides
from raysearch.tasks.base import Feed, Worker
from raysearch.tasks.common import Loader
from raysearch.tasks.retrieval.sampling import Epoch, Step
from raysearch.tasks.retrieval.task import RetrievalTask
from raysearch.tasks.retrieval.views import CachedViews, ExtraViews, Outputs, PixelViews, Views

SIDE = 32
BASE: dict[str, Any] = {
    "data.side": SIDE,
    "data.augment": "none",
    "model.backbone": "small",
    "model.weights": "DRAWN_BIRDS_V1",
    "model.standardise": True,
    "model.frozen": True,
    "hash.bits": 8,
    "srem.regions": 5,
    "srem.size": 6,
    "train.iterations": 1,
    "train.epochs": 1,
}
ROWS = torch.tensor([3, 0, 7, 5])
POSITIVES = torch.tensor([2, 1, 6, 4])
AT = (3, 1)  # iteration and epoch


def forward(
    views: Views, extra: ExtraViews, rows: Tensor = ROWS, positives: Tensor = POSITIVES, at: tuple[int, int] = AT
) -> Outputs:
    """The outputs of an epoch of one step."""
    count = len(rows)
    epoch = Epoch(torch.arange(count), rows, positives, torch.zeros(count, 0), (Step(count, count),))
    with contextlib.closing(views.batches(epoch, extra, at)) as batches:
        return views.forward(next(batches))


def images(count: int, seed: int, side: int) -> ImageSet:
    """Coarse blobs, four images a class."""
    coarse = np.random.default_rng(seed).integers(0, 255, (count, 4, 4, 3)).astype(np.uint8)
    return ImageSet(coarse.repeat(side // 4, 1).repeat(side // 4, 2), np.arange(count) // 4)


def make(
    cache: Path, changes: dict[str, Any] | None = None, seed: int = 0, content_hash: str = "data"
) -> RetrievalTask:
    torch.set_num_threads(1)
    config = overrides.resolve("retrieval", {**BASE, **(changes or {})})
    train = images(8, 0, config.data.side)
    test = images(4, 1, config.data.side)
    return RetrievalTask(config, seed, Worker(Feed(train, test, content_hash), cache))


def of(task: RetrievalTask, cache: Path) -> tuple[CachedViews, PixelViews]:
    loader = Loader(torch.device("cpu"))
    cached = CachedViews(task.network, task.train, task.config, task.worker, loader, {"own": str(cache)})
    return cached, PixelViews(task.network, task.train, task.config, task.seed, task.worker, loader)


@pytest.mark.parametrize(
    "extra", [ExtraViews(*pair) for pair in ((False, False), (True, False), (False, True), (True, True))]
)
def test_cached_views_are_the_pixel_views_of_a_network_at_rest(
    extra: ExtraViews, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make(tmp_path)
    cached, pixel = of(task, tmp_path)
    monkeypatch.setattr(PixelViews, "start_epoch", lambda self: self.network.eval())
    outputs: list[Outputs] = []
    for way in (cached, pixel):
        way.start_epoch()
        with torch.no_grad():
            outputs.append(forward(way, extra))
    for name, ours, theirs in list(zip(Outputs._fields, *outputs, strict=True))[:4]:
        if ours is None:
            assert theirs is None, name
        else:
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert (outputs[0].positive is not None) == extra.positive
    assert (outputs[0].erased is not None) == extra.erased
    assert (outputs[0].erased_fraction > 0) == extra.erased
    if extra.erased:
        assert outputs[0].erased is not None
        assert not torch.allclose(outputs[0].erased, outputs[0].anchor, atol=1e-3)


def test_erased_pixels_are_the_mean_colour_and_only_the_backbone_s_own_map_decides(tmp_path: Path) -> None:
    task = make(tmp_path)
    _, pixel = of(task, tmp_path)
    given: list[Tensor] = []
    task.network.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    pixel.start_epoch()
    forward(pixel, ExtraViews(True, True))
    anchors, others = given
    with torch.no_grad():
        maps = task.network.backbone(anchors)[task.network.backbone.taps[-1]]
    mask = erase_mask(maps, (SIDE, SIDE), 5, 6)
    assert torch.equal(others[:4], task.train.batch(POSITIVES, torch.device("cpu")))
    assert torch.equal(others[4:], anchors * mask)
    assert 0 < (1 - mask).mean() < 0.5


def test_also_hashed_names_the_views_besides_the_anchor() -> None:
    anchor, positive, erased, none = (torch.zeros(1) for _ in range(4))
    full = Outputs(anchor, positive, erased, none)
    assert list(full.also_hashed("anchor")) == []
    assert [id(u) for u in full.also_hashed("erased")] == [id(erased)]
    assert {id(u) for u in full.also_hashed("all")} == {id(erased), id(positive)}
    assert list(Outputs(anchor, None, None, none).also_hashed("all")) == []


def files(cache: Path) -> set[str]:
    return {path.name for path in cache.glob("*.npy")}


def test_tasks_with_the_same_backbone_share_features_that_are_computed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[str] = []
    original = CachedViews._compute

    def listen(self: CachedViews, name: str) -> Tensor:
        computed.append(name)
        return original(self, name)

    monkeypatch.setattr(CachedViews, "_compute", listen)
    first = make(tmp_path)
    first.advance()
    assert sorted(computed) == ["anchor", "erased"]
    # none of these touches backbone or images
    others = {"hash.bits": 12, "esrl.positive": 0.5, "train.lr": 1.0, "adsh.gamma": 1.0, "data.augment": "crop"}
    for path, value in others.items():
        make(tmp_path, {path: value}, seed=3).advance()
    warm = make(tmp_path, {"model.frozen": False, "warmup.iterations": 1})
    assert len(computed) == 2
    warm.advance()
    assert len(computed) == 2
    assert len(files(tmp_path)) == 2


def test_the_key_holds_all_that_decides_features(tmp_path: Path) -> None:
    def after(changes: dict[str, Any], **more: Any) -> int:
        """How many tables a run adds."""
        before = files(tmp_path)
        make(tmp_path, changes, **more).advance()
        return len(files(tmp_path) - before)

    other_weights = tmp_path / "weights.pt"
    torch.save(backbones.build("small").network.state_dict(), other_weights)
    assert after({}) == 2  # anchors and their erased views
    assert after({}, seed=5) == 0
    assert after({}, content_hash="other") == 2
    random: dict[str, Any] = {"model.weights": None}
    changes: list[dict[str, Any]] = [
        {"data.side": 16},
        {"data.validation": 0.3},
        random,
        {**random, "model.backbone": "squeezenet1_1"},
        {"model.weights": str(other_weights)},
    ]
    for change in changes:
        assert after(change) == 2, change
    assert after(random, seed=5) == 2  # a random backbone follows from the seed
    erasing: list[dict[str, Any]] = [{"srem.regions": 6}, {"srem.size": 7}, {"srem.grid": 8}, {"srem.center": True}]
    for change in erasing:
        assert after(change) == 1, change  # erased features alone
    assert after({"srem.regions": 0}) == 0


def test_a_separate_pass_for_the_mask_sends_all_views_through_at_once(tmp_path: Path) -> None:
    task = make(tmp_path, {"srem.mask_pass": "separate"})
    _, pixel = of(task, tmp_path)
    given: list[tuple[bool, Tensor]] = []
    task.network.register_forward_pre_hook(lambda network, inputs: given.append((network.training, inputs[0])))
    pixel.start_epoch()
    statistics = [buffer.clone() for buffer in task.network.buffers()]
    seen = forward(pixel, ExtraViews(True, True))
    (looked, anchors), (trained, together) = given
    assert (looked, trained, task.network.training) == (False, True, True)
    assert len(together) == 3 * len(ROWS)
    torch.testing.assert_close(together[: len(ROWS)], anchors)
    with torch.no_grad():
        task.network.eval()
        for buffer, before in zip(task.network.buffers(), statistics, strict=True):
            buffer.copy_(before)  # the forward of all views moved them once
        features = task.network(anchors).features
    mask = erase_mask(features, (SIDE, SIDE), 5, 6)
    torch.testing.assert_close(together[2 * len(ROWS) :], anchors * mask)
    assert seen.anchor.requires_grad
    assert seen.erased is not None
    assert seen.erased.requires_grad


@pytest.mark.parametrize("how", ["flip", "crop"])
def test_a_view_follows_from_seed_place_row_and_role_alone(how: str, tmp_path: Path) -> None:
    """All images are alike here, so what differs between views is drawn."""
    task = make(tmp_path, {"data.augment": how, "srem.regions": 0})
    same = ImageSet(np.repeat(task.train.images[:1], 40, axis=0), np.zeros(40, dtype=np.int64))
    task.network.eval()
    rows = torch.arange(40)
    positives = (torch.arange(40) // 2 + 7) % 40  # each is the positive of two anchors

    def views(seed: int = 0, at: tuple[int, int] = AT, part: Tensor = rows) -> tuple[Tensor, Tensor]:
        pixel = PixelViews(task.network, same, task.config, seed, task.worker, Loader(torch.device("cpu")))
        given: list[Tensor] = []
        handle = task.network.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
        forward(pixel, ExtraViews(positive=True, erased=False), part, positives[part], at)
        handle.remove()
        return given[0], given[1]

    def differ(first: Tensor, second: Tensor) -> bool:
        """Whether about as many differ as draws that know nothing of each other."""
        others = (first != second).flatten(1).any(1).float().mean()
        return bool(0.25 < others < 0.75 if how == "flip" else others > 0.9)

    anchors, others = views()
    for part in (torch.tensor([11]), torch.randperm(40), torch.tensor([39, 4, 17, 0])):
        assert torch.equal(views(part=part)[0], anchors[part])
        assert torch.equal(views(part=part)[1], others[part])
    assert differ(anchors, others)
    assert differ(anchors[positives], others)  # of one row
    assert differ(others[0::2], others[1::2])  # of one row, for two anchors
    for change in ({"seed": 1}, {"at": (4, 1)}, {"at": (3, 2)}):
        assert differ(views(**change)[0], anchors)
        assert differ(views(**change)[1], others)
