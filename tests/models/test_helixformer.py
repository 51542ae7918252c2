"""HelixFormer against a writing with every pair apart, and by what must not matter."""

import pickle
import random
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from raysearch.models.helix.designs import DESIGNS
from raysearch.models.helixformer import HelixFormer

from .allocations import LargestAllocation
from .helix_reference import Reference

FUSIONS = ("mul", "add", "mul_res")
CASES = [(design, seed) for design in DESIGNS for seed in range(10)]


pytestmark = pytest.mark.usefixtures("same_start")


def started(module: nn.Module) -> Any:
    """In double precision, with weights, biases and statistics that tell every part from every other."""
    for tensor in module.double().state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.3, 0.7)
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1 or "bias" in name:
            nn.init.normal_(parameter, std=0.3)
    return module


def maps(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def episodes(seed: int) -> tuple[Tensor, Tensor]:
    """Supports (E,S,C,H,W) and queries (E,Q,C,H,W): 2 to 5 ways of 1 to 3 shots and 1 to 4 queries."""
    draw = random.Random(seed)
    while True:
        ways, shots, queries, count = draw.randint(2, 5), draw.randint(1, 3), draw.randint(1, 4), draw.randint(1, 3)
        if count * ways**2 * shots * queries <= 40:
            break
    height, width = draw.randint(3, 7), draw.randint(3, 7)
    torch.manual_seed(seed)
    return maps(count, ways * shots, 4, height, width), maps(count, ways * queries, 4, height, width)


def options(design: str, seed: int) -> dict[str, Any]:
    draw = random.Random(f"{design}{seed}")
    return {
        "design": design,
        "fusion": FUSIONS[seed % 3],
        "depth": draw.randint(1, 3),
        "heads": draw.randint(1, 4),
        "kv_stride": draw.randint(1, 2),
        "rep": seed % 4 != 0,
        "rmp": seed % 5 != 0,
    }


def network(**changes: Any) -> Any:
    return started(HelixFormer(4, **{"dim_head": 3, "width": 5, "mlp_ratio": 2, **changes}))


def assert_close(got: Tensor, expected: Tensor, relative: float, floor: float = 0.0) -> None:
    error = (got - expected).norm().item()
    assert error <= relative * expected.norm().item() + floor, error / max(expected.norm().item(), 1e-300)


@pytest.mark.parametrize(("design", "seed"), CASES)
def test_pairs_apart(design: str, seed: int) -> None:
    settings = options(design, seed)
    helix, (support, query) = network(**settings, embed_kernel=1 + 2 * (seed % 3)), episodes(seed)
    before = {name: value.clone() for name, value in helix.state_dict().items()}
    state = before | {name: before[name].clone().requires_grad_() for name, _ in helix.named_parameters()}
    reference = Reference(state, **settings)
    slow = [support.clone().requires_grad_(), query.clone().requires_grad_()]
    fast = [support.clone().requires_grad_(), query.clone().requires_grad_()]
    expected, got = reference(*slow), helix(*fast)
    for actual, other in zip(got, expected, strict=True):
        assert actual.shape == other.shape
        assert_close(actual, other, 1e-9)
    weights = [torch.randn_like(side) for side in expected]
    sum((x * w).sum() for x, w in zip(expected, weights, strict=True)).backward()
    sum((x * w).sum() for x, w in zip(got, weights, strict=True)).backward()
    largest = max(
        state[name].grad.norm().item() for name, _ in helix.named_parameters() if state[name].grad is not None
    )
    for name, parameter in helix.named_parameters():
        assert_close(parameter.grad, state[name].grad, 1e-9, floor=1e-13 * largest)
    for actual, other in zip(fast, slow, strict=True):
        assert_close(actual.grad, other.grad, 1e-9, floor=1e-13 * largest)
    after = dict(helix.named_buffers())
    assert set(reference.statistics) == set(after)
    for name, expected_value in reference.statistics.items():
        assert_close(after[name].double(), expected_value.double(), 1e-12)


@pytest.mark.parametrize("design", DESIGNS)
def test_pairs_apart_in_eval_mode(design: str) -> None:
    settings = options(design, 7)
    helix, (support, query) = network(**settings).eval(), episodes(3)
    before = {name: value.clone() for name, value in helix.state_dict().items()}
    for actual, other in zip(
        helix(support, query), Reference(before, **settings, training=False)(support, query), strict=True
    ):
        assert_close(actual, other, 1e-12)
    for name, value in helix.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize(
    ("design", "one_way"), [("s_then_q", ["s2q", "s2q", "q2s", "q2s"]), ("q_then_s", ["q2s", "q2s", "s2q", "s2q"])]
)
def test_the_released_order_runs_all_layers_of_a_direction_first(design: str, one_way: list[str]) -> None:
    settings = {"fusion": "mul", "depth": 2, "heads": 2, "rep": True, "rmp": True, "kv_stride": 1}
    helix = network(**settings, design=design, order="directions").eval()
    support, query = maps(1, 3, 4, 4, 5), maps(1, 2, 4, 4, 5)
    reference = Reference(helix.state_dict(), **settings, design=design, training=False)
    sides = {
        "support": [reference.embed("support_embedding", image) for _ in query[0] for image in support[0]],
        "query": [reference.embed("query_embedding", image) for image in query[0] for _ in support[0]],
    }
    for index, direction in enumerate(one_way):
        reference.design = direction
        sides = reference.layer(f"layers.{index}", sides)
    for got, expected in zip(helix(support, query), sides.values(), strict=True):
        assert_close(got.flatten(0, 2), torch.stack(expected), 1e-12)
    layers = network(**settings, design=design).eval()
    assert sum(p.numel() for p in layers.parameters()) == sum(p.numel() for p in helix.parameters())


@pytest.mark.parametrize("design", ["s_then_q", "q_then_s"])
def test_both_orders_are_equal_with_a_single_layer(design: str) -> None:
    layers = network(design=design).eval()
    directions = network(design=design, order="directions").eval()
    renamed = {
        name.replace("layers.0.first.", "layers.0.").replace("layers.0.second.", "layers.1."): value
        for name, value in layers.state_dict().items()
    }
    directions.load_state_dict(renamed)
    support, query = episodes(3)
    for got, expected in zip(directions(support, query), layers(support, query), strict=True):
        assert torch.equal(got, expected)


@pytest.mark.parametrize(("channels", "count"), [(64, 209_280), (512, 9_473_024)])
def test_parameters_of_the_paper_s_sizes(channels: int, count: int) -> None:
    assert sum(parameter.numel() for parameter in HelixFormer(channels).parameters()) == count


@pytest.mark.parametrize("design", DESIGNS)
def test_order_of_images_does_not_matter(design: str) -> None:
    helix, (support, query) = network(design=design, depth=2).eval(), episodes(3)
    by_support, by_query = torch.randperm(support.shape[1]), torch.randperm(query.shape[1])
    moved = helix(support[:, by_support], query[:, by_query])
    for actual, other in zip(moved, helix(support, query), strict=True):
        assert_close(actual, other[:, by_query][:, :, by_support], 1e-12)


@pytest.mark.parametrize(
    ("design", "mirrored"),
    [("sym", "sym"), ("q2s", "s2q"), ("s2q", "q2s"), ("s_then_q", "q_then_s"), ("q_then_s", "s_then_q")],
)
@pytest.mark.parametrize("training", [True, False])
def test_sides_with_their_weights_can_change_places(design: str, mirrored: str, training: bool) -> None:
    helix, (support, query) = network(design=design, depth=2).train(training), episodes(5)
    other = network(design=mirrored, depth=2).train(training)
    places = {"support": "query", "support_norm": "query_norm", "support_embedding": "query_embedding"}
    places |= {there: here for here, there in places.items()}
    state = helix.state_dict()
    other.load_state_dict({".".join(places.get(part, part) for part in name.split(".")): state[name] for name in state})
    (new_support, new_query), (as_support, as_query) = helix(support, query), other(query, support)
    assert_close(as_query.transpose(1, 2), new_support, 1e-12)
    assert_close(as_support.transpose(1, 2), new_query, 1e-12)


def test_depth_zero_is_the_embedding() -> None:
    helix, (support, query) = network(depth=0), episodes(6)
    for maps_of_side, got, embedding, lonely in (
        (support, helix(support, query)[0], helix.support_embedding, 1),
        (query, helix(support, query)[1], helix.query_embedding, 2),
    ):
        convolved = embedding.convolution(maps_of_side.flatten(0, 1)).unflatten(0, maps_of_side.shape[:2])
        mean, deviation = convolved.mean(2, keepdim=True), convolved.std(2, keepdim=True, correction=0)
        normed = (convolved - mean) / (deviation + 1e-5)
        normed = normed * embedding.norm.weight[:, None, None] + embedding.norm.bias[:, None, None]
        assert_close(got, normed.unsqueeze(lonely).expand_as(got), 1e-9)
    assert sum(parameter.numel() for parameter in helix.layers.parameters()) == 0


@pytest.mark.parametrize("design", DESIGNS)
def test_without_rmp_and_rep_nothing_happens_at_any_depth(design: str) -> None:
    deep, flat = network(design=design, depth=3, rmp=False, rep=False), network(depth=0)
    flat.load_state_dict(deep.state_dict())
    for actual, other in zip(deep(*episodes(6)), flat(*episodes(6)), strict=True):
        assert torch.equal(actual, other)


@pytest.mark.parametrize("design", DESIGNS)
def test_without_rmp_images_do_not_meet(design: str) -> None:
    helix, (support, query) = network(design=design, depth=2, rmp=False), episodes(6)
    flat = network(depth=0)
    flat.load_state_dict(helix.state_dict(), strict=False)
    enhanced = helix(support, query)
    assert torch.equal(enhanced[0], helix(support, query + 1)[0])
    for side, got, embedded in zip(("support", "query"), enhanced, flat(support, query), strict=True):
        is_target = design != ("s2q" if side == "support" else "q2s")
        assert torch.equal(got, embedded) != is_target


@pytest.mark.parametrize(("design", "side", "lonely"), [("q2s", 1, 2), ("s2q", 0, 1)])
def test_a_side_that_is_not_updated_is_a_view_of_its_images(design: str, side: int, lonely: int) -> None:
    helix, images = network(design=design, depth=2), episodes(3)
    whole, bare = helix(*images)[side], helix.pairs(*images)[side]
    assert whole.stride(lonely) == 0
    assert bare.shape[lonely] == 1
    assert torch.equal(whole, bare.expand_as(whole))
    assert helix(*images)[1 - side].stride(lonely) != 0


def test_episodes_are_apart() -> None:
    helix = network(depth=2).eval()
    support, query = maps(2, 3, 5, 4, 6, 5), maps(2, 3, 4, 4, 6, 5)
    whole = helix(support, query)
    for episode in ((0, 2), (1, 0)):
        for got, expected in zip(helix(support[episode], query[episode]), whole, strict=True):
            assert got.shape == (4, 5, 5, 6, 5)
            assert_close(got, expected[episode], 1e-12)


@pytest.mark.parametrize("design", ["q2s", "s2q", "sym"])
@pytest.mark.parametrize("training", [True, False])
def test_neither_attention_maps_nor_keys_and_values_are_laid_out_for_pairs(design: str, training: bool) -> None:
    helix = HelixFormer(8, heads=2, dim_head=4, design=design, rep=False).train(training)
    support, query = torch.randn(4, 8, 14, 14), torch.randn(6, 8, 14, 14)
    with LargestAllocation() as memory:
        new_support, new_query = helix(support, query)
        (new_support.sum() + new_query.sum()).backward()
    # A map of each pair, in single precision; keys and values of each would be twice as large.
    assert memory.largest == 4 * 6 * 14 * 14 * 8 * 4


@pytest.mark.parametrize("design", DESIGNS)
def test_autocast_stays_near(design: str) -> None:
    helix = HelixFormer(16, depth=2, dim_head=16, design=design)
    images = torch.randn(5, 16, 6, 6), torch.randn(4, 16, 6, 6)
    expected = helix(*images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = helix(*images)
    for actual, other in zip(got, expected, strict=True):
        assert actual.dtype == torch.float32
        assert_close(actual, other, 0.03)
    sum(side.square().sum() for side in got).backward()
    assert all(parameter.grad.isfinite().all() for parameter in helix.parameters())


def test_channels_last_changes_no_number() -> None:
    helix = HelixFormer(16, depth=2, dim_head=16).eval()
    images = torch.randn(5, 16, 6, 6), torch.randn(4, 16, 6, 6)
    expected = helix(*images)
    helix = helix.to(memory_format=torch.channels_last)
    got = helix(*(maps.contiguous(memory_format=torch.channels_last) for maps in images))
    for actual, other in zip(got, expected, strict=True):
        assert_close(actual, other, 1e-5)


def test_a_blank_image_has_a_finite_slope() -> None:
    helix = HelixFormer(8, dim_head=4)
    nn.init.zeros_(helix.query_embedding.convolution.weight)
    nn.init.zeros_(helix.query_embedding.convolution.bias)
    support, query = helix(torch.randn(3, 8, 4, 4), torch.zeros(2, 8, 4, 4))
    (support.sum() + query.sum()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in helix.parameters())


def test_dropout_draws_in_training_alone() -> None:
    helix, images = network(dropout=0.5), episodes(3)
    drawn = [helix(*images)[0] for _ in range(2)]
    assert not torch.equal(*drawn)
    helix.eval()
    assert torch.equal(helix(*images)[0], helix(*images)[0])


def test_a_network_can_be_pickled() -> None:
    helix, images = network(fusion="mul_res").eval(), episodes(3)
    assert torch.equal(pickle.loads(pickle.dumps(helix))(*images)[0], helix(*images)[0])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("design", "both"),
        ("fusion", "max"),
        ("depth", -1),
        ("channels", 0),
        ("heads", 0),
        ("dim_head", 0),
        ("width", 0),
        ("embed_kernel", 2),
        ("embed_kernel", -1),
        ("kv_stride", 0),
        ("mlp_ratio", 0),
        ("dropout", 1.0),
        ("dropout", -0.1),
    ],
)
def test_arguments_out_of_range_are_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name}: .*{value}"):
        HelixFormer(**{"channels": 4, name: value})
