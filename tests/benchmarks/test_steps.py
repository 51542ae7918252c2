"""The benchmarks of losses, masks and training steps, as `--quick` runs them."""

import json
import sys

import adsh
import pytest
import srem
import torch
import train_step
from baselines.step_baselines import PAPER, build_networks, loop_masks

from raysearch.models.srem import erase_mask


def quick(script, monkeypatch, capsys):
    """The figures in the last line of a quick run, whose lines before are a table."""
    monkeypatch.setattr(sys, "argv", [script.__name__, "--quick"])
    script.main()
    *table, last = capsys.readouterr().out.strip().splitlines()
    assert len(table) > 2
    return json.loads(last)


pytestmark = pytest.mark.usefixtures("one_thread")


def test_code_updates(monkeypatch, capsys):
    figures = quick(adsh, monkeypatch, capsys)
    assert next(iter(figures)) == "seconds_ratio"
    assert figures["seconds_ratio_lowest"] <= figures["seconds_ratio"] <= figures["seconds_ratio_highest"]
    assert figures["rows_that_differ_beyond_rounding"] == 0
    assert figures["seconds_ratio"] > 5


def test_another_code_is_not_a_rounding_error():
    problem = adsh.draw_problem(adsh.Size(404, 50, 8, 101), torch.float32)
    plain = adsh.plain_update(problem, 8)
    wrong = plain.clone()
    wrong[7, 3] *= -1
    assert adsh.differing(problem, plain, plain, 8) == (0, 0)
    assert adsh.differing(problem, plain, wrong, 8) == (1, 1)
    assert adsh.differing(problem, plain, wrong, 3) == (0, 0)


def test_masks(monkeypatch, capsys):
    figures = quick(srem, monkeypatch, capsys)
    assert next(iter(figures)) == "seconds_ratio"
    assert {len(seconds) for seconds in figures["seconds"].values()} == {3}


def test_the_loop_gives_the_masks():
    features = torch.randn(3, 4, 7, 7, generator=torch.Generator().manual_seed(1))
    assert torch.equal(loop_masks(features, 56, 20, 9), erase_mask(features, (56, 56), 20, 9))


def test_training_steps(monkeypatch, capsys):
    figures = quick(train_step, monkeypatch, capsys)
    assert list(figures)[::3][:2] == ["raysearch_over_written", "raysearch_over_bare"]
    assert 0 < figures["srem_share_of_step"] < 1
    assert set(figures["ways"]) == {"raysearch", "computation", "written", "three passes", "bare"}
    for implementation in figures["ways"].values():
        assert implementation["images_per_second"] > 0
        assert implementation["share_of_peak"] > 0


def test_networks_of_the_paper_are_the_same_and_need_what_is_published():
    ours, written, _, bare = build_networks(PAPER).values()
    count = [sum(parameter.numel() for parameter in network.parameters()) for network in (ours, written)]
    assert count[0] == count[1]
    assert sum(parameter.numel() for parameter in bare.parameters()) == count[0] + 2049 * (101 - 48)
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert torch.allclose(ours.eval()(images).z, written.eval()(images)[0], rtol=1e-4)
    # torchvision: 4.089 giga multiply-adds with its classifier of 1,000 classes.
    expected = 3 * 2 * (4.089e9 - 2048 * 1000)
    assert train_step.flops_of_training(PAPER) == pytest.approx(expected, rel=1e-3)
