"""What a loader gives is the image set's own batch, and its clock counts indexing and copying alone."""

import time

import numpy as np
import pytest
import torch

from raysearch.data.feed import ImageSet
from raysearch.tasks.common import Loader, loader

DEVICES = [
    torch.device("cpu"),
    pytest.param(
        torch.device("cuda"), marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
    ),
]
PAUSE = 0.03


class Slow(ImageSet):
    def take(self, rows: torch.Tensor, device: torch.device) -> torch.Tensor:
        time.sleep(PAUSE)
        return super().take(rows, device)


def images(kind: type[ImageSet]) -> ImageSet:
    rng = np.random.default_rng(0)
    return kind(rng.integers(0, 256, (9, 8, 8, 3)).astype(np.uint8), np.arange(9))


@pytest.mark.parametrize("device", DEVICES)
def test_it_gives_the_image_set_s_batch(device: torch.device) -> None:
    rows = torch.tensor([4, 4, 1])
    some = images(ImageSet)
    assert torch.equal(Loader(device).batch(some, rows), some.batch(rows, device))


@pytest.mark.parametrize("device", DEVICES)
def test_the_clock_counts_loading_and_starts_anew_when_asked(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    normalise = loader.normalize

    def slowly(taken: torch.Tensor) -> torch.Tensor:
        time.sleep(5 * PAUSE)  # work on the device, not a wait for images
        return normalise(taken)

    monkeypatch.setattr(loader, "normalize", slowly)
    feed = Loader(device)
    some = images(Slow)
    assert feed.waited() == 0
    for _ in range(3):
        feed.batch(some, torch.arange(4))
        time.sleep(PAUSE)
    assert 3 * PAUSE * 0.99 <= feed.waited() < 5 * PAUSE
    assert feed.waited() == 0
    feed.batch(images(ImageSet), torch.arange(4))
    assert 0 < feed.waited() < PAUSE


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_busy_gpu_does_not_wait_for_images_that_are_indexed_meanwhile() -> None:
    feed = Loader(torch.device("cuda"))
    some = images(Slow)
    feed.batch(some, torch.arange(4))
    feed.waited()
    torch.cuda._sleep(int(10 * PAUSE * 2e9))  # cycles: at least ten pauses
    feed.batch(some, torch.arange(4))
    assert feed.waited() < PAUSE / 2
