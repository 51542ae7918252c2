"""Matched pixels equal scipy's assignment by plain cosines, and their scores add up to the network's logits."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from raysearch.inspection.image_pairs import compared_maps, compared_vectors, find_metric, match_pixels
from raysearch.models.lwfm import LayerwiseMatching

from ..tasks.fewshot.fewshot_runs import METHODS
from .fewshot_tasks import Make

CHANNELS = (5, 7)


def maps(seed: int, grid: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(channels, grid, grid, generator=generator, dtype=torch.float64) for channels in CHANNELS]


def metric(**options: Any) -> LayerwiseMatching:
    torch.manual_seed(1)
    return LayerwiseMatching(CHANNELS, **options).double().eval()


def cosines(support: list[torch.Tensor], query: list[torch.Tensor], layer: int) -> np.ndarray:
    """Compute cosines of centered pixels, pair by pair."""
    sides = []
    for layers in (support, query):
        flat = np.concatenate([maps.flatten(1).numpy() for maps in layers])
        centered = flat - flat.mean(0)
        start = sum(CHANNELS[:layer])
        sides.append(centered[start : start + CHANNELS[layer]].T)
    return np.array([[s @ q / np.sqrt((s @ s) * (q @ q)) for q in sides[1]] for s in sides[0]])


@pytest.mark.parametrize("layers", ["max", "mean"])
@pytest.mark.parametrize(("reduce", "k"), [("top1", 1), ("topk", 3), ("mean", 9)])
def test_lines_are_scipys_assignment(reduce: str, k: int, layers: str) -> None:
    support = maps(0)
    query = maps(1)
    options: dict[str, Any] = {"reduce": reduce, "k": 3, "layers": layers, "residual": False}
    matching = match_pixels(metric(**options), support, query)
    assert matching is not None
    scores = []
    for index, layer in enumerate(matching.layers):
        table = cosines(support, query, index)
        rows, columns = linear_sum_assignment(1 - table)
        assert layer.pixels.tolist() == [list(pair) for pair in zip(rows.tolist(), columns.tolist(), strict=True)]
        np.testing.assert_allclose(layer.similarity, table[rows, columns], rtol=1e-9)
        best = sorted(range(9), key=lambda row: -table[rows[row], columns[row]])[:k]
        assert sorted(np.flatnonzero(layer.counted).tolist()) == sorted(best)
        assert layer.score == pytest.approx(np.mean(sorted(table[rows, columns])[-k:]))
        scores.append(layer.score)
    assert matching.score == pytest.approx(max(scores) if layers == "max" else np.mean(scores))
    deciding = [score == max(scores) or layers == "mean" for score in scores]
    assert [layer.decides for layer in matching.layers] == deciding


def test_other_matchers_pair_the_pixels_that_they_match() -> None:
    support = maps(2)
    query = maps(3)
    tables = [cosines(support, query, layer) for layer in range(2)]
    matchers = ("nearest", "mutual", "sinkhorn")
    near, mutual, plan = (match_pixels(metric(matcher=name), support, query) for name in matchers)
    assert near is not None
    assert mutual is not None
    assert plan is not None
    for table, nearest, both, heaviest in zip(tables, near.layers, mutual.layers, plan.layers, strict=True):
        assert nearest.pixels.tolist() == [[int(table[:, j].argmax()), j] for j in range(9)]
        expected = [[i, j] for i in range(9) for j in range(9) if table[i].argmax() == j and table[:, j].argmax() == i]
        assert both.pixels.tolist() == expected
        assert len(expected) < 9
        assert heaviest.pixels[:, 0].tolist() == list(range(9))
        assert np.mean(heaviest.pixels[:, 1] == linear_sum_assignment(1 - table)[1]) > 0.5


@pytest.mark.parametrize("lwe", [True, False])
@pytest.mark.parametrize("matcher", ["hungarian", "nearest", "mutual", "sinkhorn"])
def test_parts_add_up_to_the_logit(matcher: str, lwe: bool) -> None:
    lwfm = metric(matcher=matcher, lwe=lwe, weight=0.7, tau=0.3, temperature=0.6)
    support = maps(4)
    query = maps(5)
    output = lwfm([tap[None, None, None] for tap in support], [tap[None, None] for tap in query])
    logit = output.logits.item()
    matching = match_pixels(lwfm, support, query)
    assert matching is not None
    assert (matching.whole + matching.weight * matching.score) / 0.3 == pytest.approx(logit)
    if matcher == "hungarian":  # with one counted match, the vectors contain all of the logit
        support_vector, query_vector = compared_vectors(lwfm, support, query)
        assert float(support_vector @ query_vector) / 0.3 == pytest.approx(logit)
    for layer in matching.layers:
        for weights in layer.weights:
            assert weights.mean() == pytest.approx(1)
            assert (np.ptp(weights) > 0.01) == lwe


def test_a_metric_without_matching_has_no_matches() -> None:
    assert match_pixels(metric(weight=0.0), maps(0), maps(1)) is None


def test_under_helixformer_its_own_maps_are_matched(untrained: Make) -> None:
    task = untrained(METHODS["helix_lwfm"], {"episodes.shots": 1, "episodes.queries": 1})
    head = task.network.eval().head
    support = torch.randn(1, 2, 1, 6, 4, 4)
    query = torch.randn(1, 2, 6, 4, 4)
    with torch.no_grad():
        logits = head([support], [query]).logits[0]
    lwfm = find_metric(head)
    assert lwfm is not None
    for n in range(2):
        for way in range(2):
            matching = match_pixels(lwfm, *compared_maps(head, [support[0, way, 0]], [query[0, n]]))
            assert matching is not None
            assert (matching.whole + matching.weight * matching.score) / lwfm.tau == pytest.approx(
                logits[n, way].item(), abs=1e-5
            )
