"""HelixFormer's attention between two images, written once more with loops over positions."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from raysearch.inspection.cross_attention import MARKS, helix_of, looks
from raysearch.models.helixformer import HelixFormer

from ..models.helix_reference import Reference
from ..tasks.fewshot.fewshot_runs import METHODS
from .fewshot_tasks import Make


def slow_attention(helix: HelixFormer, asking: str, pair: dict[str, Tensor], heads: int, stride: int) -> np.ndarray:
    """Of a symmetric layer: (H, W, h, w), the mean over heads."""
    reference = Reference(helix.state_dict(), 1, heads, "sym", "mul", True, True, stride, training=False)
    other = "query" if asking == "support" else "support"
    normed = {
        side: reference.norm(f"layers.0.{side}_norm", reference.embed(f"{side}_embedding", x))
        for side, x in pair.items()
    }
    (e,) = reference.project(f"layers.0.{asking}.mining.ask", [normed[asking]], 1)
    (answers,) = reference.project(f"layers.0.{asking}.mining.answer", [normed[other]], stride)
    keys = answers[: len(e)]
    size = len(e) // heads
    (_, height, width), (_, rows, columns) = e.shape, keys.shape
    found = np.zeros((height, width, rows, columns))
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        for i in range(height):
            for j in range(width):
                scores = [
                    [math.exp(float(e[part, i, j] @ keys[part, k, l]) / math.sqrt(size)) for l in range(columns)]
                    for k in range(rows)
                ]
                found[i, j] += np.array(scores) / np.sum(scores) / heads
    return found


@pytest.mark.parametrize("stride", [1, 2])
def test_both_directions_by_loops(stride: int) -> None:
    torch.manual_seed(3)
    helix = HelixFormer(6, heads=2, dim_head=3, kv_stride=stride).double().eval()
    pair = {"support": torch.randn(6, 4, 5).double(), "query": torch.randn(6, 4, 5).double()}
    found = looks(helix, pair["support"], pair["query"])
    assert [one.asking for one in found] == ["support", "query"]
    for one in found:
        slow = slow_attention(helix, one.asking, pair, 2, stride)
        np.testing.assert_allclose(one.received, slow.reshape(-1, *slow.shape[2:]).mean(0), rtol=1e-6)
        assert one.received.sum() == pytest.approx(1)
        assert one.peak == pytest.approx(slow.mean((0, 1)).max() * slow[0, 0].size)
        for (down, across), centre, heat in zip(MARKS, one.marks, one.from_marks, strict=True):
            place = math.floor(down * 4), math.floor(across * 5)
            assert centre == pytest.approx(((place[0] + 0.5) / 4, (place[1] + 0.5) / 5))
            np.testing.assert_allclose(heat, slow[place], rtol=1e-6)
            assert heat.sum() == pytest.approx(1)


def test_one_way_designs_have_one_direction_and_others_none() -> None:
    pair = torch.randn(2, 6, 4, 4)
    assert [one.asking for one in looks(HelixFormer(6, dim_head=2, design="q2s").eval(), *pair)] == ["support"]
    assert [one.asking for one in looks(HelixFormer(6, dim_head=2, design="s2q").eval(), *pair)] == ["query"]
    assert looks(HelixFormer(6, rmp=False).eval(), *pair) == ()
    assert looks(HelixFormer(6, depth=0).eval(), *pair, layer=-1) == ()


def test_which_comparers_attend(untrained: Make) -> None:
    attending = {name for name, method in METHODS.items() if helix_of(untrained(method).network.head) is not None}
    assert attending == {"helixformer", "helixformer, cosine", "helix_lwfm"}
