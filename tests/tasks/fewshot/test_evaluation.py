"""Judging by episodes against a plain loop over pixels, and what its outcome must not depend on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raysearch.core import UserError
from raysearch.data.episodes import Episodes, episode
from raysearch.tasks.base import Worker
from raysearch.tasks.common import Loader
from raysearch.tasks.fewshot import evaluation
from raysearch.tasks.fewshot.task import FewshotTask

from .fewshot_reference import Reference, pixels
from .fewshot_runs import METHODS, feed, finish, image_set, make

pytestmark = pytest.mark.usefixtures("tiny_taps")


def trained(case: str, *changes: dict[str, Any]) -> FewshotTask:
    task = make(METHODS[case], {"episodes.test": 5}, *changes)
    task.advance()
    return task


def right(outcome: dict[str, Any]) -> list[int]:
    """Queries named right in each test episode."""
    return json.loads(outcome["right_by_episode"])


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("case", METHODS)
def test_evaluation_equals_a_loop_over_pixels(case: str) -> None:
    task = trained(case)
    network = Reference(task)
    config = task.config.episodes
    images = task.worker.feed.test
    counted = []
    for index in range(config.test):
        drawn = episode(images.labels, index, config.seed, config.ways, config.shots, config.queries)
        maps = []
        for rows in drawn:
            each = [[tap[0] for tap in network.backbone(pixels(images, int(row))[None], training=False)]
                    for row in rows.ravel()]  # fmt: skip
            maps.append([torch.stack(taps) for taps in zip(*each, strict=True)])
        support = [tap.view(1, config.ways, config.shots, *tap.shape[1:]) for tap in maps[0]]
        logits, _ = network.logits(support, [tap[None] for tap in maps[1]], training=False)
        counted.append(sum(int(logits[0, n].argmax()) == n // config.queries for n in range(logits.shape[1])))
    outcome = task.evaluate()
    assert right(outcome) == counted
    assert 0 < sum(counted) < config.test * config.ways * config.queries
    shares = np.array(counted) / (config.ways * config.queries)
    assert outcome["accuracy"] == pytest.approx(shares.mean(), abs=1e-11)
    assert outcome["accuracy_ci"] == pytest.approx(1.96 * np.std(shares, ddof=1) / np.sqrt(len(shares)), abs=1e-11)


@pytest.mark.parametrize("case", METHODS)
def test_neither_the_store_nor_the_chunks_change_a_vector(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task = trained(case)
    expected = right(task.evaluate())
    maps = [tap[0].numel() * 4 for tap in task.network.eval().maps(torch.zeros(1, 3, 16, 16))]
    for budget, at_once in ((10**9, 1), (10**9, 3), (10**9, 100), (0, 7), (sum(maps) * 17, 2)):
        monkeypatch.setattr(evaluation, "BUDGET", budget)
        monkeypatch.setattr(type(task.network.head), "episodes_at_once", at_once)
        assert right(task.evaluate()) == expected, (budget, at_once)


def test_the_store_gives_the_maps_of_its_images(monkeypatch: pytest.MonkeyPatch) -> None:
    task = trained("lwfm")
    images, loader, network = task.worker.feed.test, task.loader, task.network
    rows = torch.tensor([[3, 0, 3], [15, 15, 7]])
    bytes_an_image = 4 * (4 + 6) * 2 * 2
    whole = evaluation.MapStore(network, images, loader, "auto")
    small = evaluation.MapStore(network, images, loader, "auto", budget=3 * bytes_an_image)
    assert (whole.images_at_once, small.images_at_once) == (evaluation.BUDGET // bytes_an_image, 3)
    network.train()  # as training leaves it between two questions
    with torch.no_grad():
        expected = network.eval().maps(images.batch(rows.flatten(), loader.device))
    network.train()
    for store in (whole, small):
        for got, maps in zip(store.maps(rows), expected, strict=True):
            torch.testing.assert_close(got, maps.view(2, 3, *maps.shape[1:]), rtol=1e-5, atol=1e-6)
            assert not got.requires_grad
    seen: list[int] = []
    original = Loader.take
    monkeypatch.setattr(Loader, "take", lambda self, taken, rows: seen.extend(rows) or original(self, taken, rows))
    whole.maps(rows)
    assert seen == []
    small.maps(rows)
    assert sorted(map(int, seen)) == [0, 3, 7, 15], "each image once"


def test_averages_of_a_network_in_bfloat16_are_float32() -> None:
    network = make(METHODS["lwfm"]).network.eval()
    images = feed().test.batch(torch.arange(3), torch.device("cpu"))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        taps = network.backbone(images)
        maps = network.maps(images)
    assert all(tap.dtype == torch.bfloat16 for tap in taps.values())
    assert all(tap.dtype == torch.float32 for tap in maps)
    for tap, average in zip(taps.values(), maps, strict=True):
        expected = tap.float().unflatten(3, (2, -1)).unflatten(2, (2, -1)).mean((3, 5))
        torch.testing.assert_close(average, expected, rtol=1e-6, atol=1e-6)


def test_judging_leaves_the_network_as_it_was() -> None:
    task = trained("helixformer")
    for mode in (True, False):
        task.network.train(mode)
        before = {name: value.clone() for name, value in task.network.state_dict().items()}
        task.evaluate()
        assert task.network.training == task.network.head.training == mode
        assert all(torch.equal(value, before[name]) for name, value in task.network.state_dict().items())


@pytest.mark.parametrize("workers", [2, 3, 9])
def test_shares_of_workers_add_up_to_the_vector_of_one(workers: int) -> None:
    task = trained("relation")
    images, seen = task.worker.feed.test, []
    drawn = Episodes(images.labels, 2, 2, 2, seed=0)
    whole = evaluation.accuracies(task.network, images, drawn, 7, task.worker, task.loader)
    for rank in range(workers):

        class Alone(Worker):
            def sum(self, tensor: torch.Tensor) -> torch.Tensor:
                return tensor

        worker = Alone(task.worker.feed, Path(), rank=rank, world_size=workers)
        seen.append(evaluation.accuracies(task.network, images, drawn, 7, worker, task.loader))
    assert np.array_equal(sum(seen), whole)
    assert all(np.flatnonzero(part).tolist() == [i for i in range(rank, 7, workers) if whole[i]]
               for rank, part in enumerate(seen))  # fmt: skip


def test_every_method_and_seed_meets_the_same_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training uses the run's seed; validation and test use the config's, which is the same for all runs."""
    seen: list[tuple[Any, ...]] = []
    original = Episodes.draw

    def listen(self: Episodes, index: int) -> Any:
        drawn = original(self, index)
        seen.append((self.seed, index, *(tuple(map(tuple, side.tolist())) for side in drawn)))
        return drawn

    monkeypatch.setattr(Episodes, "draw", listen)

    def of_run(case: str, seed: int, **changes: Any) -> list[tuple[Any, ...]]:
        seen.clear()
        finish(make(METHODS[case], changes, seed=seed))
        return sorted(set(seen))

    first = of_run("centroid", 3)
    for case in METHODS:
        assert of_run(case, 3, **{"episodes.shots": 2}) == first, case
    other = of_run("centroid", 4)
    held_out = [draw for draw in first if draw[0] == 0]
    assert held_out == [draw for draw in other if draw[0] == 0]
    assert len(held_out) == 4 + 9
    assert {index for seed, index, *_ in first if seed == 3} == set(range(6)), "two epochs of three episodes"
    assert [draw for draw in first if draw[0] == 3] != [draw for draw in other if draw[0] == 4]

    more = of_run("centroid", 3, **{"episodes.shots": 1})
    for few_shots, many_shots in zip(more, first, strict=True):
        assert few_shots[:2] == many_shots[:2]
        assert few_shots[3] == many_shots[3], "fewer shots keep the queries"
        assert all(few == many[:1] for few, many in zip(few_shots[2], many_shots[2], strict=True))


def test_mean_and_half_width() -> None:
    values = np.random.default_rng(0).random(50)
    mean, half = evaluation.mean_and_half_width(values)
    assert mean == pytest.approx(sum(values) / 50, abs=1e-11)
    spread = (sum((value - mean) ** 2 for value in values) / 49) ** 0.5
    assert half == pytest.approx(1.96 * spread / 50**0.5, abs=1e-11)


def test_a_split_with_too_few_classes_is_the_users_to_mend() -> None:
    for part in ("train", "validation", "test"):
        sets = {"train": image_set([5] * 4), "validation": image_set([5] * 4, 10), "test": image_set([5] * 4, 20)}
        sets[part] = image_set([5] * 3, 30)
        short = feed().__class__(sets["train"], sets["test"], "hash", sets["validation"], "mod4-1")
        with pytest.raises(UserError, match=rf"episodes\.ways=4: the split has 3 {part} classes; set fewer ways"):
            make(METHODS["centroid"], {"episodes.ways": 4}, worker=Worker(short, Path()))


def test_metric_ids_say_what_was_asked_and_of_which_split() -> None:
    metric_ids = make(METHODS["lwfm"]).metric_ids
    assert metric_ids["accuracy"] == "accuracy@2-way-2-shot-2-query/9-episodes-of-seed-0/mod4-12345678/test"
    for change in ({"episodes.shots": 1}, {"episodes.queries": 1}, {"episodes.test": 8}, {"episodes.seed": 1}):
        assert make(METHODS["lwfm"], change).metric_ids["accuracy"] != metric_ids["accuracy"]
    assert make(METHODS["centroid"], {"train.epochs": 9}, seed=8).metric_ids == metric_ids
    assert len(set(metric_ids.values())) == 3
