"""Four feeds from JPEG files to augmented batches: two common ones, and raysearch's in both modes.

Each yields the same images in random order as float32 (B, 3, side, side). Images are cropped at random to 8 to 100 % of
the area, resized to the side, mirrored with probability 0.5, and normalized.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils import data as torch_data
from torchvision.transforms import v2

from raysearch.data import feed, shards

BATCH = 64
WORKERS = 2  # the machine's cores


class FeedSpec(NamedTuple):
    """The images of a feed."""

    shards: str  # directory of shards
    files: str  # directory of the same images as JPEG files
    side: int  # of an image, in pixels
    epoch: int  # images in an epoch, drawn with replacement


class Baseline(Protocol):
    """A feed to compare."""

    def epoch(self, number: int) -> Iterator[Tensor]:
        """Yield the batches of an epoch, counted from 0."""
        ...


def build_recipe(side: int) -> v2.Compose:
    """Build crop, flip and normalization in the usual way."""
    return v2.Compose(
        [
            v2.RandomResizedCrop(side),
            v2.RandomHorizontalFlip(),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(feed.MEAN, feed.STD),
        ]
    )


class JpegFiles(torch_data.Dataset):
    """The JPEG files of a directory, each passed through the recipe."""

    def __init__(self, spec: FeedSpec) -> None:
        self._paths = sorted(Path(spec.files).glob("*.jpg"))
        self._recipe = build_recipe(spec.side)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Tensor:
        from PIL import Image

        with Image.open(self._paths[index]) as image:
            return self._recipe(image.convert("RGB"))


class TorchLoader:
    """torch's DataLoader with persistent workers."""

    def __init__(self, spec: FeedSpec) -> None:
        files = JpegFiles(spec)
        order = torch_data.RandomSampler(files, replacement=True, num_samples=spec.epoch)
        self._loader = torch_data.DataLoader(files, BATCH, sampler=order, num_workers=WORKERS, persistent_workers=True)

    def epoch(self, number: int) -> Iterator[Tensor]:
        """Yield the batches of an epoch."""
        return iter(self._loader)


class PlainRayData:
    """Ray Data as in its guide for images: read, map, iterate over batches of torch."""

    def __init__(self, spec: FeedSpec) -> None:
        import ray.data

        start_ray()
        ray.data.DataContext.get_current().enable_progress_bars = False
        recipe = build_recipe(spec.side)
        copies = -(-spec.epoch // len(sorted(Path(spec.files).glob("*.jpg"))))

        def _transform(row: dict[str, Any]) -> dict[str, Any]:
            return {"image": recipe(torch.from_numpy(row["image"]).permute(2, 0, 1)).numpy()}

        paths = [spec.files] * copies
        self._data = ray.data.read_images(paths, mode="RGB", shuffle="files").map(_transform)

    def epoch(self, number: int) -> Iterator[Tensor]:
        """Yield the batches of an epoch."""
        for batch in self._data.iter_torch_batches(batch_size=BATCH):
            yield batch["image"]


class RaysearchFeed:
    """raysearch's feed: rows in a sampler's order, augmented by row, in either mode.

    Args:
        spec: the images.
    """

    threads = WORKERS  # of torch

    def __init__(self, spec: FeedSpec) -> None:
        self._spec = spec
        self.reader = shards.ShardReader(spec.shards, shards.read_manifest(spec.shards))
        self.decoding = feed.DecodeSpec(spec.side)
        self.images = self.open_images()

    def open_images(self) -> feed.ImageSet:
        """Open the images in this mode."""
        raise NotImplementedError

    def order(self, number: int) -> Tensor:
        """Return the rows of an epoch."""
        rows = np.random.default_rng(number).integers(0, len(self.images), self._spec.epoch)
        return torch.from_numpy(rows)

    def epoch(self, number: int) -> Iterator[Tensor]:
        """Yield the batches of an epoch, and prefetch the next one."""
        side = self._spec.side
        device = torch.device("cpu")
        if number == 0:
            self.images.prefetch(self.order(0))
        self.images.prefetch(self.order(number + 1))
        order = self.order(number)
        views = feed.draw_views("crop", order, (side, side), (0, number))
        for rows, batch_views in zip(order.split(BATCH), views.split(BATCH), strict=True):
            yield feed.augment(self.images.take(rows, device), batch_views)


class ResidentFeed(RaysearchFeed):
    """Images decoded once, and mapped from Ray's object store."""

    def open_images(self) -> feed.ImageSet:
        """Decode all images into the object store."""
        import ray

        start_ray()
        decoder = feed.RayDataDecoder(self.reader, self.decoding)
        decoded = feed.decode_all(decoder, np.arange(len(self.reader)), self.decoding)
        self.reference = ray.put(decoded)
        del decoded
        return feed.ImageSet(ray.get(self.reference), np.zeros(len(self.reader), np.int64))


class StreamedFeed(RaysearchFeed):
    """Images decoded by Ray Data when they are needed."""

    threads = 1

    def open_images(self) -> feed.ImageSet:
        """Open a stream of the images."""
        start_ray()
        decoder = feed.RayDataDecoder(self.reader, self.decoding, WORKERS, 256 << 20, own_process=True)
        stream = feed.ImageStream(self.reader, self.decoding, decoder)
        return feed.ImageSet(stream, np.zeros(len(self.reader), np.int64))


BASELINES: dict[str, type[TorchLoader] | type[PlainRayData] | type[RaysearchFeed]] = {
    "dataloader": TorchLoader,
    "ray_data": PlainRayData,
    "resident": ResidentFeed,
    "streamed": StreamedFeed,
}


def start_ray() -> None:
    """Start a local Ray for this process, unless one is running."""
    import ray

    if not ray.is_initialized():
        ray.init(
            address="local",
            num_cpus=WORKERS,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=2 << 30,
        )
