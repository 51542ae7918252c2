"""The pairs of the released HelixFormer, against its concatenation written out by names."""

import pytest
import torch

from raysearch.models.fewshot_heads import HelixHead
from raysearch.models.helix.shot_pairs import every_support, joined_shots
from raysearch.models.helixformer import HelixFormer
from raysearch.models.relation import RelationHead

QUERIES, WAYS, CHANNELS, SIDE = 2, 3, 2, 4


def labeled(shots: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps of one number each: 100 w + k for support k of way w, and 1000 (q + 1) + 100 w + k for query q beside it."""
    supports = torch.tensor([100 * way + shot for way in range(WAYS) for shot in range(shots)])
    support = supports.expand(1, QUERIES, -1).clone()
    query = support + 1000 * torch.arange(1, QUERIES + 1)[None, :, None]
    return tuple(maps.double()[..., None, None, None].expand(1, -1, -1, 1, 1, 1) for maps in (support, query))  # type: ignore[return-value]


def test_five_shots_are_joined_as_the_released_program_does() -> None:
    first, second = joined_shots(*labeled(5), 5)
    assert first.shape == second.shape == (1, QUERIES, WAYS * 5, 1, 1, 1)
    for query in range(QUERIES):
        for way in range(WAYS):
            pairs = [
                (int(a), int(b))
                for a, b in zip(
                    first[0, query, 5 * way : 5 * way + 5].flatten(),
                    second[0, query, 5 * way : 5 * way + 5].flatten(),
                    strict=True,
                )
            ]
            s = [100 * way + shot for shot in range(5)]
            q = [1000 * (query + 1) + shot for shot in s]
            assert pairs == [(s[0], s[1]), (s[2], s[3]), (s[4], q[0]), (q[1], q[2]), (q[3], q[4])]


@pytest.mark.parametrize("shots", [1, 2, 3, 5])
def test_logits_are_those_of_a_concatenation_along_the_shots(shots: int) -> None:
    torch.manual_seed(0)
    helix = HelixFormer(CHANNELS, dim_head=2).double()
    relation = RelationHead(CHANNELS, SIDE).double()
    support = torch.randn(1, WAYS, shots, CHANNELS, SIDE, SIDE, dtype=torch.float64)
    query = torch.randn(1, QUERIES, CHANNELS, SIDE, SIDE, dtype=torch.float64)
    released, paper = (HelixHead(helix, relation, pairs_at_once=2, pairs=pairs).eval() for pairs in ("joined", "each"))
    with torch.no_grad():
        new_support, new_query = helix(support.flatten(1, 2), query)
        # (Q, W, K, C, h, w), concatenated along K and read as pairs of 2 C channels
        sides = [maps[0].unflatten(1, (WAYS, shots)) for maps in (new_support, new_query)]
        pairs = torch.cat(sides, dim=2).reshape(QUERIES * WAYS * shots, 2 * CHANNELS, SIDE, SIDE)
        expected = [float(relation(pair[None, None, :CHANNELS], pair[None, None, CHANNELS:])) for pair in pairs]
        by_loop = torch.tensor(expected, dtype=torch.float64).view(QUERIES, WAYS, shots).mean(-1)
        logits = released([support], [query]).logits[0]
        torch.testing.assert_close(logits, by_loop)
        same = torch.allclose(logits, paper([support], [query]).logits[0])
        assert same == (shots == 1)
        released.train()
        relation.eval()  # its running statistics, as above
        helix.eval()
        torch.testing.assert_close(released([support], [query]).logits[0], by_loop)


def test_the_papers_pairs_are_left_as_they_are() -> None:
    support, query = labeled(2)
    assert every_support(support, query, 2) == (support, query)
