"""The benchmark of few-shot episodes: its usual implementation is the same method, and a quick run prints figures."""

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
def test_both_implementations_give_the_same_logits(case):
    networks = cases.build_networks(case, CPU)
    episode = cases.draw_episode(case, CPU)
    store = cases.build_store(networks["raysearch"], episode)
    usual = cases.evaluate_images(networks["usual"], episode)
    ours = cases.evaluate_stored(networks["raysearch"], store, episode)
    assert usual.std() > 10 * cases.TOLERANCE
    assert cases.largest_difference(usual, ours) < cases.TOLERANCE / 10
    assert benchmark.disagreement(networks, episode) < cases.TOLERANCE


def test_both_implementations_have_the_same_gradients():
    case = SMALL[0]
    networks = cases.build_networks(case, CPU)
    episode = cases.draw_episode(case, CPU)
    gradients = []
    for network in networks.values():
        cases.train_step(network.double(), episode._replace(ready=episode.ready.double()))
        gradients.append({name: parameter.grad for name, parameter in network.named_parameters()})
    assert gradients[0].keys() == gradients[1].keys()
    largest = max(gradient.abs().max() for gradient in gradients[0].values())
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-6, atol=1e-9 * largest.item(), msg=name)


def test_sides_that_differ_end_the_script(monkeypatch):
    monkeypatch.setattr(benchmark, "TOLERANCE", -1.0)
    with pytest.raises(SystemExit, match="differ by"):
        benchmark.time_pairs(2, 8, 1, CPU)
    with pytest.raises(SystemExit, match="helix_conv4_2shot: logits"):
        benchmark.time_case(SMALL[0], 1, CPU)


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
