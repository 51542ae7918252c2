"""Four ways from JPEG files to augmented batches: what people write, and raysearch's feed in both modes.

Each gives the same images in random order, cropped at random to 8 to 100 % of the area and back to the side, mirrored
one in two, normalised: float32 (B, 3, side, side).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision.transforms import v2

from raysearch.data import feed, shards
from raysearch.data.feed import MEAN, STD, DecodeSpec, ImageSet, ImageStream, RayDataDecoder, augment, draw_views
from raysearch.data.shards import ShardReader

BATCH = 64
WORKERS = 2  # the machine's cores


class Asked(NamedTuple):
    """What is to be fed."""

    shards: str  # directory of shards
    files: str  # directory of the same images as JPEG files
    side: int  # pixels
    epoch: int  # images of an epoch, drawn with replacement


class Way(Protocol):
    def epoch(self, number: int) -> Iterator[Tensor]:
        """The batches of an epoch, counted from 0."""


def recipe(side: int) -> v2.Compose:
    """Crop, flip and normalisation as people write them."""
    return v2.Compose(
        [
            v2.RandomResizedCrop(side),
            v2.RandomHorizontalFlip(),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )


class Files(Dataset):
    """JPEG files of a directory, each through the recipe."""

    def __init__(self, asked: Asked) -> None:
        self._paths = sorted(Path(asked.files).glob("*.jpg"))
        self._recipe = recipe(asked.side)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Tensor:
        from PIL import Image

        with Image.open(self._paths[index]) as image:
            return self._recipe(image.convert("RGB"))


class TorchLoader:
    """torch's DataLoader with workers that stay."""

    def __init__(self, asked: Asked) -> None:
        files = Files(asked)
        order = RandomSampler(files, replacement=True, num_samples=asked.epoch)
        self._loader = DataLoader(files, BATCH, sampler=order, num_workers=WORKERS, persistent_workers=True)

    def epoch(self, number: int) -> Iterator[Tensor]:
        return iter(self._loader)


class PlainRayData:
    """Ray Data as its guide for images has it: read, map, iterate in batches of torch."""

    def __init__(self, asked: Asked) -> None:
        import ray.data

        start_ray()
        ray.data.DataContext.get_current().enable_progress_bars = False
        through = recipe(asked.side)
        copies = -(-asked.epoch // len(sorted(Path(asked.files).glob("*.jpg"))))

        def transformed(row: dict[str, Any]) -> dict[str, Any]:
            return {"image": through(torch.from_numpy(row["image"]).permute(2, 0, 1)).numpy()}

        paths = [asked.files] * copies
        self._data = ray.data.read_images(paths, mode="RGB", shuffle="files").map(transformed)

    def epoch(self, number: int) -> Iterator[Tensor]:
        for batch in self._data.iter_torch_batches(batch_size=BATCH):
            yield batch["image"]


class Fed:
    """raysearch: rows in the order of a sampler, views on the device by row, whatever holds the pixels."""

    threads = WORKERS  # of torch

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._manifest = shards.read_manifest(asked.shards)
        self.shelf = ShardReader(asked.shards, self._manifest)
        self.view = DecodeSpec(asked.side)
        self.images = self.open()

    def open(self) -> ImageSet:
        raise NotImplementedError

    def order(self, number: int) -> Tensor:
        rows = np.random.default_rng(number).integers(0, len(self.images), self._asked.epoch)
        return torch.from_numpy(rows)

    def epoch(self, number: int) -> Iterator[Tensor]:
        side = self._asked.side
        device = torch.device("cpu")
        if number == 0:
            self.images.prefetch(self.order(0))
        self.images.prefetch(self.order(number + 1))
        order = self.order(number)
        views = draw_views("crop", order, (side, side), (0, number))
        for rows, drawn in zip(order.split(BATCH), views.split(BATCH), strict=True):
            yield augment(self.images.take(rows, device), drawn)


class Resident(Fed):
    """Decoded once, mapped from Ray's object store."""

    def open(self) -> ImageSet:
        import ray

        start_ray()
        decoded = feed.decode_all(RayDataDecoder(self.shelf, self.view), np.arange(len(self.shelf)), self.view)
        self.reference = ray.put(decoded)
        del decoded
        return ImageSet(ray.get(self.reference), np.zeros(len(self.shelf), np.int64))


class Streamed(Fed):
    """Decoded by Ray Data as it is needed."""

    threads = 1

    def open(self) -> ImageSet:
        start_ray()
        stream = ImageStream(
            self.shelf, self.view, RayDataDecoder(self.shelf, self.view, WORKERS, 256 << 20, own_process=True)
        )
        return ImageSet(stream, np.zeros(len(self.shelf), np.int64))


WAYS: dict[str, type[TorchLoader] | type[PlainRayData] | type[Fed]] = {
    "dataloader": TorchLoader,
    "ray_data": PlainRayData,
    "resident": Resident,
    "streamed": Streamed,
}


def start_ray() -> None:
    """A Ray of this process's own."""
    import ray

    if not ray.is_initialized():
        ray.init(
            address="local",
            num_cpus=WORKERS,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=2 << 30,
        )
