"""An exported model gives the codes of the task that it came from."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from raysearch.core import UserError, atomic
from raysearch.data import shards
from raysearch.data.feed import ImageSet
from raysearch.inference import hasher as inference_hasher
from raysearch.inference.hasher import Hasher
from raysearch.models.backbones import Backbone
from raysearch.tasks.base import Feed, Worker
from raysearch.tasks.retrieval import task as retrieval_task

from ..registries import backbone_builder, replace_backbone
from ..tasks.retrieval import small_runs
from ..tasks.retrieval.small_runs import SIDE, TwoTaps, image_set
from .conftest import empty_manifest

METHODS = ("adsh", "exchnet", "dpsh", "dsh", "hashnet", "lsh", "sh", "itq", "sdh")
BITS = 8
MANIFEST = empty_manifest(("red", "none", "green", "blue"), SIDE)


@pytest.fixture(autouse=True)
def two_taps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trunk in place of the small one; with weights it starts elsewhere, as a pretrained one does."""

    def build(name: str, weights: str | None) -> Backbone:
        body = TwoTaps()
        if weights is not None:
            nn.init.normal_(body.block1[0].weight, std=0.5)  # type: ignore[arg-type]
        return Backbone(body, ("block1", "block2"), (6, 12))

    replace_backbone(monkeypatch, "small", build)
    torch.set_num_threads(1)


def trained(cache: Path, method: str, **changes: Any) -> Any:
    """A task at its end; some of what a run leaves behind differs from what a new network starts with."""
    settings = {
        "model.standardise": method != "exchnet",
        "esrl.positive": 0.01,
        "esrl.erased": 0.01,
        "hash.method": method,
        "hash.bits": BITS,
        "model.weights": "DRAWN_BIRDS_V1",
        "train.hash_lr": 1.0,
        "train.lr": 0.0005,
        **changes,
    }
    feed = Feed(image_set([5, 3, 6]), image_set([2, 2, 2], seed=1), "hash of the data")
    task = retrieval_task.build(small_runs.config(settings), 5, Worker(feed, cache))
    while task.done < task.steps:
        task.advance()
    return task


def export(task: Any, path: Path) -> Path:
    inference_hasher.save(path, task, MANIFEST, task.evaluate())
    return path


@pytest.fixture
def queries() -> ImageSet:
    """Of a colour each; more than two batches of the task's, and a last one that is not full."""
    return image_set([1] * 600, seed=3)


@pytest.mark.parametrize("method", METHODS)
def test_codes_are_the_tasks_own_bit_for_bit(
    method: str, tmp_path: Path, queries: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = trained(tmp_path, method)
    wanted = task._encode(queries)
    assert len(wanted.unique(dim=0)) > 4  # codes that tell images apart, so that equal ones say something
    asked: list[str | None] = []
    original = backbone_builder("small")
    replace_backbone(monkeypatch, "small", lambda name, weights: (asked.append(weights), original(name, weights))[1])
    hasher = Hasher.load(export(task, tmp_path / "model.pt"), device="cpu")
    assert asked == [None]  # nothing is downloaded, and no file of weights is missed
    assert torch.equal(hasher.encode(queries.images), wanted)
    assert torch.equal(hasher.encode(torch.from_numpy(queries.images)), wanted)
    assert hasher.bits == BITS


def test_outputs_are_the_tasks_own_too(tmp_path: Path, queries: ImageSet) -> None:
    """Signs hide small differences; the numbers before them do not."""
    task = trained(tmp_path, "adsh")
    hasher = Hasher.load(export(task, tmp_path / "model.pt"), device="cpu")
    task.network.eval()
    with torch.no_grad():
        wanted = task.network(task.loader.batch(queries, torch.arange(256))).z
        assert torch.equal(hasher._outputs(queries.images[:256]), wanted)


def test_of_a_run_that_selects_it_is_the_best_iteration(tmp_path: Path, queries: ImageSet) -> None:
    changes = {"data.validation": 0.3, "train.select": "validation", "train.iterations": 4, "train.lr": 0.2}
    task = trained(tmp_path, "adsh", **changes)
    best = task.state_dict()["best"]["network"]
    last = task._encode(queries)
    hasher = Hasher.load(export(task, tmp_path / "model.pt"), device="cpu")
    task.network.load_state_dict(best)
    assert not torch.equal(task._encode(queries), last), "the last iteration was the best: nothing is tested"
    assert torch.equal(hasher.encode(queries.images), task._encode(queries))


def test_the_file_says_what_it_came_from_and_nothing_needs_unpickling(tmp_path: Path) -> None:
    task = trained(tmp_path, "itq")
    content = torch.load(export(task, tmp_path / "model.pt"), weights_only=True)
    assert content["format"] == 1
    assert content["data"] == {"name": "colours", "content_hash": "hash of the data", "classes": list(MANIFEST.classes)}
    assert content["preprocessing"] == {
        "side": SIDE,
        "zoom": 1.0,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }
    hasher = Hasher.load(tmp_path / "model.pt", device="cpu")
    assert (hasher.seed, hasher.side, hasher.zoom, hasher.config) == (5, SIDE, 1.0, task.config)
    assert hasher.metrics["map"] == task.evaluate()["map"]


def test_preprocessing_is_the_files_own(tmp_path: Path, queries: ImageSet) -> None:
    export(trained(tmp_path, "adsh"), tmp_path / "model.pt")
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    content["preprocessing"] |= {"mean": [0.9, 0.9, 0.9]}
    torch.save(content, tmp_path / "other.pt")
    one, other = (Hasher.load(tmp_path / name, device="cpu") for name in ("model.pt", "other.pt"))
    assert not torch.equal(one.encode(queries.images), other.encode(queries.images))


def test_the_same_run_gives_the_same_file(tmp_path: Path) -> None:
    for name in ("one.pt", "another.pt"):
        export(trained(tmp_path, "dpsh"), tmp_path / name)
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "another.pt").read_bytes()
    assert Hasher.load(tmp_path / "one.pt").sha256 == Hasher.load(tmp_path / "another.pt").sha256


def test_paths_and_pillow_images_are_seen_as_training_sees_them(tmp_path: Path) -> None:
    hasher = Hasher.load(export(trained(tmp_path, "adsh", **{"data.zoom": 1.5}), tmp_path / "model.pt"), device="cpu")
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (40, 60, 3)).astype(np.uint8))
    noise.save(tmp_path / "a.jpg")
    noise.save(tmp_path / "b.png")
    noise.quantize(16).save(tmp_path / "c.png")
    noise.convert("L").save(tmp_path / "d.jpg")
    noise.convert("LA").save(tmp_path / "e.webp")
    paths = [tmp_path / name for name in ("a.jpg", "b.png", "c.png", "d.jpg", "e.webp")]
    # by way of shards: what they keep of a file, decoded
    wanted = np.stack([shards.decode_jpeg(shards.to_rgb_jpeg(path.read_bytes())[0], SIDE, 1.5) for path in paths])
    assert np.array_equal(np.stack([hasher.pixels(path) for path in paths]), wanted)
    assert np.array_equal(np.stack([hasher.pixels(Image.open(path)) for path in paths]), wanted)
    codes = hasher.encode(wanted)
    assert torch.equal(hasher.encode(paths), codes)
    assert torch.equal(hasher.encode([str(paths[0]), Image.open(paths[1])]), codes[:2])


def test_no_images_have_no_codes(tmp_path: Path) -> None:
    hasher = Hasher.load(export(trained(tmp_path, "lsh"), tmp_path / "model.pt"))
    assert hasher.encode([]).shape == (0, BITS)


def test_a_wrong_array_says_what_is_wanted(tmp_path: Path) -> None:
    hasher = Hasher.load(export(trained(tmp_path, "lsh"), tmp_path / "model.pt"))
    for wrong in (
        np.zeros((2, SIDE + 1, SIDE, 3), np.uint8),
        np.zeros((SIDE, SIDE, 3), np.uint8),
        np.zeros((2, SIDE, SIDE, 3), np.float32),
        torch.zeros(2, 3, SIDE, SIDE),
    ):
        with pytest.raises(ValueError, match=rf"\(n, {SIDE}, {SIDE}, 3\) uint8"):
            hasher.encode(wrong)


def test_a_path_that_is_no_image_is_named(tmp_path: Path) -> None:
    hasher = Hasher.load(export(trained(tmp_path, "lsh"), tmp_path / "model.pt"))
    (tmp_path / "text.jpg").write_text("text")
    with pytest.raises(UserError, match=r"no image .*nothing\.jpg"):
        hasher.encode([tmp_path / "nothing.jpg"])
    with pytest.raises(UserError, match=r"text\.jpg cannot be read as an image: not an image"):
        hasher.encode([tmp_path / "text.jpg"])
    with pytest.raises(UserError, match="cannot be read as an image: Is a directory"):
        hasher.encode([tmp_path])


def test_files_that_are_no_models_are_refused_in_one_line(tmp_path: Path) -> None:
    task = trained(tmp_path, "adsh")
    good = export(task, tmp_path / "model.pt").read_bytes()
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    torch.save(task.state_dict(), tmp_path / "state.pt")
    torch.save(content | {"format": 2}, tmp_path / "newer.pt")
    torch.save(content | {"format": 0}, tmp_path / "older.pt")
    torch.save(content | {"config": content["config"] | {"hsah": {}}}, tmp_path / "config.pt")
    missing = {name: tensor for name, tensor in content["network"].items() if "linear" not in name}
    torch.save(content | {"network": missing}, tmp_path / "missing.pt")
    (tmp_path / "truncated.pt").write_bytes(good[: len(good) // 2])
    (tmp_path / "text.pt").write_text("text")
    for name, message in {
        "nothing.pt": "no model",
        "state.pt": "--out writes a trained state",
        "newer.pt": "upgrade raysearch",
        "older.pt": "export it again",
        "config.pt": "does not know: hsah",
        "missing.pt": "does not fit",
        "truncated.pt": "damaged",
        "text.pt": "not a model file",
        ".": "is not a file",
    }.items():
        with pytest.raises(UserError) as refused:
            Hasher.load(tmp_path / name)
        assert message in str(refused.value)
        assert "\n" not in str(refused.value)


def test_a_model_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = trained(tmp_path, "lsh")
    before = export(task, tmp_path / "model.pt").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(UserError, match="No space left"):
        inference_hasher.save(tmp_path / "model.pt", trained(tmp_path, "itq"), MANIFEST, {})
    assert (tmp_path / "model.pt").read_bytes() == before
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".model")]
