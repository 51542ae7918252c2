"""Shards to arrays in memory, resident mode: every image is decoded and resized once, and all trials map the result.

With Ray, Ray Data decodes on all CPUs and the arrays lie in the object store, where every process of a node reads them
without a copy. Without Ray the same decoding runs in this process. Both give the same bytes in the same order.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from raysearch.data import jpeg, shards
from raysearch.data.images import ImageSet
from raysearch.data.places import Location, Place
from raysearch.data.rows import read_shard
from raysearch.errors import UserError

SPLITS = ("train", "test")
CLASS_SPLITS = ("train", "val", "test")  # where splits share no class
STORE_SHARE = 0.6  # of an object store that decoded images may take
_COLUMNS = ["image", "label", "split", "source"]


def resident_bytes(manifest: shards.Manifest, side: int) -> int:
    """Size of the decoded images of all splits at `side` pixels."""
    return manifest.images * side * side * 3


def decode(
    directory: Location, side: int, zoom: float = 1.0, parts: Sequence[str] | None = None
) -> dict[str, ImageSet]:
    """Decode a data set in this process.

    Args:
        directory: of shards; a path or a URI.
        side: of the decoded images, in pixels.
        zoom: see `jpeg.decode`.
        parts: of each class, by label, the split that all its images are in; None: each row's own.

    Returns:
        An ImageSet for "train" and for "test", and with `parts` for "val", each in canonical order.
    """
    root = Place.parse(directory)
    # Each shard is read once and let go: a store is not asked twice, and the JPEGs of one shard are in memory.
    kept = [("split", "in", SPLITS)] if parts is None else None
    tables = (read_shard(root / shard.file, _COLUMNS, kept) for shard in shards.read_manifest(root).shards)
    batches = ({name: table[name].to_numpy() for name in _COLUMNS} for table in tables)
    return _collect((decode_batch(batch, side, zoom) for batch in batches if len(batch["label"])), parts)


def decode_on_ray(
    directory: Location, side: int, zoom: float = 1.0, parts: Sequence[str] | None = None
) -> dict[str, ImageSet]:
    """Decode a data set with Ray Data, on the CPUs of the cluster that is connected; arguments as `decode`.

    Raises:
        UserError: the decoded set is larger than its share of the object store.
    """
    import ray

    root = Place.parse(directory)
    manifest = shards.read_manifest(root)
    size, store = resident_bytes(manifest, side), ray.cluster_resources().get("object_store_memory", 0)
    if size > STORE_SHARE * store:
        raise UserError(
            f"the decoded images take {size / 2**30:.1f} GiB and the object store has {store / 2**30:.1f} GiB; "
            "set a smaller data.side, or start Ray with a larger object store"
        )
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    source = ray.data.read_parquet([(root / one.file).path for one in manifest.shards], filesystem=root.files)
    decoded = source.map_batches(
        decode_batch, fn_kwargs={"side": side, "zoom": zoom}, batch_size=128, batch_format="numpy"
    )
    return _collect(decoded.iter_batches(batch_size=None, batch_format="numpy"), parts)


def decode_batch(batch: Mapping[str, Any], side: int, zoom: float = 1.0) -> dict[str, np.ndarray]:
    """Rows of shards with JPEG bytes to the same rows with (B, side, side, 3) uint8 images."""
    images = np.stack([jpeg.decode(encoded, side, zoom) for encoded in batch["image"]])
    return {**{name: np.asarray(batch[name]) for name in _COLUMNS[1:]}, "image": images}


def _collect(batches: Iterator[Mapping[str, np.ndarray]], of_class: Sequence[str] | None = None) -> dict[str, ImageSet]:
    """Put batches that came in any order into canonical order, by label and source."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in _COLUMNS}
    for batch in batches:
        for name, collected in parts.items():
            collected.append(batch[name])
    columns = {name: np.concatenate(collected) for name, collected in parts.items() if collected}
    if not columns:
        raise UserError("the data set has no train or test image")
    if of_class is not None:
        columns["split"] = np.array(of_class)[columns["label"]]
    order = np.lexsort((columns["source"], columns["label"]))
    sets = {}
    for split in SPLITS if of_class is None else CLASS_SPLITS:
        rows = order[columns["split"][order] == split]
        if not len(rows):
            raise UserError(f"the data set has no image in its {split} split")
        sets[split] = ImageSet(columns["image"][rows], columns["label"][rows].astype(np.int64))
    return sets
