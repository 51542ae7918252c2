"""Batch norm's running statistics of a backbone, taken from the database before the warm-up (AdaBN, arXiv 1603.04779).

Weights come with the statistics of the images that they were trained on. Training on other images moves them, and the
hash layer that the warm-up fitted to the first features then no longer fits. Departure from AdaBN: training goes on.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from raysearch.data.feed import ImageSet, normalize
from raysearch.tasks.base import Worker
from raysearch.tasks.common import Loader, cached, generator
from raysearch.tasks.retrieval.network import Network

_BATCH = 64  # images, as in the paper's training steps


def recalibrate(network: Network, images: ImageSet, worker: Worker, loader: Loader, key: Mapping[str, Any]) -> None:
    """Replace the running statistics of the norms before the last feature map by means over batches of the database.

    Weights stay. Every worker computes all batches, so that their networks stay alike. Cells that start from the same
    backbone share the statistics in the cache.

    Args:
        network: the network, which is changed in place.
        images: the database.
        worker: the worker that the run is trained on.
        loader: the loader of the images.
        key: the key of the features of the backbone before.
    """
    norms = {
        name: layer
        for name, layer in network.named_modules()
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None
    }
    if not norms:
        return
    buffers = [buffer for layer in norms.values() for buffer in _statistics(layer)]
    statistics = cached(
        worker.cache,
        {**key, "statistics": list(norms)},
        lambda: _mean_statistics(network, list(norms.values()), images, loader),
        kind="statistics",
    )
    for buffer, values in zip(buffers, statistics.split([len(buffer) for buffer in buffers]), strict=True):
        buffer.copy_(values)


def recalibrated_key(key: Mapping[str, Any]) -> dict[str, Any]:
    """Return the key of the features of a backbone after `recalibrate`."""
    return {**key, "recalibrated": True}


@torch.no_grad()
def _mean_statistics(network: Network, norms: list[_BatchNorm], images: ImageSet, loader: Loader) -> Tensor:
    """Compute mean and variance of each norm, and leave the network as it was.

    Returns:
        The statistics of one norm after the other, on the CPU. Those of a norm that the feature map does not need are
        the ones that it had.
    """
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first = [[buffer.clone() for buffer in _statistics(norm)] for norm in norms]
    momenta = [norm.momentum for norm in norms]
    training = network.training
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
        norm.train()
    order = torch.randperm(len(images), generator=generator(0))  # rows are sorted by class
    images.prefetch(order)
    for taken in loader.batches(images, order.split(_BATCH)):
        network.feature_map(normalize(taken))
    parts: list[Tensor] = []
    for norm, earlier, momentum in zip(norms, first, momenta, strict=True):
        assert norm.num_batches_tracked is not None, "a norm with running statistics counts its batches"
        parts += _statistics(norm) if norm.num_batches_tracked > 0 else earlier
        norm.momentum = momentum
    statistics = torch.cat(parts).cpu()
    network.load_state_dict(before)
    network.train(training)
    return statistics


def _statistics(norm: _BatchNorm) -> list[Tensor]:
    """Return running mean and variance of a norm that has them."""
    assert norm.running_mean is not None, "norms without running statistics are left out"
    assert norm.running_var is not None, "a norm with a mean has a variance"
    return [norm.running_mean, norm.running_var]
