"""Batches: torchvision's own numbers, of an array that stays as it is."""

import numpy as np
import torch
from torchvision.models import ResNet50_Weights
from torchvision.transforms.v2 import functional

from raysearch.data.feed import ImageSet

CPU = torch.device("cpu")


def image_set(count: int = 6, side: int = 8) -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, 3)).astype(np.uint8)
    return ImageSet(pixels, np.arange(count))


def test_a_batch_is_normalised_as_torchvision_s_weights_want_it() -> None:
    some = image_set()
    rows = torch.tensor([4, 0, 4])
    batch = some.batch(rows, CPU)
    preset = ResNet50_Weights.IMAGENET1K_V1.transforms()
    for image, row in zip(batch, rows.tolist(), strict=True):
        scaled = functional.to_dtype(torch.from_numpy(some.images[row]).permute(2, 0, 1), torch.float32, scale=True)
        torch.testing.assert_close(image, functional.normalize(scaled, preset.mean, preset.std), rtol=1e-5, atol=1e-6)
    assert batch.shape == (3, 3, 8, 8)
    assert batch.dtype == torch.float32
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert len(some) == 6


def test_a_batch_leaves_the_shared_array_alone() -> None:
    some = image_set()
    before = some.images.copy()
    some.images.flags.writeable = False
    batch = some.batch(torch.arange(6), CPU)
    batch.zero_()
    assert np.array_equal(some.images, before)
