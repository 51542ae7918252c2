"""Renormalized images are pixels normalized by the released constants, in every network of LWFM-SPM and in no other."""

import numpy as np
import torch

from raysearch.data.feed import normalize
from raysearch.models.renormalization import LWFM, Renormalization
from raysearch.studies.configs import FewshotConfig
from raysearch.tasks.fewshot.map_cache import network_key
from raysearch.tasks.fewshot.network import build_network


def pixels() -> torch.Tensor:
    return torch.randint(256, (4, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def released(images: torch.Tensor) -> torch.Tensor:
    """The released transform, in gray levels: ToTensor and Normalize by mean / 255 and deviation / 255."""
    planes = [
        (images[..., channel].numpy() - mean) / std
        for channel, (mean, std) in enumerate(zip((125.3, 123.0, 113.9), (63.0, 62.1, 66.7), strict=True))
    ]
    return torch.from_numpy(np.stack(planes, axis=1)).float()


def test_pixels_are_normalized_by_the_released_constants() -> None:
    arrived = normalize(pixels())
    torch.testing.assert_close(Renormalization(*LWFM)(arrived), released(pixels()), rtol=1e-4, atol=1e-5)


def test_only_lwfm_with_the_option_renormalizes() -> None:
    images = normalize(pixels())
    for method, normalization, other in (
        ("lwfm", "released", True),
        ("lwfm", "imagenet", False),
        ("helixformer", "released", False),
    ):
        config = FewshotConfig.model_validate(
            {
                "data": {"side": 32},
                "model": {"method": method, "backbone": "conv4"},
                "lwfm": {"normalization": normalization},
            }
        )
        network = build_network(config, 0, 5).eval()
        plain = build_network(FewshotConfig.model_validate(config.model_dump() | {"lwfm": {}}), 0, 5).eval()
        assert network.state_dict().keys() == plain.state_dict().keys()
        with torch.no_grad():
            maps = network.maps(images)
            expected = plain.maps(released(pixels()) if other else images)
        for got, wanted in zip(maps, expected, strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
        assert (network_key(network) != network_key(plain)) == other, "cached maps are of other images"
