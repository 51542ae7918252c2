"""Planes of an episode: principal components by the eigenvectors of a covariance, and what is projected on them."""

import numpy as np
import pytest
import torch

from raysearch.inspection.episodes import see
from raysearch.inspection.planes import plane, planes

from ..tasks.fewshot.fewshot_runs import METHODS
from .fewshot_tasks import Make


def eigen(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates on the two first eigenvectors of the covariance, and the variance of each."""
    values, vectors = np.linalg.eigh(np.cov(points.T))
    order = np.argsort(-values)[:2]
    return (points - points.mean(0)) @ vectors[:, order], values[order] / values.sum()


def test_principal_components() -> None:
    draw = np.random.default_rng(0)
    support, query = draw.normal(size=(3, 2, 6)), draw.normal(size=(3, 4, 6)) * [3, 1, 1, 2, 1, 1]
    found = plane(support, query)
    points = np.concatenate([support.reshape(-1, 6), query.reshape(-1, 6)])
    expected, shares = eigen(points)
    drawn = np.concatenate([found.support.reshape(-1, 2), found.query.reshape(-1, 2)])
    np.testing.assert_allclose(np.abs(drawn), np.abs(expected), atol=1e-9)
    assert found.kept == pytest.approx(tuple(shares))
    assert all(axis[np.abs(axis).argmax()] > 0 for axis in drawn.T)
    near = [
        min(range(3), key=lambda way: float(((query[own, n] - support[way].mean(0)) ** 2).sum())) == own
        for own in range(3)
        for n in range(4)
    ]
    assert found.near == pytest.approx(np.mean(near))


def test_equal_points_lie_in_the_middle() -> None:
    found = plane(np.ones((2, 1, 4)), np.ones((2, 3, 4)))
    assert not found.support.any()
    assert not found.query.any()
    assert found.kept == (0.0, 0.0)


@pytest.mark.parametrize("method", ["centroid", "relation"])
def test_where_images_do_not_meet_there_is_no_after(untrained: Make, method: str) -> None:
    task = untrained(METHODS[method])
    network, drawn = task.judged()
    seen = see(network, task.worker.feed.test, drawn, 0)
    before, after = planes(network, seen)
    pooled = [one.mean((-2, -1)).double().numpy() for one in (seen.support[0], seen.query[0])]
    assert after is None
    np.testing.assert_allclose(before.query, plane(*pooled).query, atol=1e-6)


def test_after_helixformer_the_mean_over_pairs(untrained: Make) -> None:
    task = untrained(METHODS["helixformer"])
    network, drawn = task.judged()
    seen = see(network, task.worker.feed.test, drawn, 2)
    supports, queries = seen.support[0].flatten(0, 1), seen.query[0].flatten(0, 1)
    sums = [torch.zeros(len(side), 6) for side in (supports, queries)]
    with torch.no_grad():
        for n, query in enumerate(queries):
            for s, support in enumerate(supports):
                pair = network.head.helix(support[None], query[None])
                for total, at, maps in zip(sums, (s, n), pair, strict=True):
                    total[at] += maps[0, 0].mean((1, 2))
    means = (sums[0] / len(queries)).reshape(2, 2, 6), (sums[1] / len(supports)).reshape(2, 2, 6)
    expected = plane(*((one - one.mean((0, 1))).double().numpy() for one in means))  # each side from its own mean
    _, after = planes(network, seen)
    assert after is not None
    np.testing.assert_allclose(after.support, expected.support, atol=1e-5)
    np.testing.assert_allclose(after.query, expected.query, atol=1e-5)


@pytest.mark.parametrize("method", ["lwfm", "lwfm, no aux", "helix_lwfm"])
def test_after_matching_points_are_finite_and_the_same_again(untrained: Make, method: str) -> None:
    task = untrained(METHODS[method])
    network, drawn = task.judged()
    seen = see(network, task.worker.feed.test, drawn, 1)
    (_, one), (_, two) = planes(network, seen), planes(network, seen)
    assert one is not None
    assert two is not None
    assert np.isfinite(one.query).all()
    assert (one.query == two.query).all()
    assert (one.support == two.support).all()
