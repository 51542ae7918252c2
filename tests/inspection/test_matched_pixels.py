"""Matched pixels: what scipy assigns by plain cosines, and scores that add up to the network's logits."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from raysearch.inspection.matched_pixels import compared_maps, compared_vectors, matching, metric_of
from raysearch.models.lwfm import LayerwiseMatching

from ..tasks.fewshot.fewshot_runs import METHODS
from .fewshot_tasks import Make

CHANNELS = (5, 7)


def maps(seed: int, grid: int = 3) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(channels, grid, grid, generator=draw, dtype=torch.float64) for channels in CHANNELS]


def metric(**options: Any) -> LayerwiseMatching:
    torch.manual_seed(1)
    return LayerwiseMatching(CHANNELS, **options).double().eval()


def cosines(support: list[torch.Tensor], query: list[torch.Tensor], layer: int) -> np.ndarray:
    """Of centred pixels, one after the other."""
    sides = []
    for layers in (support, query):
        flat = np.concatenate([one.flatten(1).numpy() for one in layers])
        centred = flat - flat.mean(0)
        at = sum(CHANNELS[:layer])
        sides.append(centred[at : at + CHANNELS[layer]].T)
    return np.array([[s @ q / np.sqrt((s @ s) * (q @ q)) for q in sides[1]] for s in sides[0]])


@pytest.mark.parametrize("layers", ["max", "mean"])
@pytest.mark.parametrize(("reduce", "k"), [("top1", 1), ("topk", 3), ("mean", 9)])
def test_lines_are_scipys_assignment(reduce: str, k: int, layers: str) -> None:
    support, query = maps(0), maps(1)
    options: dict[str, Any] = {"reduce": reduce, "k": 3, "layers": layers, "residual": False}
    found = matching(metric(**options), support, query)
    assert found is not None
    scores = []
    for at, one in enumerate(found.layers):
        table = cosines(support, query, at)
        rows, columns = linear_sum_assignment(1 - table)
        assert one.pixels.tolist() == [list(pair) for pair in zip(rows.tolist(), columns.tolist(), strict=True)]
        np.testing.assert_allclose(one.similarity, table[rows, columns], rtol=1e-9)
        best = sorted(range(9), key=lambda at: -table[rows[at], columns[at]])[:k]
        assert sorted(np.flatnonzero(one.counted).tolist()) == sorted(best)
        assert one.score == pytest.approx(np.mean(sorted(table[rows, columns])[-k:]))
        scores.append(one.score)
    assert found.score == pytest.approx(max(scores) if layers == "max" else np.mean(scores))
    decisive = [score == max(scores) or layers == "mean" for score in scores]
    assert [one.decides for one in found.layers] == decisive


def test_other_matchers_join_what_they_take_together() -> None:
    support, query = maps(2), maps(3)
    tables = [cosines(support, query, at) for at in range(2)]
    near, mutual, plan = (matching(metric(matcher=name), support, query) for name in ("nearest", "mutual", "sinkhorn"))
    assert near is not None
    assert mutual is not None
    assert plan is not None
    for table, one, two, three in zip(tables, near.layers, mutual.layers, plan.layers, strict=True):
        assert one.pixels.tolist() == [[int(table[:, j].argmax()), j] for j in range(9)]
        both = [[i, j] for i in range(9) for j in range(9) if table[i].argmax() == j and table[:, j].argmax() == i]
        assert two.pixels.tolist() == both
        assert len(both) < 9
        assert three.pixels[:, 0].tolist() == list(range(9))
        assert np.mean(three.pixels[:, 1] == linear_sum_assignment(1 - table)[1]) > 0.5


@pytest.mark.parametrize("lwe", [True, False])
@pytest.mark.parametrize("matcher", ["hungarian", "nearest", "mutual", "sinkhorn"])
def test_parts_add_up_to_the_logit(matcher: str, lwe: bool) -> None:
    asked = metric(matcher=matcher, lwe=lwe, weight=0.7, tau=0.3, temperature=0.6)
    support, query = maps(4), maps(5)
    logit = asked([one[None, None, None] for one in support], [one[None, None] for one in query]).logits.item()
    found = matching(asked, support, query)
    assert found is not None
    assert (found.whole + found.weight * found.score) / 0.3 == pytest.approx(logit)
    if matcher == "hungarian":  # with one match that counts, the vectors hold all of it
        of_support, of_query = compared_vectors(asked, support, query)
        assert float(of_support @ of_query) / 0.3 == pytest.approx(logit)
    for one in found.layers:
        for weights in one.weights:
            assert weights.mean() == pytest.approx(1)
            assert (np.ptp(weights) > 0.01) == lwe


def test_without_matching_there_is_nothing_to_draw() -> None:
    assert matching(metric(weight=0.0), maps(0), maps(1)) is None


def test_of_helixformers_pairs_the_maps_that_it_makes(untrained: Make) -> None:
    task = untrained(METHODS["helix_lwfm"], {"episodes.shots": 1, "episodes.queries": 1})
    comparer = task.network.eval().head
    support, query = torch.randn(1, 2, 1, 6, 4, 4), torch.randn(1, 2, 6, 4, 4)
    with torch.no_grad():
        logits = comparer([support], [query]).logits[0]
    asked = metric_of(comparer)
    assert asked is not None
    for n in range(2):
        for way in range(2):
            found = matching(asked, *compared_maps(comparer, [support[0, way, 0]], [query[0, n]]))
            assert found is not None
            assert (found.whole + found.weight * found.score) / asked.tau == pytest.approx(
                logits[n, way].item(), abs=1e-5
            )
