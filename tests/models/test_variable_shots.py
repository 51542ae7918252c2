"""Classes with different numbers of shots get the logits that they have in episodes with as many of each."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from raysearch.models.fewshot import Maps
from raysearch.models.fewshot_heads import CentroidHead, HelixHead, HelixLwfmHead, LwfmHead, RelationNet
from raysearch.models.helixformer import HelixFormer
from raysearch.models.lwfm import LayerwiseMatching, PairMatching
from raysearch.models.relation import CosineHead, RelationHead
from raysearch.models.variable_shots import class_logits

WIDTHS, SIDE = (3, 5), 4
SHOTS = (2, 1, 4, 2, 1)

HEADS: dict[str, Callable[[], nn.Module]] = {
    "centroid": lambda: CentroidHead(),
    "cosine centroid": lambda: CentroidHead("cosine"),
    "relation": lambda: RelationNet(RelationHead(5, SIDE)),
    "relation, cosine": lambda: RelationNet(CosineHead()),
    "helixformer": lambda: HelixHead(HelixFormer(5, heads=2, dim_head=3), RelationHead(5, SIDE), pairs_at_once=3),
    "helixformer, deep": lambda: HelixHead(HelixFormer(5, 2, dim_head=3, design="q_then_s"), CosineHead()),
    "helixformer, one side": lambda: HelixHead(HelixFormer(5, dim_head=3, design="s2q"), RelationHead(5, SIDE)),
    "lwfm": lambda: LwfmHead(LayerwiseMatching(WIDTHS)),
    "lwfm, all matches": lambda: LwfmHead(LayerwiseMatching(WIDTHS, reduce="mean", layers="mean", lwe=False)),
    "lwfm, sinkhorn": lambda: LwfmHead(LayerwiseMatching(WIDTHS, matcher="sinkhorn", residual=False)),
    "helix_lwfm": lambda: HelixLwfmHead(HelixFormer(5, dim_head=3), PairMatching([5], matcher="mutual"), grid=2),
}


def make_head(name: str) -> tuple[nn.Module, list[Maps], Maps]:
    """Return the head in eval mode as after a training, supports of SHOTS, and seven queries."""
    torch.manual_seed(0)
    head = HEADS[name]().double().eval()
    for module in head.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn(5).double()
            module.running_var = torch.rand(5).double() + 0.5
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.5)  # heads start with scores that are next to equal
    widths = WIDTHS if isinstance(head, CentroidHead | LwfmHead) else WIDTHS[1:]
    supports = [[_maps(shots, width) for width in widths] for shots in SHOTS]
    return head, supports, [_maps(7, width) for width in widths]


def _maps(count: int, width: int) -> Tensor:
    return torch.randn(count, width, SIDE, SIDE, dtype=torch.float64)


@pytest.mark.parametrize("name", HEADS)
def test_it_is_an_episode_with_every_support_repeated_to_the_same_number(name: str) -> None:
    """A mean over shots does not change when all shots are repeated equally often."""
    head, supports, query = make_head(name)
    shots = math.lcm(*SHOTS)
    by_tap = zip(*supports, strict=True)
    repeated = [torch.stack([maps.repeat(shots // len(maps), 1, 1, 1) for maps in taps]) for taps in by_tap]
    with torch.no_grad():
        expected = head([tap[None] for tap in repeated], [tap[None] for tap in query]).logits[0]
    assert expected.std(1).min() > 1e-2  # classes that differ, so equal numbers mean something
    torch.testing.assert_close(class_logits(head, supports, query), expected)


@pytest.mark.parametrize("name", HEADS)
def test_with_as_many_shots_a_class_it_is_the_episode_bit_for_bit(name: str) -> None:
    head, supports, query = make_head(name)
    one_shot = [[tap[:1] for tap in maps] for maps in supports]
    with torch.no_grad():
        rectangular = [torch.stack(taps)[None] for taps in zip(*one_shot, strict=True)]
        expected = head(rectangular, [tap[None] for tap in query]).logits[0]
    assert torch.equal(class_logits(head, one_shot, query), expected)


@pytest.mark.parametrize("name", HEADS)
def test_neither_chunks_nor_other_classes_change_a_logit(name: str) -> None:
    head, supports, query = make_head(name)
    expected = class_logits(head, supports, query)
    for pairs in (1, 3, 8):
        torch.testing.assert_close(class_logits(head, supports, query, pairs), expected)
    slow = [[class_logits(head, [maps], [tap[n : n + 1] for tap in query]) for maps in supports] for n in range(7)]
    torch.testing.assert_close(torch.cat([torch.cat(row, dim=1) for row in slow]), expected)


def test_the_number_of_pairs_at_a_time_is_limited() -> None:
    head, supports, query = make_head("centroid")
    pairs: list[int] = []

    def count_pairs(_: nn.Module, inputs: tuple[Maps, Maps]) -> None:
        (support_maps, *_), (query_maps, *_) = inputs
        pairs.append(support_maps.shape[1] * support_maps.shape[2] * query_maps.shape[1])

    head.register_forward_pre_hook(count_pairs)
    class_logits(head, supports, query, 3)
    # Seven queries, one at a time: two classes of 2 shots apart, then both classes of 1 shot, then the one of 4 shots
    assert pairs == [2] * 7 + [2] * 7 + [2] * 7 + [4] * 7


def test_what_cannot_be_compared() -> None:
    head, supports, query = make_head("centroid")
    with pytest.raises(ValueError, match="class 1 has no support"):
        class_logits(head, [supports[0], [tap[:0] for tap in supports[1]]], query)
    with pytest.raises(ValueError, match="eval mode"):
        class_logits(head.train(), supports, query)


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_centroids_compute_in_the_precision_of_the_maps(distance: str) -> None:
    """Distances that differ by less than single precision tell two classes apart."""
    head = CentroidHead(distance).double().eval()
    features = torch.tensor([[1.0, 1e-6], [1.0, 3e-6]], dtype=torch.float64)
    logits = head([features.view(1, 2, 1, 2, 1, 1)], [features.view(1, 2, 2, 1, 1)]).logits
    assert logits.dtype == torch.float64
    if distance == "euclidean":
        assert logits.argmax(-1).tolist() == [[0, 1]]
