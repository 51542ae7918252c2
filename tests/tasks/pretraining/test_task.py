"""Pre-training of a backbone: it learns, resumes from its state, and hands its backbone on once it has ended."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, dropout

from raysearch.data.feed import ImageSet, augment, draw_views
from raysearch.models.backbones import Backbone
from raysearch.studies.configs import PretrainRunConfig, overrides
from raysearch.tasks import metric_definitions
from raysearch.tasks.base import Feed, NonFiniteLoss, Task, Worker
from raysearch.tasks.common import generator
from raysearch.tasks.pretraining.task import PretrainTask
from raysearch.tasks.registry import with_pretrained_backbone

from ...registries import replace_backbone
from ..fewshot import fewshot_runs
from ..fewshot.fewshot_runs import METHODS, config, feed, finish, image_set

pytestmark = [pytest.mark.usefixtures("tiny_taps", "few"), pytest.mark.filterwarnings("ignore:.*classes have fewer")]

BASE: dict[str, Any] = {
    "data.side": 16,
    "data.zoom": 1.0,
    "model.backbone": "small",
    "train.epochs": 3,
    "train.batch": 7,
    "train.lr": 0.05,
    "train.milestones": [0.5],
}


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer episodes to judge by."""
    monkeypatch.setattr(metric_definitions, "VALIDATION_EPISODES", (5, 1, 15, 7))


def make(change: dict[str, Any] | None = None, images: Feed | None = None, seed: int = 0) -> PretrainTask:
    resolved = overrides.resolve("pretrain", {**BASE, **(change or {})})
    assert isinstance(resolved, PretrainRunConfig)
    return PretrainTask(resolved, seed, Worker(images or feed(), Path()))


class Dropping(fewshot_runs.TinyNetwork):
    """Draws without a layer that a search for layers finds."""

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: dropout(tap, 0.3, self.training) for name, tap in super().forward(images).items()}


@pytest.mark.usefixtures("double")
def test_pre_training_equals_its_second_writing() -> None:
    task = make({"train.weight_decay": 0.02}, seed=4)
    network, images = make(seed=4).classifier, task.images
    values = dict(network.named_parameters())
    memory: dict[str, torch.Tensor] = {}
    names = torch.tensor([sorted(set(images.labels.tolist())).index(label) for label in images.labels])
    for epoch in range(3):
        report = task.advance()
        assert report["lr"] == pytest.approx(0.05 if epoch < 2 else 0.005)  # from 1.5 epochs on
        order = torch.randperm(18, generator=generator(4, epoch))
        views = draw_views("crop", order, (16, 16), (4, epoch))
        loss_sum, right = 0.0, 0
        network.train()
        for rows, drawn in ((order[:7], views[:7]), (order[7:14], views[7:14]), (order[14:], views[14:])):
            maps = network.backbone(augment(images.take(rows, torch.device("cpu")), drawn))["two"]
            logits = maps.mean((2, 3)) @ values["linear.weight"].T + values["linear.bias"]
            loss = cross_entropy(logits, names[rows])
            gradients = torch.autograd.grad(loss, list(values.values()))
            with torch.no_grad():
                for (name, value), gradient in zip(values.items(), gradients, strict=True):
                    slope = gradient + 0.02 * value
                    memory[name] = 0.9 * memory[name] + slope if name in memory else slope
                    value -= report["lr"] * memory[name]
            loss_sum += loss.item() * len(rows)
            right += int((logits.argmax(1) == names[rows]).sum())
        assert report["loss"] == pytest.approx(loss_sum / 18, rel=1e-10)
        assert report["accuracy_train"] == pytest.approx(right / 18)
    for name, value in task.classifier.state_dict().items():
        torch.testing.assert_close(value, network.state_dict()[name], rtol=1e-9, atol=1e-11)


def test_it_learns_to_name_classes_of_different_colours() -> None:
    easy = Feed(image_set([12, 12, 12], spread=90), feed().test, "hash", feed().val)
    task = make({"train.epochs": 24, "train.milestones": []}, easy)
    reports = [task.advance() for _ in range(task.steps)]
    rights = [report["accuracy_train"] for report in reports]
    assert sum(rights[:4]) / 4 < 0.75
    assert sum(rights[-4:]) / 4 > 0.9


@pytest.mark.parametrize("network", [fewshot_runs.TinyNetwork, Dropping])
def test_a_run_goes_on_from_its_state_bit_for_bit(network: type, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_backbone(monkeypatch, "small", lambda name, weights: Backbone(network(), ("one", "two"), (4, 6)))
    whole = make()
    expected = finish(whole)
    for stop in range(4):
        task = make()
        for _ in range(stop):
            task.advance()
        file = io.BytesIO()
        torch.save(task.state_dict(), file)
        file.seek(0)
        resumed = make()
        resumed.load_state_dict(torch.load(file, weights_only=True))
        assert finish(resumed) == expected[stop:]
        for name, value in whole.classifier.state_dict().items():
            assert torch.equal(value, resumed.classifier.state_dict()[name])


def test_the_trunk_is_handed_on_at_the_end_alone() -> None:
    task = make()
    for _ in range(3):
        assert task.state_dict()["trunk"] is None
        task.advance()
    backbone = task.state_dict()["trunk"]
    for name, value in task.classifier.backbone.state_dict().items():
        assert torch.equal(backbone[name], value)
    fewshot_runs.tiny_backbone().load_state_dict(backbone)  # and nothing of the classifier's


def test_the_test_images_are_never_looked_at() -> None:
    whole = feed()
    finish(make(images=Feed(whole.train, None, "hash", whole.val)))  # type: ignore[arg-type]


def test_conv4_is_classified_by_its_whole_map() -> None:
    assert make().classifier.linear.in_features == 6
    assert make({"model.backbone": "conv4"}).classifier.linear.in_features == 64 * 4 * 4


def test_a_loss_that_is_not_finite_names_the_epoch_and_the_setting() -> None:
    task = make({"train.lr": 1e30})
    with pytest.raises(NonFiniteLoss, match=r"in epoch \d; a lower pretrain\.lr may help"):
        finish(task)


# ---------------------------------------------------------------------------------------------- without a cluster


class Train:
    """Advances tasks to their end and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, task: Task) -> None:
        assert isinstance(task, PretrainTask)
        self.count += 1
        for _ in range(task.steps):
            task.advance()


def test_a_backbone_is_trained_once_and_kept(tmp_path: Path) -> None:
    train, worker, change = Train(), Worker(feed(), Path()), {"pretrain.epochs": 2, "pretrain.batch": 7}
    run = config(METHODS["relation"], change)
    started = with_pretrained_backbone(run, 0, worker, tmp_path / "backbones", train)
    alone = make({"train.epochs": 2, "train.lr": 0.01, "train.milestones": [0.85]})
    finish(alone)
    assert started.start is not None
    for name, value in alone.classifier.backbone.state_dict().items():
        assert torch.equal(started.start[name], value)
    assert started.feed is worker.feed

    for case in METHODS.values():
        again = with_pretrained_backbone(
            config(case, change, {"train.lr": 1.0}), 0, worker, tmp_path / "backbones", train
        )
        assert again.start is not None
        assert all(torch.equal(again.start[name], value) for name, value in started.start.items())
    assert train.count == 1
    assert len(list((tmp_path / "backbones").iterdir())) == 1

    with_pretrained_backbone(run, 1, worker, tmp_path / "backbones", train)
    with_pretrained_backbone(
        config(METHODS["relation"], change, {"pretrain.lr": 0.5}), 0, worker, tmp_path / "backbones", train
    )
    other = Worker(Feed(feed().train, feed().test, "other data", feed().val), Path())
    with_pretrained_backbone(run, 0, other, tmp_path / "backbones", train)
    assert train.count == len(list((tmp_path / "backbones").iterdir())) == 4


def test_without_a_pre_training_the_worker_stays_as_it_is(tmp_path: Path) -> None:
    worker = Worker(feed(), Path())
    assert with_pretrained_backbone(config(METHODS["relation"]), 0, worker, tmp_path / "backbones", Train()) is worker
    assert not (tmp_path / "backbones").exists()


def test_a_pre_training_that_fails_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = config(METHODS["relation"], {"pretrain.epochs": 1})

    def full(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="no space left"):
        with_pretrained_backbone(run, 0, Worker(feed(), Path()), tmp_path, Train())
    assert list(tmp_path.iterdir()) == []


def test_it_is_judged_by_nearest_centroids_on_the_validation_classes() -> None:
    task = make()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3)).astype(np.uint8)
    labels = np.repeat(np.arange(2), 20)
    pixels[labels == 1] //= 4
    far = make(images=Feed(task.images, None, "hash", ImageSet(pixels, labels)))  # type: ignore[arg-type]
    outcome = far.evaluate()
    assert outcome["accuracy_validation"] > 0.9, "dark and bright images need no training"
    assert set(outcome) == set(far.metric_ids)
