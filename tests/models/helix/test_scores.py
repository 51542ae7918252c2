"""Scores in chunks are the scores of all pairs at once, in less memory."""

import pytest
import torch

from raysearch.models.helix.designs import DESIGNS
from raysearch.models.helix.scores import relation_scores
from raysearch.models.helixformer import HelixFormer
from raysearch.models.relation import CosineHead, RelationHead

from ..allocations import LargestAllocation


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("options", [{}, {"depth": 2, "kv_stride": 2}, {"depth": 0}, {"rmp": False}])
def test_any_chunk(design: str, options: dict[str, int]) -> None:
    torch.manual_seed(0)
    helix = HelixFormer(6, dim_head=4, design=design, **options).double()  # type: ignore[arg-type]
    head, cosine = RelationHead(6, 5).double(), CosineHead().double()
    support, query = (torch.randn(2, n, 6, 5, 5, dtype=torch.float64) for n in (4, 7))
    head(*helix(support, query))  # running statistics that differ from where they start
    helix.eval(), head.eval(), cosine.eval()
    for each in (head, cosine):
        with torch.no_grad():
            expected = each(*helix(support, query))
        assert expected.std() > 0
        for chunk in (1, 4, 9, 12, 28, 1000):
            got = relation_scores(helix, each, support, query, chunk)
            torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(relation_scores(helix, each, support[1], query[1]), expected[1])


def test_memory_follows_the_chunk() -> None:
    helix, head = HelixFormer(4, dim_head=2).eval(), RelationHead(4, 8).eval()
    support, query = torch.randn(5, 4, 8, 8), torch.randn(60, 4, 8, 8)
    largest = {}
    for chunk in (20, 300):
        with LargestAllocation() as memory:
            relation_scores(helix, head, support, query, chunk)
        largest[chunk] = memory.largest
    assert largest[300] == 300 * 64 * 16 * 4  # the hidden layer of all pairs' enhancement
    assert largest[20] < largest[300] / 5


def test_training_mode_is_refused() -> None:
    images = torch.randn(2, 4, 5, 5), torch.randn(3, 4, 5, 5)
    with pytest.raises(ValueError, match="eval mode"):
        relation_scores(HelixFormer(4), RelationHead(4, 5).eval(), *images)
    with pytest.raises(ValueError, match="eval mode"):
        relation_scores(HelixFormer(4).eval(), RelationHead(4, 5), *images)
