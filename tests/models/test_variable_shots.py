"""Classes with different numbers of shots get the logits that they have in episodes with as many of each."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from raysearch.models import variable_shots
from raysearch.models.fewshot import Maps
from raysearch.models.fewshot_heads import CentroidHead, HelixHead, HelixLwfmHead, LwfmHead, RelationNet
from raysearch.models.helixformer import HelixFormer
from raysearch.models.lwfm import LayerwiseMatching, PairMatching
from raysearch.models.relation import CosineHead, RelationHead
from raysearch.models.variable_shots import class_logits

WIDTHS, SIDE = (3, 5), 4
SHOTS = (2, 1, 4, 2, 1)

COMPARERS: dict[str, Callable[[], nn.Module]] = {
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


def made(name: str) -> tuple[nn.Module, list[Maps], Maps]:
    """The comparer in eval mode as after a training, supports of SHOTS, and seven queries."""
    torch.manual_seed(0)
    comparer = COMPARERS[name]().double().eval()
    for module in comparer.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean, module.running_var = torch.randn(5).double(), torch.rand(5).double() + 0.5
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.5)  # heads start with scores that are next to equal
    widths = WIDTHS if isinstance(comparer, CentroidHead | LwfmHead) else WIDTHS[1:]
    supports = [[_maps(shots, width) for width in widths] for shots in SHOTS]
    return comparer, supports, [_maps(7, width) for width in widths]


def _maps(count: int, width: int) -> Tensor:
    return torch.randn(count, width, SIDE, SIDE, dtype=torch.float64)


@pytest.mark.parametrize("name", COMPARERS)
def test_it_is_an_episode_with_every_support_repeated_to_the_same_number(name: str) -> None:
    """A mean over shots does not see that each of them stands there as often as any other."""
    comparer, supports, query = made(name)
    most, by_tap = math.lcm(*SHOTS), zip(*supports, strict=True)
    repeated = [torch.stack([one.repeat(most // len(one), 1, 1, 1) for one in taps]) for taps in by_tap]
    with torch.no_grad():
        wanted = comparer([tap[None] for tap in repeated], [tap[None] for tap in query]).logits[0]
    assert wanted.std(1).min() > 1e-2  # classes that differ, so that equal numbers say something
    torch.testing.assert_close(class_logits(comparer, supports, query), wanted)


@pytest.mark.parametrize("name", COMPARERS)
def test_with_as_many_shots_a_class_it_is_the_episode_bit_for_bit(name: str) -> None:
    comparer, supports, query = made(name)
    alike = [[tap[:1] for tap in maps] for maps in supports]
    with torch.no_grad():
        rectangular = [torch.stack(taps)[None] for taps in zip(*alike, strict=True)]
        wanted = comparer(rectangular, [tap[None] for tap in query]).logits[0]
    assert torch.equal(class_logits(comparer, alike, query), wanted)


@pytest.mark.parametrize("name", COMPARERS)
def test_neither_chunks_nor_other_classes_change_a_logit(name: str) -> None:
    comparer, supports, query = made(name)
    wanted = class_logits(comparer, supports, query)
    for pairs in (1, 3, 8):
        torch.testing.assert_close(class_logits(comparer, supports, query, pairs), wanted)
    slow = [[class_logits(comparer, [maps], [tap[n : n + 1] for tap in query]) for maps in supports] for n in range(7)]
    torch.testing.assert_close(torch.cat([torch.cat(row, dim=1) for row in slow]), wanted)


def test_no_more_pairs_are_compared_at_a_time_than_asked_for_or_a_class_has(monkeypatch: pytest.MonkeyPatch) -> None:
    comparer, supports, query = made("centroid")
    pairs: list[int] = []
    original = variable_shots._rectangular

    def counted(comparer: nn.Module, support: Maps, query: Maps, at_once: int) -> Tensor:
        pairs.append(support[0].shape[1] * support[0].shape[2] * at_once)
        return original(comparer, support, query, at_once)

    monkeypatch.setattr(variable_shots, "_rectangular", counted)
    class_logits(comparer, supports, query, 3)
    assert pairs == [2, 2, 2, 4]  # of two classes of 2 shots one at a time, two of 1 shot, the one of 4


def test_what_cannot_be_compared() -> None:
    comparer, supports, query = made("centroid")
    with pytest.raises(ValueError, match="class 1 has no support"):
        class_logits(comparer, [supports[0], [tap[:0] for tap in supports[1]]], query)
    with pytest.raises(ValueError, match="eval mode"):
        class_logits(comparer.train(), supports, query)
