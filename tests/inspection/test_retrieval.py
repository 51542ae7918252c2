"""Masks, neighbors and differences of retrieval networks against plain second implementations."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from raysearch.data.feed import normalize
from raysearch.inspection.finished_run import FinishedRun, open_run
from raysearch.inspection.retrieval import Codes, RetrievalInspection, draw_rows, inspect_cells, inspect_images
from raysearch.models.srem import activation_map

from .conftest import EVERY, Trained

IMAGES = 4


@pytest.fixture(scope="module")
def run(trained: Trained) -> FinishedRun:
    return open_run(trained.directory)


@pytest.fixture(scope="module")
def inspection(run: FinishedRun) -> RetrievalInspection:
    cells = [run.choose_cell(name) for name in EVERY]
    inspection, values = inspect_cells(run, cells, IMAGES)
    assert values == [cell.value for cell in cells]
    return inspection


def maps(task, images, row: int) -> np.ndarray:
    """Compute the channel mean at the image's size: (H, W) float64."""
    features = task.network.feature_map(normalize(images.take(torch.tensor([row]), torch.device("cpu")))).detach()
    side = task.config.data.side
    mean = features.mean(1, keepdim=True)
    return functional.interpolate(mean, (side, side), mode="bilinear", align_corners=False)[0, 0].double().numpy()


def test_masks_are_the_papers_loop(run: FinishedRun):
    task = run.task(run.choose_cell("reference"))
    images = task.worker.feed.train
    srem = task.config.srem
    rows = draw_rows(len(images), IMAGES)
    for row, inspected in zip(rows, inspect_images(task, images, rows), strict=True):
        activation = maps(task, images, int(row))
        kept = np.ones(activation.shape, bool)
        for position in np.argsort(-activation, axis=None, kind="stable")[: srem.regions]:
            y, x = divmod(int(position), activation.shape[1])
            kept[y : y + srem.size, x : x + srem.size] = False
        assert inspected.kept is not None
        assert inspected.erased is not None
        assert 0 < (~kept).sum() < kept.size
        np.testing.assert_array_equal(inspected.kept, kept)
        np.testing.assert_array_equal(inspected.erased[kept], images.images[row][kept])
        assert (inspected.erased[~kept] == [124, 116, 104]).all()
        expected = (activation - activation.min()) / (activation.max() - activation.min())
        np.testing.assert_allclose(inspected.heat, expected, atol=1e-5)


def test_erased_pixels_normalize_to_zero(run: FinishedRun):
    task = run.task(run.choose_cell("reference"))
    (inspected,) = inspect_images(task, task.worker.feed.train, np.array([0]))
    assert inspected.erased is not None
    normalized = normalize(torch.from_numpy(inspected.erased)[None])[0]
    assert normalized[:, torch.from_numpy(~inspected.kept)].abs().max() < 0.01


def test_only_networks_trained_with_erasing_are_shown_with_a_mask(inspection: RetrievalInspection):
    for inspected in inspection.cells:
        erases = inspected.cell.variant in ("reference", "train.select=last")
        assert all((image.kept is not None) == erases for image in inspected.erasures)
        assert len(inspected.erasures) == len(inspected.attention) == len(inspected.drawn) == IMAGES
        assert all(image.heat.min() >= 0 and image.heat.max() <= 1 for image in inspected.attention)


def test_the_nearest_are_a_stable_sort_by_distance(trained: Trained, run: FinishedRun, inspection: RetrievalInspection):
    for inspected in inspection.cells:
        task = run.task(inspected.cell)
        queries, database = (codes.numpy() for codes in trained.codes[inspected.cell.variant])
        test = task.worker.feed.test
        train = task.train
        for query, ranked in zip(draw_rows(len(test), IMAGES), inspected.drawn, strict=True):
            order = sorted(range(len(database)), key=lambda row: ((database[row] != queries[query]).sum(), row))[:10]
            assert [near.distance for near in ranked.nearest] == [(database[r] != queries[query]).sum() for r in order]
            assert [near.label for near in ranked.nearest] == train.labels[order].tolist()
            for row, near in zip(order, ranked.nearest, strict=True):
                np.testing.assert_array_equal(inspection.pictures[near.number].pixels, train.images[row])
            np.testing.assert_array_equal(inspection.pictures[ranked.number].pixels, test.images[query])
            assert ranked.label == test.labels[query]


def test_differences_are_the_largest_either_way(run: FinishedRun, inspection: RetrievalInspection):
    precision = {cell.cell.variant: Codes.of_task(run.task(cell.cell)).precision for cell in inspection.cells}
    assert not inspection.cells[0].gains
    assert not inspection.cells[0].losses
    for inspected in inspection.cells[1:]:
        differences = precision[inspected.cell.variant] - precision["reference"]
        gains = [pair.variant.precision - pair.reference.precision for pair in inspected.gains]
        losses = [pair.variant.precision - pair.reference.precision for pair in inspected.losses]
        assert gains == sorted((value for value in differences if value > 0), reverse=True)[: IMAGES // 2]
        assert losses == sorted(value for value in differences if value < 0)[: IMAGES // 2]
    assert any(inspected.gains and inspected.losses for inspected in inspection.cells)


def test_a_constant_map_is_zero():
    features = torch.full((2, 3, 4, 4), 0.1)
    features[1, :, 2, 2] = 1.0
    heat = activation_map(features, (32, 32))
    assert heat[0].abs().max() == 0
    assert heat[1].min() == 0
    assert heat[1].max() == pytest.approx(1.0)
