"""Relation scores: the head with maps put together, the whole way from features to logits, and the cosine."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from raysearch.models.helix.designs import DESIGNS
from raysearch.models.helixformer import HelixFormer
from raysearch.models.relation import CosineHead, RelationHead

from .helix_reference import Reference, head_scores

pytestmark = pytest.mark.usefixtures("same_start")


def maps(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def leaves(module: nn.Module) -> dict[str, Tensor]:
    """A copy of the state, whose parameters take gradients."""
    state = {name: value.clone() for name, value in module.state_dict().items()}
    return state | {name: state[name].requires_grad_() for name, _ in module.named_parameters()}


def assert_same_gradients(module: nn.Module, state: dict[str, Tensor]) -> None:
    largest = max(state[name].grad.norm().item() for name, _ in module.named_parameters())
    for name, parameter in module.named_parameters():
        error = (parameter.grad - state[name].grad).norm().item()
        # A bias in front of batch norm has no slope but for rounding.
        assert error <= 1e-9 * state[name].grad.norm().item() + 1e-13 * largest, name


def head_of(channels: int, size: int) -> RelationHead:
    """With linear weights of such a size that the scores differ."""
    head = RelationHead(channels, size).double()
    for layer in (head.score[1], head.score[3]):
        nn.init.normal_(layer.weight, std=0.5)  # type: ignore[arg-type]
    return head


@pytest.mark.parametrize(("channels", "size", "count"), [(64, 21, 115_601), (512, 10, 7_085_073)])
def test_parameters_of_the_paper_s_sizes(channels: int, size: int, count: int) -> None:
    assert sum(parameter.numel() for parameter in RelationHead(channels, size).parameters()) == count


@pytest.mark.parametrize("size", [4, 5, 7, 9, 10, 11])
@pytest.mark.parametrize("training", [True, False])
def test_maps_put_together(size: int, training: bool) -> None:
    head = head_of(3, size)
    head(maps(4, 6, 3, size, size), maps(4, 6, 3, size, size))
    state = leaves(head.train(training))
    support, query = maps(2, 4, 3, 3, size, size), maps(2, 4, 3, 3, size, size)
    expected, got = head_scores(state, support, query, training), head(support, query)
    assert got.shape == (2, 4, 3)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)
    weights = torch.randn_like(got)
    (got * weights).sum().backward()
    (expected * weights).sum().backward()
    assert_same_gradients(head, state)


@pytest.mark.parametrize("made", [lambda: head_of(3, 6), lambda: CosineHead().double()], ids=["relation", "cosine"])
@pytest.mark.parametrize(("queries", "supports"), [(1, 1), (4, 1), (1, 5)])
def test_a_side_of_its_own_is_broadcast(made: Callable[[], nn.Module], queries: int, supports: int) -> None:
    head = made()
    support, query = maps(2, queries, 5, 3, 6, 6), maps(2, 4, supports, 3, 6, 6)
    shape = (2, 4, 5, 3, 6, 6)
    got, expected = head(support, query), head(support.expand(shape), query.expand(shape))
    assert got.shape == (2, 4, 5)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("size", [4, 6])
def test_from_features_to_logits(design: str, size: int) -> None:
    # Relations of a query to the shots of a class are averaged.
    ways, shots = 3, 2
    options = {"depth": 1 + size // 6, "heads": 2, "design": design, "fusion": "mul_res", "kv_stride": 1}
    helix = HelixFormer(4, dim_head=3, **options).double()  # type: ignore[arg-type]
    head = head_of(4, size)
    of_helix, of_head = leaves(helix), leaves(head)
    support, query = maps(2, ways * shots, 4, size, size), maps(2, 3, 4, size, size)
    reference = Reference(of_helix, **options, rep=True, rmp=True)  # type: ignore[arg-type]
    logits = [
        scores.unflatten(-1, (ways, shots)).mean(-1)
        for scores in (head(*helix.pairs(support, query)), head_scores(of_head, *reference(support, query)))
    ]
    torch.testing.assert_close(logits[0], logits[1], rtol=1e-9, atol=1e-12)
    target = torch.tensor([[0, 1, 2], [2, 1, 0]])
    for pass_logits in logits:
        nn.functional.cross_entropy(pass_logits.flatten(0, 1), target.flatten()).backward()
    assert_same_gradients(helix, of_helix)
    assert_same_gradients(head, of_head)


def test_start() -> None:
    head = RelationHead(64, 21)
    for convolution in (head.compare, head.block[0]):
        assert convolution.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 64)), rel=0.03)
        assert not convolution.bias.any()
    for layer in (head.score[1], head.score[3]):
        assert (layer.bias == 1).all()
    assert head.score[1].weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert head.compare.weight.shape == (64, 128, 3, 3)


def test_cosine_loop() -> None:
    head, support, query = CosineHead().double(), maps(3, 2, 4, 5, 5), maps(3, 2, 4, 5, 5)
    got = head(support, query)
    for q in range(3):
        for s in range(2):
            a, b = ([channel.sum() / 25 for channel in maps[q, s]] for maps in (support, query))
            cosine = sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)
            assert got[q, s].item() == pytest.approx(10 * cosine.item(), rel=1e-9)
    got.sum().backward()
    assert head.scale.grad.item() == pytest.approx(got.sum().item() / 10, rel=1e-9)


@pytest.mark.parametrize("made", [lambda: RelationHead(8, 6), CosineHead])
def test_scores_are_single_precision_under_autocast(made: Callable[[], nn.Module]) -> None:
    head = made()
    support, query = torch.randn(1, 5, 8, 6, 6), torch.randn(4, 1, 8, 6, 6)
    expected = head(support, query)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = head(support, query)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected, rtol=0.03, atol=0.03)


def test_maps_too_small_for_two_pools_are_refused() -> None:
    with pytest.raises(ValueError, match=r"size: .*3"):
        RelationHead(4, 3)
