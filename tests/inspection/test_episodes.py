"""Episodes passed through a network: the predictions equal those of the evaluation, image by image."""

import json

import numpy as np
import pytest
import torch

from raysearch.inspection.episodes import EpisodePredictions, changed_episodes, inspect_episode, most_different_episodes
from raysearch.models.fewshot import Layout

from ..tasks.fewshot.fewshot_runs import METHODS
from .fewshot_tasks import Make


@pytest.mark.parametrize("method", METHODS)
def test_as_many_queries_are_correct_as_the_evaluation_counted(untrained: Make, method: str) -> None:
    task = untrained(METHODS[method])
    recorded = json.loads(task.evaluate()["right_by_episode"])
    network, episodes = task.judged()
    test = task.worker.feed.test
    predictions = [inspect_episode(network, test, episodes, index).predictions for index in range(9)]
    assert [int(episode.correct.sum()) for episode in predictions] == recorded
    assert len(set(recorded)) > 1, "all episodes came out alike, which would prove little"
    assert changed_episodes(predictions, recorded) == {}
    altered = [*recorded[:3], recorded[3] + 1, *recorded[4:]]
    assert changed_episodes(predictions, altered) == {3: (recorded[3], recorded[3] + 1)}


@pytest.mark.parametrize("method", ["relation", "helixformer", "lwfm", "helix_lwfm"])
def test_logits_are_those_of_the_whole_network(untrained: Make, method: str) -> None:
    task = untrained(METHODS[method])
    network, episodes = task.judged()
    test = task.worker.feed.test
    predictions = inspect_episode(network, test, episodes, 4).predictions
    support, query = episodes.draw(4)
    assert (predictions.support == support).all()
    assert (predictions.query == query).all()
    rows = torch.from_numpy(np.concatenate([support.ravel(), query.ravel()]))
    with torch.no_grad():
        output = network(test.batch(rows, torch.device("cpu")), Layout(1, 2, 2, 4))
    np.testing.assert_allclose(predictions.logits.reshape(4, 2), output.logits[0].numpy(), rtol=1e-4, atol=1e-5)
    assert (predictions.classes[:, None] == test.labels[support]).all()
    assert (predictions.classes[:, None] == test.labels[query]).all()


def test_predictions_and_rivals() -> None:
    logits = np.array([[[2.0, 0.0, 1.0]], [[3.0, 1.0, 0.0]], [[0.0, 4.0, 5.0]]])
    rows = np.zeros((3, 1), int)
    predictions = EpisodePredictions(0, rows, rows, np.arange(3), logits)
    assert predictions.predicted.tolist() == [[0], [0], [2]]
    assert predictions.correct.tolist() == [[True], [False], [True]]
    assert [predictions.rival(way, 0) for way in range(3)] == [2, 0, 1]
    for way, row in enumerate(logits[:, 0]):
        powers = [float(np.exp(x)) for x in row]
        assert predictions.scores[way, 0].tolist() == pytest.approx([power / sum(powers) for power in powers])


def test_most_different_both_ways_first_of_equals() -> None:
    variant = [5, 9, 4, 9, 1, 3]
    reference = [5, 4, 6, 4, 3, 2]
    assert most_different_episodes(variant, reference, 2) == ([(1, 5), (3, 5)], [(2, -2), (4, -2)])
    assert most_different_episodes([3, 2], [3, 1], 2) == ([(1, 1)], [])
