"""Maps of a backbone that is not trained, in files that the cells of a study share.

All heads on one frozen backbone read the same maps. A file holds the maps of all images of a split, and its name is a
hash of everything that decides them: the images, the backbone's weights, and the arithmetic. `tasks.common.cached`
refuses files that are damaged or that another user can have written.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from raysearch.core import WriteError
from raysearch.models.fewshot import EpisodicNetwork, Maps
from raysearch.tasks.common import cached

FILE_LIMIT = 512 << 20  # bytes of maps; reading larger files takes as long as computing them
ROOM = 4 << 30  # bytes of all files
_ALIGNMENT = 64  # bytes


@dataclass(frozen=True)
class MapCache:
    """The maps of one split in a cache.

    Args:
        directory: the directory of the cache.
        key: plain values that decide the maps.
    """

    directory: Path
    key: Mapping[str, Any]

    def maps(self, compute: Callable[[], Maps], device: torch.device) -> Maps:
        """Return the maps on a device, and compute them if no process has done so or the cache cannot be written."""
        computed: Maps = []

        def _pack() -> Tensor:
            computed.extend(compute())
            return pack(computed)

        try:
            table = cached(self.directory, self.key, _pack, kind="maps", room=ROOM)
        except WriteError:
            return computed
        return computed or [tap.to(device, copy=True) for tap in unpack(table)]


def network_key(network: EpisodicNetwork) -> dict[str, Any]:
    """Return everything in a network that decides its maps in evaluation mode."""
    key: dict[str, Any] = {
        "weights": weights_digest(network.backbone),
        "taps": list(network.taps),
        "grid": network.grid,
    }
    if network.renormalization is not None:
        key["renormalization"] = [constants.tolist() for constants in network.renormalization.buffers()]
    return key


def weights_digest(module: nn.Module) -> str:
    """Return a hash of the names, types and values of a module's parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        digest.update(_bytes(value.cpu().contiguous()).numpy().data)
    return digest.hexdigest()


def pack(maps: Maps) -> Tensor:
    """Return maps as one tensor of bytes on the CPU, with their types, shapes and orders in memory.

    The order matters: sums over another order of the same values differ in their last digits.
    """
    taps = [tap.detach().to("cpu", copy=True) for tap in maps]  # a copy is without gaps
    layout = [
        {"dtype": str(tap.dtype).removeprefix("torch."), "shape": list(tap.shape), "stride": list(tap.stride())}
        for tap in taps
    ]
    header = torch.frombuffer(bytearray(json.dumps(layout).encode()), dtype=torch.uint8)
    length = torch.tensor([len(header)], dtype=torch.int64).view(torch.uint8)
    parts = [length, header, *(_bytes(tap.as_strided((tap.numel(),), (1,))) for tap in taps)]
    return torch.cat([torch.nn.functional.pad(part, (0, -len(part) % _ALIGNMENT)) for part in parts])


def unpack(table: Tensor) -> Maps:
    """Return the maps of `pack`, as views of its bytes."""
    length = int(table[:8].view(torch.int64))
    layout = json.loads(table[_ALIGNMENT : _ALIGNMENT + length].numpy().tobytes())
    at = _ALIGNMENT + length + -length % _ALIGNMENT
    maps: Maps = []
    for tap in layout:
        dtype: torch.dtype = getattr(torch, tap["dtype"])
        size = math.prod(tap["shape"]) * dtype.itemsize
        values = table[at : at + size].view(dtype)
        maps.append(values.as_strided(tap["shape"], tap["stride"], values.storage_offset()))
        at += size + -size % _ALIGNMENT
    return maps


def _bytes(values: Tensor) -> Tensor:
    return values.flatten().view(torch.uint8)
