"""HelixFormer's attention between two images against a second implementation with loops over positions."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from raysearch.inspection.image_pairs import MARKS, find_helix, pair_attention
from raysearch.models.helixformer import HelixFormer

from ..models.helix_reference import Reference
from ..tasks.fewshot.fewshot_runs import METHODS
from .fewshot_tasks import Make


def slow_attention(helix: HelixFormer, source: str, pair: dict[str, Tensor], heads: int, stride: int) -> np.ndarray:
    """Compute the attention of a symmetric layer: (H, W, h, w), the mean over heads."""
    reference = Reference(helix.state_dict(), 1, heads, "sym", "mul", True, True, stride, training=False)
    target = "query" if source == "support" else "support"
    normed = {
        side: reference.norm(f"layers.0.{side}_norm", reference.embed(f"{side}_embedding", x))
        for side, x in pair.items()
    }
    (projected,) = reference.project(f"layers.0.{source}.mining.ask", [normed[source]], 1)
    (answers,) = reference.project(f"layers.0.{source}.mining.answer", [normed[target]], stride)
    keys = answers[: len(projected)]
    size = len(projected) // heads
    _, height, width = projected.shape
    _, rows, columns = keys.shape
    attention = np.zeros((height, width, rows, columns))
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        for i in range(height):
            for j in range(width):
                scores = [
                    [
                        math.exp(float(projected[part, i, j] @ keys[part, k, l]) / math.sqrt(size))
                        for l in range(columns)
                    ]
                    for k in range(rows)
                ]
                attention[i, j] += np.array(scores) / np.sum(scores) / heads
    return attention


@pytest.mark.parametrize("stride", [1, 2])
def test_both_directions_by_loops(stride: int) -> None:
    torch.manual_seed(3)
    helix = HelixFormer(6, heads=2, dim_head=3, kv_stride=stride).double().eval()
    pair = {"support": torch.randn(6, 4, 5).double(), "query": torch.randn(6, 4, 5).double()}
    directions = pair_attention(helix, pair["support"], pair["query"])
    assert [direction.source for direction in directions] == ["support", "query"]
    for direction in directions:
        slow = slow_attention(helix, direction.source, pair, 2, stride)
        np.testing.assert_allclose(direction.received, slow.reshape(-1, *slow.shape[2:]).mean(0), rtol=1e-6)
        assert direction.received.sum() == pytest.approx(1)
        assert direction.peak == pytest.approx(slow.mean((0, 1)).max() * slow[0, 0].size)
        for (down, across), center, heat in zip(MARKS, direction.marks, direction.from_marks, strict=True):
            row = math.floor(down * 4)
            column = math.floor(across * 5)
            assert center == pytest.approx(((row + 0.5) / 4, (column + 0.5) / 5))
            np.testing.assert_allclose(heat, slow[row, column], rtol=1e-6)
            assert heat.sum() == pytest.approx(1)


def test_one_way_designs_have_one_direction_and_others_none() -> None:
    pair = torch.randn(2, 6, 4, 4)
    for design, sources in (("q2s", ["support"]), ("s2q", ["query"])):
        directions = pair_attention(HelixFormer(6, dim_head=2, design=design).eval(), *pair)  # type: ignore[arg-type]
        assert [direction.source for direction in directions] == sources
    assert pair_attention(HelixFormer(6, rmp=False).eval(), *pair) == ()
    assert pair_attention(HelixFormer(6, depth=0).eval(), *pair, layer=-1) == ()


def test_heads_with_a_helixformer_are_recognized(untrained: Make) -> None:
    attending = {name for name, method in METHODS.items() if find_helix(untrained(method).network.head) is not None}
    assert attending == {"helixformer", "helixformer, cosine", "helix_lwfm"}
