"""`Adaptive` as the seeds of a study: plain values, one line per mistake, and the seeds of the plan."""

import numpy as np
import pytest

import raysearch
from raysearch import Ablation, Adaptive, factor
from raysearch.core import UserError
from raysearch.studies.design import plan_ablation


def ablation(seeds) -> Ablation:
    return Ablation("How many?", "retrieval", {"srem.regions": 50}, [factor("srem.regions", 0)], seeds=seeds)


def test_an_adaptive_study_plans_the_seeds_of_its_last_look():
    study = ablation(Adaptive(looks=(3, 5, 8)))
    assert study.seed_list() == list(range(8))
    assert study.only({"srem.regions": [0]}).seeds == Adaptive(looks=(3, 5, 8))
    assert len(plan_ablation("study", study, "laptop", "").cells) == 16


def test_values_become_plain():
    adaptive = Adaptive(looks=list(np.array([3, 9])), margin=np.float32(0.5))
    assert adaptive == Adaptive(looks=(3, 9), margin=0.5)
    assert type(adaptive.looks[0]) is int
    assert Adaptive().looks == (3, 5, 8, 12, 20)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"looks": (3, 2)}, "looks must rise, but 2 follows 3"),
        ({"looks": (1, 2)}, "the first look has 1"),
        ({"looks": 5}, "looks"),
        ({"looks": (3, 20_000)}, "at most 10,000 seeds"),
        ({"margin": -0.1}, "margin is a difference of the metric above 0, not -0.1"),
        ({"margin": "small"}, "margin is a difference"),
        ({"margin": float("inf")}, "margin is a difference"),
    ],
)
def test_a_mistake_is_one_line(given, message):
    with pytest.raises(UserError, match=message) as caught:
        Adaptive(**given)
    assert len(caught.value.messages) == 1
    assert "\n" not in str(caught.value)


def test_several_mistakes_are_reported_together():
    with pytest.raises(UserError) as caught:
        Adaptive(looks=(2,), margin=0)
    assert len(caught.value.messages) == 2


def test_a_search_has_no_adaptive_seeds():
    with pytest.raises(UserError, match="seeds"):
        raysearch.Search("Which?", "retrieval", {"train.lr": 0.1}, {}, seeds=Adaptive())
