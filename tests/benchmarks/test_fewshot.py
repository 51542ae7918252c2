"""The benchmark of few-shot episodes: its usual way is the same method, and a quick run ends with its figures."""

import json
import sys

import fewshot as benchmark
import pytest
import torch
from pairwise import cases

CPU = torch.device("cpu")
SMALL = [
    cases.Case(method, backbone, shots, queries=1, side=32)
    for method in ("helix", "lwfm")
    for backbone, shots in (("conv4", 2), ("resnet12", 1))
]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.name)
def test_both_ways_say_the_same(case):
    both, episode = cases.networks(case, CPU), cases.draw(case, CPU)
    store = cases.store_of(both["raysearch"], episode)
    usual, ours = cases.judge(both["usual"], episode), cases.judge_stored(both["raysearch"], store, episode)
    assert usual.std() > 10 * cases.TOLERANCE
    assert cases.apart(usual, ours) < cases.TOLERANCE / 10
    assert benchmark.disagreement(both, episode) < cases.TOLERANCE


def test_both_ways_learn_the_same():
    case = SMALL[0]
    both, episode = cases.networks(case, CPU), cases.draw(case, CPU)
    slopes = []
    for network in both.values():
        cases.train(network.double(), episode._replace(ready=episode.ready.double()))
        slopes.append({name: one.grad for name, one in network.named_parameters()})
    assert slopes[0].keys() == slopes[1].keys()
    largest = max(slope.abs().max() for slope in slopes[0].values())
    for name, slope in slopes[0].items():
        torch.testing.assert_close(slope, slopes[1][name], rtol=1e-6, atol=1e-9 * largest.item(), msg=name)


def test_sides_that_differ_end_the_script(monkeypatch):
    monkeypatch.setattr(benchmark, "TOLERANCE", -1.0)
    with pytest.raises(SystemExit, match="apart by"):
        benchmark.pair_stage(2, 8, 1, CPU)
    with pytest.raises(SystemExit, match="helix_conv4_2shot: logits"):
        benchmark.speeds(SMALL[0], 1, CPU)


@pytest.mark.slow
def test_a_quick_run_ends_with_its_figures(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [benchmark.__file__, "--quick", "--turns", "1"])
    benchmark.main()
    *table, last = capsys.readouterr().out.splitlines()
    figures = json.loads(last)
    assert list(figures)[:3] == ["helix_eval_speed", "helix_eval_memory", "lwfm_pair_speed"]
    assert len(table) > 5
    assert all(
        figures[f"{name}_conv4_1shot_{phase}_speed"] > 0 for name in ("helix", "lwfm") for phase in ("eval", "train")
    )
    assert figures["assign_speed"] > 0
    first = figures["cases"]["helix_conv4_1shot"]
    assert figures["helix_eval_memory"] == first["eval_bytes"]["usual"] / max(1, first["eval_bytes"]["raysearch"])
