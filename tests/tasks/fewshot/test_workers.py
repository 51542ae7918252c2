"""Few-shot training by one worker and by two, which are real processes that talk over the loopback device."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raysearch.core import UserError
from raysearch.data.feed import ImageSet
from raysearch.studies.configs import overrides
from raysearch.tasks.base import Worker
from raysearch.tasks.pretraining.task import PretrainTask

from ..worker_group import GROUPS, run_groups
from .fewshot_runs import METHODS, TIMES, feed, make

SHARED: dict[str, Any] = {
    "data.zoom": 1.0,
    "episodes.ways": 2,
    "episodes.shots": 2,
    "episodes.queries": 2,
    "episodes.test": 7,  # shares of four and three
    "episodes.validation": 3,
    "lwe.grid": 2,
    "lwfm.aux_batch": 6,
    "train.epochs": 2,
    "train.episodes": 6,
    "train.batch": 4,
    "train.optimiser": "sgd",
    "train.lr": 0.02,
    "train.clip": 1.0,
    "train.weight_decay": 0.01,
}
# SqueezeNet has no batch norm.
PLAIN = {**SHARED, "data.side": 48, "model.backbone": "squeezenet1_1", "data.augment": "crop"}
SMALL = {**SHARED, "data.side": 32, "model.backbone": "small", "model.weights": "DRAWN_BIRDS_V1"}
PRETRAIN = {
    "data.side": 48,
    "data.zoom": 1.0,
    "model.backbone": "squeezenet1_1",
    "train.epochs": 2,
    "train.batch": 5,  # shares of three and two
    "train.lr": 0.02,
}
AGREEING: dict[str, dict[str, Any]] = {
    "centroid": {**PLAIN, "model.method": "centroid", "centroid.distance": "cosine"},
    "lwfm": {**PLAIN, "model.method": "lwfm"},
    "lwfm of a shallow tap": {**PLAIN, "model.method": "lwfm", "lwe.layers": [0], "data.augment": "colour"},
    "lwfm, frozen": {**SMALL, "model.method": "lwfm", "model.frozen": True},
    **{f"judging {name}": {**SMALL, **{k: v for k, v in method.items() if "shots" not in k}, "train.epochs": 0}
       for name, method in METHODS.items()},
}  # fmt: skip
NORMED = {"relation": {**SMALL, "model.method": "relation"}, "helixformer": {**SMALL, "model.method": "helixformer"}}
CASES: dict[str, dict[str, Any]] = {
    **{name: {"task": "fewshot", "changes": changes} for name, changes in {**AGREEING, **NORMED}.items()},
    "pre-training": {"task": "pretrain", "changes": PRETRAIN},
}


def image_set(classes: list[int], side: int) -> ImageSet:
    labels = np.repeat(classes, 5)
    colours = np.random.default_rng(9).integers(90, 160, (20, 4, 4, 3))
    rng = np.random.default_rng(classes[0])
    coarse = colours[labels].repeat(side // 4, 1).repeat(side // 4, 2)
    return ImageSet((coarse + rng.integers(-40, 40, (len(labels), side, side, 3))).astype(np.uint8), labels)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The output of a group of one worker, then of each worker of a group of two."""
    folder = tmp_path_factory.mktemp("groups")
    (folder / "cases.json").write_text(json.dumps(CASES))
    for side in (32, 48):
        sets = {part: image_set(classes, side) for part, classes in
                {"train": [0, 2, 3], "val": [5, 6], "test": [8, 9, 11]}.items()}  # fmt: skip
        arrays = {f"{part}_images": images.images for part, images in sets.items()}
        arrays |= {f"{part}_labels": images.labels for part, images in sets.items()}
        np.savez(folder / f"images-{side}.npz", **arrays)  # type: ignore[arg-type]
    run_groups("tests.tasks.fewshot.worker_process", folder)
    return [torch.load(folder / f"{world_size}-{rank}.pt", weights_only=True) for world_size, rank in GROUPS]


def numbers(outcome: dict[str, Any]) -> list[dict[str, Any]]:
    """Reports without times, and the metrics."""
    return [{name: value for name, value in report.items() if name not in (*TIMES, "phase", "right_by_episode")}
            for report in (*outcome["reports"], outcome["metrics"])]  # fmt: skip


@pytest.mark.parametrize("case", [*AGREEING, "pre-training"])
def test_without_batch_statistics_the_numbers_agree_to_rounding(case: str, outcomes: list[dict[str, Any]]) -> None:
    alone, first = outcomes[0][case], outcomes[1][case]
    for expected, got in zip(numbers(alone), numbers(first), strict=True):
        assert got == pytest.approx(expected, rel=1e-9, abs=1e-12)
    for name, value in alone["network"].items():
        torch.testing.assert_close(first["network"][name], value, rtol=1e-8, atol=1e-11)
    assert first["metrics"].get("right_by_episode") == alone["metrics"].get("right_by_episode")


@pytest.mark.parametrize("case", CASES)
def test_workers_hold_one_state(case: str, outcomes: list[dict[str, Any]]) -> None:
    """Running statistics too, which each worker gathers from its share."""
    first, second = (outcome[case] for outcome in outcomes[1:])
    assert numbers(first) == numbers(second)
    assert first["metrics"] == second["metrics"]
    for name, value in first["network"].items():
        assert torch.equal(value, second["network"][name]), name


def test_the_judged_vectors_tell_the_methods_apart(outcomes: list[dict[str, Any]]) -> None:
    vectors = {outcomes[0][f"judging {name}"]["metrics"]["right_by_episode"] for name in METHODS}
    assert len(vectors) > 4


@pytest.mark.usefixtures("tiny_taps")
@pytest.mark.parametrize(
    ("workers", "change", "words"),
    [
        (3, {}, r"train\.batch=2 episodes do not divide among 3 workers"),
        (2, {}, r"train\.episodes=3 leave 1 for the last step .* 2 workers; set a multiple of train\.batch=2"),
        (2, {"train.episodes": 4}, r"lwfm\.aux_batch=5 images do not divide among 2 workers"),
    ],
)
def test_steps_that_do_not_divide_are_the_users_to_mend(workers: int, change: dict[str, Any], words: str) -> None:
    worker = Worker(feed(), Path(), rank=1, world_size=workers)
    with pytest.raises(UserError, match=words) as caught:
        make(METHODS["lwfm"], change, worker=worker)
    assert "\n" not in str(caught.value)
    make(METHODS["lwfm"], {"train.epochs": 0}, worker=worker)  # judging takes any number


@pytest.mark.usefixtures("tiny_taps")
def test_batches_of_a_pre_training_too_small_for_the_workers_are_the_users_to_mend() -> None:
    changes = {"data.side": 16, "data.zoom": 1.0, "model.backbone": "small", "train.batch": 4}
    worker = Worker(feed(), Path(), rank=1, world_size=3)
    with pytest.raises(UserError, match=r"pretrain\.batch=4: batches of 4 images .* 3 workers"):
        PretrainTask(overrides.resolve("pretrain", changes), 0, worker)  # type: ignore[arg-type]
