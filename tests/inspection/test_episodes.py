"""Episodes in a network: the answers are those of the evaluation, image by image."""

import json

import numpy as np
import pytest
import torch

from raysearch.inspection.episodes import Answers, different, most_different, see
from raysearch.models.fewshot import Layout

from ..tasks.fewshot.fewshot_runs import METHODS
from .fewshot_tasks import Make


@pytest.mark.parametrize("method", METHODS)
def test_as_many_queries_are_right_as_the_evaluation_counted(untrained: Make, method: str) -> None:
    task = untrained(METHODS[method])
    recorded = json.loads(task.evaluate()["right_by_episode"])
    network, drawn = task.judged()
    answers = [see(network, task.worker.feed.test, drawn, index).answers for index in range(9)]
    assert [int(one.right.sum()) for one in answers] == recorded
    assert len(set(recorded)) > 1, "all episodes came out alike, which would prove little"
    assert different(answers, recorded) == {}
    broken = [*recorded[:3], recorded[3] + 1, *recorded[4:]]
    assert different(answers, broken) == {3: (recorded[3], recorded[3] + 1)}


@pytest.mark.parametrize("method", ["relation", "helixformer", "lwfm", "helix_lwfm"])
def test_logits_are_those_of_the_whole_network(untrained: Make, method: str) -> None:
    task = untrained(METHODS[method])
    network, drawn = task.judged()
    test = task.worker.feed.test
    answers = see(network, test, drawn, 4).answers
    support, query = drawn.draw(4)
    assert (answers.support == support).all()
    assert (answers.query == query).all()
    rows = torch.from_numpy(np.concatenate([support.ravel(), query.ravel()]))
    with torch.no_grad():
        found = network(test.batch(rows, torch.device("cpu")), Layout(1, 2, 2, 4)).logits[0]
    np.testing.assert_allclose(answers.logits.reshape(4, 2), found.numpy(), rtol=1e-4, atol=1e-5)
    assert (answers.classes[:, None] == test.labels[support]).all()
    assert (answers.classes[:, None] == test.labels[query]).all()


def test_predictions_and_rivals() -> None:
    logits = np.array([[[2.0, 0.0, 1.0]], [[3.0, 1.0, 0.0]], [[0.0, 4.0, 5.0]]])
    rows = np.zeros((3, 1), int)
    answers = Answers(0, rows, rows, np.arange(3), logits)
    assert answers.predicted.tolist() == [[0], [0], [2]]
    assert answers.right.tolist() == [[True], [False], [True]]
    assert [answers.rival(way, 0) for way in range(3)] == [2, 0, 1]
    for way, row in enumerate(logits[:, 0]):
        powers = [float(np.exp(x)) for x in row]
        assert answers.scores[way, 0].tolist() == pytest.approx([p / sum(powers) for p in powers])


def test_most_different_both_ways_first_of_equals() -> None:
    variant, reference = [5, 9, 4, 9, 1, 3], [5, 4, 6, 4, 3, 2]
    assert most_different(variant, reference, 2) == ([(1, 5), (3, 5)], [(2, -2), (4, -2)])
    assert most_different([3, 2], [3, 1], 2) == ([(1, 1)], [])
