"""Planes of an episode against the eigenvectors of a covariance, and the features that they project."""

import numpy as np
import pytest
import torch

from raysearch.inspection.episodes import inspect_episode
from raysearch.inspection.planes import episode_planes, project_plane

from ..tasks.fewshot.fewshot_runs import METHODS
from .fewshot_tasks import Make


def eigen(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the coordinates on the first two eigenvectors of the covariance, and the variance share of each."""
    values, vectors = np.linalg.eigh(np.cov(points.T))
    order = np.argsort(-values)[:2]
    return (points - points.mean(0)) @ vectors[:, order], values[order] / values.sum()


def test_principal_components() -> None:
    rng = np.random.default_rng(0)
    support = rng.normal(size=(3, 2, 6))
    query = rng.normal(size=(3, 4, 6)) * [3, 1, 1, 2, 1, 1]
    plane = project_plane(support, query)
    points = np.concatenate([support.reshape(-1, 6), query.reshape(-1, 6)])
    expected, shares = eigen(points)
    projected = np.concatenate([plane.support.reshape(-1, 2), plane.query.reshape(-1, 2)])
    np.testing.assert_allclose(np.abs(projected), np.abs(expected), atol=1e-9)
    assert plane.variance == pytest.approx(tuple(shares))
    assert all(axis[np.abs(axis).argmax()] > 0 for axis in projected.T)
    correct = [
        min(range(3), key=lambda way: float(((query[label, n] - support[way].mean(0)) ** 2).sum())) == label
        for label in range(3)
        for n in range(4)
    ]
    assert plane.nearest_share == pytest.approx(np.mean(correct))


def test_equal_points_are_at_the_origin() -> None:
    plane = project_plane(np.ones((2, 1, 4)), np.ones((2, 3, 4)))
    assert not plane.support.any()
    assert not plane.query.any()
    assert plane.variance == (0.0, 0.0)


@pytest.mark.parametrize("method", ["centroid", "relation"])
def test_heads_that_do_not_transform_pairs_have_no_second_plane(untrained: Make, method: str) -> None:
    task = untrained(METHODS[method])
    network, episodes = task.judged()
    episode = inspect_episode(network, task.worker.feed.test, episodes, 0)
    before, after = episode_planes(network, episode)
    pooled = [maps.mean((-2, -1)).double().numpy() for maps in (episode.support[0], episode.query[0])]
    assert after is None
    np.testing.assert_allclose(before.query, project_plane(*pooled).query, atol=1e-6)


def test_after_helixformer_points_are_means_over_pairs(untrained: Make) -> None:
    task = untrained(METHODS["helixformer"])
    network, episodes = task.judged()
    episode = inspect_episode(network, task.worker.feed.test, episodes, 2)
    supports = episode.support[0].flatten(0, 1)
    queries = episode.query[0].flatten(0, 1)
    sums = [torch.zeros(len(side), 6) for side in (supports, queries)]
    with torch.no_grad():
        for n, query in enumerate(queries):
            for s, support in enumerate(supports):
                pair = network.head.helix(support[None], query[None])
                for total, row, maps in zip(sums, (s, n), pair, strict=True):
                    total[row] += maps[0, 0].mean((1, 2))
    means = [(sums[0] / len(queries)).reshape(2, 2, 6), (sums[1] / len(supports)).reshape(2, 2, 6)]
    centered = [(side - side.mean((0, 1))).double().numpy() for side in means]  # each side at its own mean
    expected = project_plane(*centered)
    _, after = episode_planes(network, episode)
    assert after is not None
    np.testing.assert_allclose(after.support, expected.support, atol=1e-5)
    np.testing.assert_allclose(after.query, expected.query, atol=1e-5)


@pytest.mark.parametrize("method", ["lwfm", "lwfm, no aux", "helix_lwfm"])
def test_after_matching_points_are_finite_and_reproducible(untrained: Make, method: str) -> None:
    task = untrained(METHODS[method])
    network, episodes = task.judged()
    episode = inspect_episode(network, task.worker.feed.test, episodes, 1)
    _, first = episode_planes(network, episode)
    _, second = episode_planes(network, episode)
    assert first is not None
    assert second is not None
    assert np.isfinite(first.query).all()
    assert (first.query == second.query).all()
    assert (first.support == second.support).all()
