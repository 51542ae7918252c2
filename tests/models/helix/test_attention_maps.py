"""Attention maps of a pair: they lead to the features that HelixFormer makes without them."""

import pytest
import torch

from raysearch.models.helix.attention_maps import attention_maps
from raysearch.models.helix.designs import DESIGNS
from raysearch.models.helixformer import HelixFormer

SIDES = {"q2s": ["support"], "s2q": ["query"]}


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("layer", [0, 1])
def test_maps_and_values_make_the_csrm(design: str, layer: int) -> None:
    torch.manual_seed(0)
    helix = HelixFormer(6, depth=2, heads=3, dim_head=4, design=design, kv_stride=2).double().eval()
    support, query = torch.randn(2, 6, 5, 7, dtype=torch.float64)
    found = attention_maps(helix, support, query, layer)
    assert sorted(found) == sorted(SIDES.get(design, ["support", "query"]))
    for side, direction in helix.layers[layer].directions().items():
        seen = []
        hook = direction.mining.register_forward_hook(lambda _, given, csrm, seen=seen: seen.append((given, csrm)))
        helix(support[None], query[None])
        hook.remove()
        ((_, answers), csrm) = seen[0]
        assert found[side].shape == (3, 5, 7, 3, 4)
        torch.testing.assert_close(found[side].sum((3, 4)), torch.ones(3, 5, 7, dtype=torch.float64))
        values = answers[0, 0, 0, ..., 12:].unflatten(-1, (3, 4))
        mined = torch.einsum("aHWhw,hwad->HWad", found[side], values).flatten(2)
        out = direction.mining.out
        expected = mined @ out.weight[:, :, 0, 0].T + out.bias
        torch.testing.assert_close(csrm[0, 0, 0], expected, rtol=1e-9, atol=1e-12)


def test_hooks_are_gone_afterwards() -> None:
    helix = HelixFormer(4, dim_head=2).eval()
    attention_maps(helix, *torch.randn(2, 4, 3, 3))
    assert not any(module._forward_pre_hooks for module in helix.modules())


def test_refusals() -> None:
    helix, pair = HelixFormer(4, dim_head=2), torch.randn(2, 4, 3, 3)
    with pytest.raises(ValueError, match="eval mode"):
        attention_maps(helix, *pair)
    for layer in (-1, 1):
        with pytest.raises(ValueError, match=f"layer: .*{layer}"):
            attention_maps(helix.eval(), *pair, layer)
    assert attention_maps(HelixFormer(4, rmp=False).eval(), *pair) == {}
