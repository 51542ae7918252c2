"""An exported few-shot model gives the logits of the task that it came from."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from raysearch.core import UserError
from raysearch.data.episodes import Episodes
from raysearch.data.feed import ImageSet
from raysearch.inference import classifier
from raysearch.inference import export as inference_export
from raysearch.inference.classifier import FewShotClassifier
from raysearch.inference.hasher import Hasher
from raysearch.models.backbones import Backbone
from raysearch.models.fewshot import Layout
from raysearch.studies.configs import TASKS, overrides
from raysearch.tasks.base import Feed, Worker
from raysearch.tasks.fewshot import evaluation
from raysearch.tasks.fewshot.task import FewshotTask

from ..registries import backbone_builder, replace_backbone
from ..tasks.retrieval.small_runs import TwoTaps, image_set
from .conftest import empty_manifest

SIDE = 16
WAYS, SHOTS, QUERIES, EPISODES = 3, 2, 3, 4
NAMES = tuple(f"kind {label}" for label in range(11))
MANIFEST = empty_manifest(NAMES, SIDE)
BASE: dict[str, Any] = {
    "data.side": SIDE,
    "data.zoom": 1.0,
    "data.augment": "none",
    "model.backbone": "small",
    "episodes.ways": WAYS,
    "episodes.shots": SHOTS,
    "episodes.queries": QUERIES,
    "episodes.test": EPISODES,
    "episodes.validation": 3,
    "helix.dim_head": 4,
    "lwfm.aux_batch": 4,
    "train.epochs": 2,
    "train.episodes": 4,
    "train.batch": 2,
    "train.lr": 0.01,
}
METHODS: dict[str, dict[str, Any]] = {
    "centroid": {"model.method": "centroid"},
    "cosine centroid": {"model.method": "centroid", "centroid.distance": "cosine", "model.weights": "DRAWN_BIRDS_V1"},
    "relation": {"model.method": "relation"},
    "helixformer": {"model.method": "helixformer", "train.select": "last"},
    "lwfm": {"model.method": "lwfm"},
    "lwfm, as the text reads": {"model.method": "lwfm", "spm.reduce": "mean", "spm.layers": "mean", "lwfm.aux": False},
    "helix_lwfm": {"model.method": "helix_lwfm"},
}


@pytest.fixture(autouse=True)
def two_taps(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_backbone(monkeypatch, "small", lambda name, weights: Backbone(TwoTaps(), ("block1", "block2"), (6, 12)))
    torch.set_num_threads(1)


def feed() -> Feed:
    """Labels 0, 2, 3 and 4 train, 5 to 7 validate, 8 to 10 test."""
    whole = image_set([7] * 10, side=SIDE)
    train, val, test = (
        ImageSet(whole.images[rows], whole.labels[rows])
        for rows in (whole.labels < 5, (whole.labels > 4) & (whole.labels < 8), whole.labels > 7)
    )
    return Feed(train, test, "hash of the data", val, "mod4-01234567")


def trained(tmp_path: Path, settings: dict[str, Any]) -> FewshotTask:
    task = FewshotTask(overrides.resolve("fewshot", {**BASE, **settings}), 5, Worker(feed(), tmp_path))
    for _ in range(task.steps):
        task.advance()
    return task


def export(task: FewshotTask, path: Path) -> Path:
    inference_export.save(path, task, MANIFEST, task.evaluate())
    return path


def loaded(tmp_path: Path, method: str) -> FewShotClassifier:
    return FewShotClassifier.load(export(trained(tmp_path, METHODS[method]), tmp_path / "model.pt"), device="cpu")


def judged(task: FewshotTask) -> FewshotTask:
    """The task with the network that its test judges."""
    task.network.load_state_dict((task.state_dict()["best"] or task.state_dict())["network"])
    task.network.eval()
    return task


def episodes_of(task: FewshotTask) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows of the supports (W, K) and queries (W Q) of the episodes that it is judged by."""
    drawn = Episodes(task.worker.feed.test.labels, WAYS, SHOTS, QUERIES, task.config.episodes.seed)
    return [(support, query.flatten()) for support, query in map(drawn.draw, range(EPISODES))]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.usefixtures("double")
def test_predictions_are_the_tasks_own(method: str, tmp_path: Path) -> None:
    task = trained(tmp_path, METHODS[method])
    model = FewShotClassifier.load(export(task, tmp_path / "model.pt"), device="cpu")
    images, right = task.worker.feed.test, []
    for support, query in episodes_of(judged(task)):
        model.learn({f"way {way}": images.images[rows] for way, rows in enumerate(support)})
        batch = images.batch(torch.from_numpy(np.concatenate([support.flatten(), query])), torch.device("cpu"))
        with torch.no_grad():
            wanted = task.network(batch, Layout(1, WAYS, SHOTS, len(query))).logits[0]
        assert wanted.std(1).min() > 1e-6
        torch.testing.assert_close(model.logits(images.images[query]), wanted, rtol=1e-9, atol=1e-9)
        named = model.predict(images.images[query])
        assert [one.label for one in named] == [f"way {way}" for way in wanted.argmax(1).tolist()]
        right.append(sum(one.label == f"way {at // QUERIES}" for at, one in enumerate(named)))
    assert right == json.loads(task.evaluate()["right_by_episode"])


def test_in_single_precision_they_differ_in_the_last_digits_at_most(tmp_path: Path) -> None:
    task = trained(tmp_path, METHODS["helixformer"])
    model = FewShotClassifier.load(export(task, tmp_path / "model.pt"), device="cpu")
    images, (support, query) = task.worker.feed.test, episodes_of(judged(task))[0]
    model.learn({str(way): images.images[rows] for way, rows in enumerate(support)})
    batch = images.batch(torch.from_numpy(np.concatenate([support.flatten(), query])), torch.device("cpu"))
    with torch.no_grad():
        wanted = task.network(batch, Layout(1, WAYS, SHOTS, len(query))).logits[0]
    assert wanted.dtype == model.logits(images.images[query]).dtype == torch.float32
    torch.testing.assert_close(model.logits(images.images[query]), wanted)


def test_of_a_run_that_selects_it_is_the_best_epoch(tmp_path: Path) -> None:
    task = trained(tmp_path, METHODS["relation"])
    state = task.state_dict()
    state["best"] = {"value": 1.0, "network": {name: one.clone() + 1 for name, one in state["network"].items()}}
    task.load_state_dict(state)
    export(task, tmp_path / "model.pt")
    written = torch.load(tmp_path / "model.pt", weights_only=True)["network"]
    assert all(torch.equal(one, state["best"]["network"][name]) for name, one in written.items())
    assert set(written) == set(state["network"])


def test_the_file_says_what_it_came_from_and_nothing_needs_unpickling(tmp_path: Path) -> None:
    task = trained(tmp_path, METHODS["lwfm"])
    content = torch.load(export(task, tmp_path / "model.pt"), weights_only=True)
    assert content["format"] == 1
    assert content["data"] == {"name": "colours", "content_hash": "hash of the data", "classes": list(NAMES)}
    assert content["base"] == ["kind 0", "kind 2", "kind 3", "kind 4"]
    assert content["split"] == "mod4-01234567"
    model = FewShotClassifier.load(tmp_path / "model.pt", device="cpu")
    assert (model.seed, model.config, model.base, model.split) == (5, task.config, content["base"], content["split"])
    assert model.preprocessing.plain() == content["preprocessing"]
    assert (model.preprocessing.side, model.preprocessing.zoom) == (SIDE, 1.0)
    figures = task.evaluate()
    assert model.metrics == {name: figures[name] for name in ("accuracy", "accuracy_ci", "accuracy_validation")}


def test_the_same_run_gives_the_same_file_and_loading_leaves_random_numbers_alone(tmp_path: Path) -> None:
    for name in ("one.pt", "another.pt"):
        export(trained(tmp_path, METHODS["lwfm"]), tmp_path / name)
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "another.pt").read_bytes()
    before = torch.get_rng_state()
    FewShotClassifier.load(tmp_path / "one.pt")
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_that_a_run_started_from_are_not_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []
    original = backbone_builder("small")
    path = export(trained(tmp_path, METHODS["cosine centroid"]), tmp_path / "model.pt")
    replace_backbone(monkeypatch, "small", lambda name, weights: (asked.append(weights), original(name, weights))[1])
    FewShotClassifier.load(path)
    assert asked == [None]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.usefixtures("double")
def test_a_class_may_have_more_examples_than_another(method: str, tmp_path: Path) -> None:
    """As an episode in which each example stands as often as makes the classes even."""
    task = trained(tmp_path, METHODS[method])
    model = FewShotClassifier.load(export(task, tmp_path / "model.pt"), device="cpu")
    test = task.worker.feed.test
    few = {"c": test.images[:1], "a": test.images[7:10], "b": test.images[14:15]}
    model.learn(few)
    assert list(model.shots.items()) == [("c", 1), ("a", 3), ("b", 1)]
    rows = torch.tensor([0, 0, 0, 7, 8, 9, 14, 14, 14, 3, 4, 12, 20])
    with torch.no_grad():
        batch = test.batch(rows, torch.device("cpu"))
        wanted = judged(task).network(batch, Layout(1, 3, 3, 4)).logits[0]
    torch.testing.assert_close(model.logits(test.images[rows[9:]]), wanted, rtol=1e-9, atol=1e-9)


def test_queries_in_batches_have_the_same_logits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = loaded(tmp_path, "lwfm"), feed().test.images
    model.learn({"a": images[:5], "b": images[7:9]})
    wanted = model.logits(images)
    sizes: list[int] = []
    original = model._network.maps
    monkeypatch.setattr(model._network, "maps", lambda batch: (sizes.append(len(batch)), original(batch))[1])
    monkeypatch.setattr(evaluation, "BATCH", 2)
    model.learn({"a": images[:5], "b": images[7:9]})
    assert sizes == [2, 2, 1, 2]
    torch.testing.assert_close(model.logits(images), wanted)
    assert max(sizes) == 2
    assert model.predict(images[:0]) == []


def test_a_prediction_names_the_classes_by_their_scores(tmp_path: Path) -> None:
    model, images = loaded(tmp_path, "centroid"), feed().test.images
    model.learn({"z": images[:2], "a": images[7:9], "twin": images[:2]})
    logits = model.logits(images[:4])
    for one, row in zip(model.predict(images[:4]), logits.tolist(), strict=True):
        by_hand = np.exp(np.array(row) - max(row)) / np.exp(np.array(row) - max(row)).sum()
        order = sorted(range(3), key=lambda at: -row[at])
        assert list(one.scores) == list(one.logits) == [("z", "a", "twin")[at] for at in order]
        assert (one.label, one.score) == next(iter(one.scores.items()))
        np.testing.assert_allclose(list(one.scores.values()), by_hand[order], rtol=1e-5)
        assert list(one.logits.values()) == [row[at] for at in order]
        assert list(one.scores).index("z") < list(one.scores).index("twin")  # equals in the order given


def test_paths_pillow_images_and_folders_are_seen_as_training_sees_them(tmp_path: Path) -> None:
    model = loaded(tmp_path, "centroid")
    support, photos = tmp_path / "support", []
    noise = np.random.default_rng(0).integers(0, 256, (6, 40, 30, 3)).astype(np.uint8)
    for number, pixels in enumerate(noise):
        path = support / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        photos.append(path)
    arrays = np.stack([model.preprocessing.pixels(path) for path in photos])
    model.learn({"a": arrays[::2], "b": torch.from_numpy(arrays[1::2])})
    wanted = model.logits(arrays)
    assert torch.equal(model.logits(photos), wanted)
    assert torch.equal(model.logits([Image.open(photos[0]), *map(str, photos[1:])]), wanted)
    model.learn({"a": photos[::2], "b": [Image.open(path) for path in photos[1::2]]})
    assert torch.equal(model.logits(arrays), wanted)
    model.learn({"c": arrays[:1], "d": arrays[1:]})
    model.learn_folder(support)
    assert model.shots == {"a": 3, "b": 3}
    assert torch.equal(model.logits(arrays), wanted)


def test_wrong_supports_and_questions_leave_what_was_known(tmp_path: Path) -> None:
    model, images = loaded(tmp_path, "centroid"), feed().test.images
    with pytest.raises(UserError, match="no class has been learned"):
        model.predict(images)
    known = {"a": images[:1], "b": images[7:8]}
    model.learn(known)
    (tmp_path / "text.jpg").write_text("text")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({}, "got none"),
        ({"c": images[:1]}, "got only 'c'"),
        ({"c": images[:1], "d": images[:0]}, "class 'd' has no example image"),
        ({"c": images[:1], "d": []}, "class 'd' has no example image"),
        ({"c": images[:1], "d": [tmp_path / "text.jpg"]}, "text.jpg cannot be read as an image"),
        ({"c": images[:1], "d": [tmp_path / "nothing.jpg"]}, "no image"),
        ({"c": images[:1], "d": images[:1, :8]}, rf"\(n, {SIDE}, {SIDE}, 3\) uint8"),
    ]
    for supports, said in wrong:
        with pytest.raises(ValueError, match=said):
            model.learn(supports)
        assert model.shots == {"a": 1, "b": 1}
    with pytest.raises(ValueError, match=r"\(n, 16, 16, 3\) uint8"):
        model.predict(images.astype(np.float32))
    with pytest.raises(UserError, match=r"text\.jpg cannot be read as an image"):
        model.predict([tmp_path / "text.jpg"])
    assert [one.label for one in model.predict(np.concatenate([images[:1], images[7:8]]))] == ["a", "b"]


def test_a_model_of_another_kind_is_told_where_it_belongs(tmp_path: Path) -> None:
    path = export(trained(tmp_path, METHODS["centroid"]), tmp_path / "model.pt")
    with pytest.raises(UserError, match=r"is a few-shot model; use it with raysearch\.classify"):
        Hasher.load(path)
    content = torch.load(path, weights_only=True)
    torch.save({**content, "config": overrides.resolve("retrieval", {}).model_dump(mode="json")}, tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"is a retrieval model; use it with raysearch\.retrieve"):
        FewShotClassifier.load(tmp_path / "other.pt")
    torch.save({**content, "config": {**content["config"], "task": "segmentation"}}, tmp_path / "later.pt")
    with pytest.raises(UserError, match="does not know: task"):
        FewShotClassifier.load(tmp_path / "later.pt")
    torch.save({name: part for name, part in content.items() if name != "base"}, tmp_path / "part.pt")
    with pytest.raises(UserError, match="does not fit this version of raysearch"):
        FewShotClassifier.load(tmp_path / "part.pt")


def test_every_kind_that_is_told_apart_is_one_that_can_be_exported() -> None:
    for task in TASKS:
        if TASKS[task].model is not None:
            inference_export.check(task)
    with pytest.raises(UserError, match=r"model\.method=centroid"):
        inference_export.check("pretrain")


def test_a_file_that_cannot_be_written_is_said_to_be_one(tmp_path: Path) -> None:
    task = trained(tmp_path, METHODS["centroid"])
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="cannot write"):
        classifier.save(tmp_path / "folder", task, MANIFEST, {})


def test_of_an_untrained_network_nothing_is_missing(tmp_path: Path) -> None:
    """Nearest centroids on weights as they are: no epoch, and yet a model."""
    task = trained(tmp_path, {**METHODS["cosine centroid"], "train.epochs": 0})
    model = FewShotClassifier.load(export(task, tmp_path / "model.pt"))
    images: Tensor = torch.from_numpy(feed().test.images)
    model.learn({"a": images[:1], "b": images[7:8]})
    assert [one.label for one in model.predict(images[[0, 7]])] == ["a", "b"]
