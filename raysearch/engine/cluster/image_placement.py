"""Images of a run, placed where its workers find them: arrays in the object store, or streams that each worker opens.

The driver puts resident arrays into the store, so they outlive every other node and go with the driver. Each node that
runs workers gets one copy, which all its workers map. Streams use some CPUs, which trials leave free. Shards that only
the driver's machine has, such as the embedded data set, are decoded there.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray

from raysearch.core import UserError
from raysearch.data import class_splits, feed, feed_mode, shards
from raysearch.data.feed import DecodeSpec, ImageSet, ImageStream, RayDataDecoder, ThreadDecoder
from raysearch.data.shards import ShardReader
from raysearch.engine.cluster import capacity, shard_visibility
from raysearch.engine.options import RunContext
from raysearch.runs import FeedRecord
from raysearch.storage import Location
from raysearch.studies.configs import Images

_MIN_STREAM_BYTES = 128 << 20  # of the object store, which a stream may always take
_PIPELINES = 2  # of a worker's stream: one for this pass, one for the next


@dataclass(frozen=True)
class Resident:
    """Decoded images in the object store.

    Args:
        pixels: ObjectRef of an array (images, side, side, 3), uint8.
        splits: ObjectRef of the rows of each split, counted among these images.
    """

    pixels: Any
    splits: Any

    def open(self) -> dict[str, ImageSet]:
        """Return the images of each split; the pixels are mapped, not copied."""
        pixels, splits = ray.get([self.pixels, self.splits])
        return feed.image_sets(pixels, splits)


@dataclass(frozen=True)
class Streamed:
    """Images that a worker decodes on demand.

    Args:
        reader: the reader of the shards.
        decoder: starts the worker's pipelines.
        splits: ObjectRef of the rows of each split.
    """

    reader: ShardReader
    decoder: RayDataDecoder
    splits: Any

    def open(self) -> dict[str, ImageSet]:
        """Return the images of each split, as a stream of this process."""
        return feed.image_sets(ImageStream(self.reader, self.decoder.spec, self.decoder), ray.get(self.splits))


PlacedImages = Resident | Streamed


def place_images(
    images: Sequence[Images],
    partitions: Mapping[Images, class_splits.Partition],
    context: RunContext,
    demand: capacity.TrialResources,
) -> dict[Images, PlacedImages]:
    """Decode the images once per size and split that cells need, or prepare to stream them.

    Args:
        images: what the cells need.
        partitions: the class-disjoint splits of those that have one.
        context: the record of its run gets the mode, size and reason for each, and its console prints them.
        demand: resources of a worker group.

    Raises:
        UserError: resident images were asked for and do not fit, streamed ones find no CPU, or shards are damaged.
    """
    run = context.run
    options = context.options
    store = smallest_object_store()
    cpus = _spare_cpus()
    workers = capacity.workers_on_cluster(replace(demand, streams=True))
    reader = ShardReader(run.shards, shards.read_manifest(run.shards))
    location = Location.parse(run.shards)
    unseen_by = shard_visibility.nodes_without(location)
    # Nodes that are yet to come may see a local directory or not.
    decode_here = bool(unseen_by) or (cpus is None and location.local is not None)
    placed: dict[Images, PlacedImages] = {}
    records: list[FeedRecord] = []
    bytes_taken = 0
    for spec in images:
        partition = partitions.get(spec)
        view = DecodeSpec(spec.side, spec.zoom)
        split_rows = feed.split_rows(run.shards, partition.of_class if partition else None)
        rows = feed.all_rows(split_rows)
        decision = feed_mode.choose_feed_mode(
            options.feed, len(rows) * view.bytes, store, options.store_share, bytes_taken
        )
        text = decision.describe(len(rows), spec.side)
        context.console.print(f"images: {text}")
        if partition:
            context.console.print(partition.describe())
        records.append(
            FeedRecord.model_validate({"side": spec.side, "images": len(rows), **decision.plain(), "text": text})
        )
        run.record.feed = records
        if decision.mode is feed_mode.FeedMode.resident:
            decoder = ThreadDecoder(reader, view, os.cpu_count() or 1) if decode_here else RayDataDecoder(reader, view)
            pixels = feed.decode_all(decoder, rows, view)
            placed[spec] = Resident(ray.put(pixels), ray.put(feed.reindex(rows, split_rows)))
            bytes_taken += decision.bytes
        else:
            _check_streamable(spec, decision.why, location, unseen_by, cpus)
            room = max(_MIN_STREAM_BYTES, decision.room // (_PIPELINES * max(1, workers)))
            placed[spec] = Streamed(
                reader, RayDataDecoder(reader, view, cpus, room, own_process=True), ray.put(split_rows)
            )
    return placed


def smallest_object_store() -> int:
    """Return the bytes of the smallest object store of a node that can run workers; each holds all resident images."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    workers = [resources for resources in nodes if resources.get("CPU", 0) >= 1] or nodes
    return int(min(resources.get("object_store_memory", 0) for resources in workers))


def _check_streamable(
    spec: Images, reason: str, location: Location, unseen_by: Sequence[str], cpus: int | None
) -> None:
    """Raise UserError if a node does not see the shards, or no node has a CPU left to decode on."""
    if unseen_by:
        raise UserError(
            f"{spec.side} px images cannot be streamed ({reason}): {location} does not exist on "
            f"{', '.join(unseen_by)}; put it in a bucket, or in a directory that all machines share"
        )
    if cpus == 0:
        raise UserError(
            f"{spec.side} px images cannot be streamed ({reason}): no node has a CPU besides those of the workers"
        )


def _spare_cpus() -> int | None:
    """Return the CPUs that trials leave to decoding: 0 if nodes are too small, None before any node can work."""
    cpus = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    workers = [count for count in cpus if count >= 1]
    return sum(map(capacity.spare_cpus, workers)) if workers else None
