"""Vectors for all images of a set: in float32, without gradients, computed by all workers together.

Database and queries go through the same code, so an image has the same code in either role. Codes are signs of small
outputs, so no network computes in bfloat16 here.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from raysearch.data.feed import ImageSet, normalize
from raysearch.tasks.base import Worker
from raysearch.tasks.common import Loader, exact_float32, items_at_once
from raysearch.tasks.retrieval.network import Network

_ACTIVATIONS = 64  # memory of an image in a network at rest / that of its pixels in float32; conv4 takes the most
_LIMITS = 16, 4096  # images that go through a network at once on a GPU


@dataclass(frozen=True)
class ImageEncoder:
    """Computes vectors for images. All workers must call it together, with networks that are alike.

    Args:
        loader: loads the images.
        worker: takes its share of the work.
        precision: of the run; "float32" computes convolutions without rounding to TF32.
    """

    loader: Loader
    worker: Worker
    precision: str

    def outputs(self, network: Network, images: ImageSet, rows: Tensor, batch: int) -> Tensor:
        """Return the outputs (m, c) of a network at rest, before the activation.

        Args:
            network: is set to evaluation mode.
            images: the images.
            rows: (m,) int64 of the images, on the host.
            batch: images at once on a CPU.
        """
        network.eval()
        return self.vectors(lambda taken: network(taken).z, network.hash_layer.linear.out_features, images, rows, batch)

    @torch.no_grad()
    def vectors(
        self, function: Callable[[Tensor], Tensor], width: int, images: ImageSet, rows: Tensor, batch: int
    ) -> Tensor:
        """Compute a vector for each image.

        Args:
            function: normalized images (B, 3, side, side) on the device, to (B, width).
            width: length of a vector.
            images: the images.
            rows: (m,) int64 of the images, on the host.
            batch: images at once on a CPU. A GPU takes as many as fit into a quarter of its free memory.

        Returns:
            (m, width) on the device, on every worker; on a CPU the same for any number of workers, bit for bit.
        """
        # A worker takes whole batches of those that a single worker would compute, so that sums have the same order.
        world_size = self.worker.world_size
        places = torch.cat(list(torch.arange(len(rows)).split(batch)[self.worker.rank :: world_size]) or [rows[:0]])
        computed = self._compute(function, images, rows[places], batch)
        if world_size == 1:
            return computed
        vectors = torch.zeros(len(rows), width, dtype=computed.dtype, device=computed.device)
        (places,) = self.loader.upload(places)
        vectors[places] = computed
        return self.worker.sum(vectors)

    def _compute(self, function: Callable[[Tensor], Tensor], images: ImageSet, rows: Tensor, batch: int) -> Tensor:
        images.prefetch(rows)
        at_once = items_at_once(self.loader.free_memory(), _ACTIVATIONS * 12 * images.side**2, batch, _LIMITS)
        with exact_float32(self.loader.device, self.precision):
            return torch.cat([function(normalize(taken)) for taken in self.loader.batches(images, rows.split(at_once))])
