"""What networks do with images, against plain second writings."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from raysearch.data.feed import normalize
from raysearch.inspection.loading import FinishedRun, open_run
from raysearch.inspection.retrieval import Codes, Exhibit, draw, look, scenes
from raysearch.models.srem import activation_map

from .conftest import EVERY, Trained

IMAGES = 4


@pytest.fixture(scope="module")
def run(trained: Trained) -> FinishedRun:
    return open_run(trained.directory)


@pytest.fixture(scope="module")
def seen(run: FinishedRun) -> Exhibit:
    cells = [run.chosen(name) for name in EVERY]
    exhibit, values = look(run, cells, IMAGES)
    assert values == [cell.value for cell in cells]
    return exhibit


def maps(task, images, row: int) -> np.ndarray:
    """Channel mean brought to the image's size: (H, W) float64."""
    features = task.network.feature_map(normalize(images.take(torch.tensor([row]), torch.device("cpu")))).detach()
    side = task.config.data.side
    mean = features.mean(1, keepdim=True)
    return functional.interpolate(mean, (side, side), mode="bilinear", align_corners=False)[0, 0].double().numpy()


def test_masks_are_the_papers_loop(run: FinishedRun):
    task = run.task(run.chosen("reference"))
    images, srem = task.worker.feed.train, task.config.srem
    rows = draw(len(images), IMAGES)
    for row, scene in zip(rows, scenes(task, images, rows), strict=True):
        activation = maps(task, images, int(row))
        kept = np.ones(activation.shape, bool)
        for place in np.argsort(-activation, axis=None, kind="stable")[: srem.regions]:
            y, x = divmod(int(place), activation.shape[1])
            kept[y : y + srem.size, x : x + srem.size] = False
        assert scene.kept is not None
        assert scene.erased is not None
        assert 0 < (~kept).sum() < kept.size
        np.testing.assert_array_equal(scene.kept, kept)
        np.testing.assert_array_equal(scene.erased[kept], images.images[row][kept])
        assert (scene.erased[~kept] == [124, 116, 104]).all()
        wanted = (activation - activation.min()) / (activation.max() - activation.min())
        np.testing.assert_allclose(scene.heat, wanted, atol=1e-5)


def test_erased_pixels_are_what_the_network_is_given_as_zero(run: FinishedRun):
    task = run.task(run.chosen("reference"))
    (scene,) = scenes(task, task.worker.feed.train, np.array([0]))
    assert scene.erased is not None
    given = normalize(torch.from_numpy(scene.erased)[None])[0]
    assert given[:, torch.from_numpy(~scene.kept)].abs().max() < 0.01


def test_only_what_was_trained_with_erasing_is_shown_erased(seen: Exhibit):
    for one in seen.looks:
        erases = one.cell.variant in ("reference", "train.select=last")
        assert all((scene.kept is not None) == erases for scene in one.erasures)
        assert len(one.erasures) == len(one.attention) == len(one.drawn) == IMAGES
        assert all(scene.heat.min() >= 0 and scene.heat.max() <= 1 for scene in one.attention)


def test_the_nearest_are_a_stable_sort_by_distance(trained: Trained, run: FinishedRun, seen: Exhibit):
    for one in seen.looks:
        task = run.task(one.cell)
        queries, database = (codes.numpy() for codes in trained.codes[one.cell.variant])
        test, train = task.worker.feed.test, task.train
        for query, ranked in zip(draw(len(test), IMAGES), one.drawn, strict=True):
            order = sorted(range(len(database)), key=lambda row: ((database[row] != queries[query]).sum(), row))[:10]
            assert [near.distance for near in ranked.nearest] == [(database[r] != queries[query]).sum() for r in order]
            assert [near.label for near in ranked.nearest] == train.labels[order].tolist()
            for row, near in zip(order, ranked.nearest, strict=True):
                np.testing.assert_array_equal(seen.pictures[near.number].pixels, train.images[row])
            np.testing.assert_array_equal(seen.pictures[ranked.number].pixels, test.images[query])
            assert ranked.label == test.labels[query]


def test_differences_are_the_largest_either_way(run: FinishedRun, seen: Exhibit):
    precision = {one.cell.variant: Codes.of(run.task(one.cell)).precision for one in seen.looks}
    assert not seen.looks[0].gains
    assert not seen.looks[0].losses
    for one in seen.looks[1:]:
        differences = precision[one.cell.variant] - precision["reference"]
        gains = [pair.own.precision - pair.reference.precision for pair in one.gains]
        losses = [pair.own.precision - pair.reference.precision for pair in one.losses]
        assert gains == sorted((value for value in differences if value > 0), reverse=True)[: IMAGES // 2]
        assert losses == sorted(value for value in differences if value < 0)[: IMAGES // 2]
    assert any(one.gains and one.losses for one in seen.looks)


def test_a_flat_map_is_cold():
    features = torch.full((2, 3, 4, 4), 0.1)
    features[1, :, 2, 2] = 1.0
    heat = activation_map(features, (32, 32))
    assert heat[0].abs().max() == 0
    assert heat[1].min() == 0
    assert heat[1].max() == pytest.approx(1.0)
