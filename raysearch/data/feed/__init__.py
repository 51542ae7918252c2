"""From shards to the images that a run works on: resident (decoded once, in one array) or streamed (decoded ahead).

Both modes give the same bytes for the same rows. `augment` turns them into random views.

What turns images into tensors is imported when it is first used, since the driver of a study decodes without torch.
"""

from typing import TYPE_CHECKING

from raysearch.core.lazy import attribute_loader
from raysearch.data.feed.decoding import Decoder, DecodeSpec, RayDataDecoder, ThreadDecoder, chunk_rows
from raysearch.data.feed.image_set import MEAN, STD, ImageSet, Pixels, normalize
from raysearch.data.feed.philox import uniforms
from raysearch.data.feed.split_images import (
    CLASS_SPLITS,
    SPLITS,
    ImagePieces,
    SplitRows,
    all_rows,
    decode_all,
    decode_dataset,
    decode_pieces,
    image_sets,
    open_local,
    reindex,
    split_rows,
)
from raysearch.data.feed.streaming import ImageStream

if TYPE_CHECKING:
    from raysearch.data.feed.augmentation import augment, draw_views, occurrences
    from raysearch.data.feed.device_images import DeviceImages
    from raysearch.data.feed.pinned_ring import CudaLink, HostLink, PinnedRing

__all__ = [
    "CLASS_SPLITS",
    "MEAN",
    "SPLITS",
    "STD",
    "CudaLink",
    "DecodeSpec",
    "Decoder",
    "DeviceImages",
    "HostLink",
    "ImagePieces",
    "ImageSet",
    "ImageStream",
    "PinnedRing",
    "Pixels",
    "RayDataDecoder",
    "SplitRows",
    "ThreadDecoder",
    "all_rows",
    "augment",
    "chunk_rows",
    "decode_all",
    "decode_dataset",
    "decode_pieces",
    "draw_views",
    "image_sets",
    "normalize",
    "occurrences",
    "open_local",
    "reindex",
    "split_rows",
    "uniforms",
]

_NEED_TORCH = {
    "augment": ".augmentation",
    "draw_views": ".augmentation",
    "occurrences": ".augmentation",
    "DeviceImages": ".device_images",
    "CudaLink": ".pinned_ring",
    "HostLink": ".pinned_ring",
    "PinnedRing": ".pinned_ring",
}

__getattr__ = attribute_loader(__name__, _NEED_TORCH)
