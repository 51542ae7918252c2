"""Images of a run, placed where its workers find them: arrays in the object store, or streams that each worker opens.

The driver puts resident arrays into the store of its own node, so they outlive every other node and go with the driver.
Each node that runs workers gets one copy, which all its workers map. The driver decodes and puts piece after piece, so
that a large set passes through its memory and never has to fit there twice.

Streams use some CPUs, which trials leave free. Shards that only the driver's machine has, such as the embedded data
set, are decoded there. So is everything on a cluster of one machine, since Ray Data would first start processes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import ray

from raysearch.core import UserError, count_cpus
from raysearch.data import class_splits, feed, feed_mode, shards
from raysearch.data.feed import DecodeSpec, ImageSet, ImageStream, RayDataDecoder, ThreadDecoder
from raysearch.data.shards import ShardReader
from raysearch.engine import ray_internals
from raysearch.engine.cluster import capacity, memory, shard_visibility
from raysearch.engine.options import DataSet, RunContext
from raysearch.runs import FeedRecord
from raysearch.storage import Location
from raysearch.studies.configs import Images

PIECE_BYTES = 1 << 30  # of resident images in one array of the object store
_MIN_STREAM_BYTES = 128 << 20  # of the object store, which a stream may always take
_PIPELINES = 2  # of a worker's stream: one for this pass, one for the next
_FREE_SHARE = 0.5  # of the free memory of the driver's machine, for resident images
_LARGE_JPEG = 160 << 10  # bytes of an image for a side of 224 px: such a one has the pixels for 448 px and more


@dataclass(frozen=True)
class Resident:
    """Decoded images in the object store.

    Args:
        pieces: ObjectRefs of arrays (k, side, side, 3), uint8, that follow one another.
        splits: ObjectRef of the rows of each split, counted over all pieces.
    """

    pieces: tuple[Any, ...]
    splits: Any

    def open(self) -> dict[str, ImageSet]:
        """Return the images of each split; the pixels are mapped, not copied."""
        *pieces, splits = ray.get([*self.pieces, self.splits])
        return feed.image_sets(pieces[0] if len(pieces) == 1 else feed.ImagePieces(pieces), splits)


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


class ImagePlacer:
    """Places the images of a run, one data set after the other, in what room the sets before have left.

    Args:
        context: the record of its run gets the mode, size and reason for each size, and its console prints them.
        demand: resources of a worker group.
    """

    def __init__(self, context: RunContext, demand: capacity.TrialResources) -> None:
        self._context = context
        self._demand = demand
        self._room = smallest_room(context.options.store_share)  # before the first image takes some of it
        self._records: list[FeedRecord] = []
        self._bytes_taken = 0

    def place(
        self, data: DataSet, images: Sequence[Images], partitions: Mapping[Images, class_splits.Partition]
    ) -> dict[Images, PlacedImages]:
        """Decode the images once per size and split that cells need, or prepare to stream them.

        Args:
            data: the data set.
            images: what the cells need.
            partitions: the class-disjoint splits of those that have one.

        Raises:
            UserError: resident images were asked for and do not fit, streamed ones find no CPU, or shards are damaged.
        """
        context = self._context
        assert data.shards is not None
        options = context.options
        room = self._room
        cpus = _spare_cpus(self._demand)
        workers = capacity.workers_on_cluster(replace(self._demand, streams=True), ray_internals.autoscaler())
        reader = ShardReader(data.shards, shards.read_manifest(data.shards))
        location = Location.parse(data.shards)
        unseen_by = shard_visibility.nodes_without(location)
        # Nodes that are yet to come may see a local directory or not.
        decode_here = bool(unseen_by) or (cpus is None and location.local is not None) or _is_alone()
        placed: dict[Images, PlacedImages] = {}
        for spec in images:
            partition = partitions.get(spec)
            view = DecodeSpec(spec.side, spec.zoom)
            split_rows = feed.split_rows(data.shards, partition.of_class if partition else None)
            rows = feed.all_rows(split_rows)
            decision = feed_mode.choose_feed_mode(
                options.feed, len(rows) * view.bytes, room.memory, room.share, self._bytes_taken, room.where
            )
            text = decision.describe(len(rows), spec.side)
            context.console.print(f"images: {text}")
            if partition:
                context.console.print(partition.describe())
            self._records.append(
                FeedRecord.model_validate({"side": spec.side, "images": len(rows), **decision.plain(), "text": text})
            )
            context.run.record.feed = list(self._records)
            if decision.mode is feed_mode.FeedMode.resident:
                decoder = ThreadDecoder(reader, view, count_cpus()) if decode_here else RayDataDecoder(reader, view)
                # `map` holds no piece while the next one is decoded.
                pieces = tuple(map(ray.put, feed.decode_pieces(decoder, rows, view, PIECE_BYTES)))
                placed[spec] = Resident(pieces, ray.put(feed.reindex(rows, split_rows)))
                self._bytes_taken += decision.bytes
            else:
                _check_streamable(spec, decision.why, location, unseen_by, cpus)
                large = _describe_large_images(data.manifest, spec.side)
                if large:
                    context.console.print(large)
                stream_room = int(options.store_share * smallest_object_store()) - self._bytes_taken
                bytes_each = max(_MIN_STREAM_BYTES, stream_room // (_PIPELINES * max(1, workers)))
                placed[spec] = Streamed(
                    reader, RayDataDecoder(reader, view, cpus, bytes_each, own_process=True), ray.put(split_rows)
                )
        return placed


class Room(NamedTuple):
    """A memory that resident images must fit, and the share of it that they may take."""

    memory: int  # bytes
    share: float
    where: str  # name of the memory


def smallest_room(store_share: float) -> Room:
    """Return the memory that leaves the least room for resident images.

    They must fit the object store of each node that runs workers. They must also fit the store of the driver's node,
    where they are put first, and half of the free memory of that node's machine, of which the store takes its pages.

    Args:
        store_share: the share of an object store that decoded images may take.
    """
    own_id = ray.get_runtime_context().get_node_id()
    (own,) = (node["Resources"] for node in ray.nodes() if node["NodeID"] == own_id)
    own_store = int(own.get("object_store_memory", 0))
    rooms = [
        Room(smallest_object_store(), store_share, "the object store"),
        Room(own_store, store_share, "the object store of the driver's node"),
        Room(memory.free_memory(), _FREE_SHARE, "the free memory of the driver's machine"),
    ]
    shared_memory = memory.shared_memory_size()
    if shared_memory is not None and shared_memory < own_store:
        # Ray then has its store in files, and reports the size that it wanted.
        where = f"{memory.SHARED_MEMORY}, which a container can have more of (--shm-size)"
        rooms.append(Room(shared_memory, store_share, where))
    return min(rooms, key=lambda room: room.memory * room.share)


def smallest_object_store() -> int:
    """Return the bytes of the smallest object store of a node that can run workers; each holds all resident images."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    workers = [resources for resources in nodes if resources.get("CPU", 0) >= 1] or nodes
    return int(min(resources.get("object_store_memory", 0) for resources in workers))


def _describe_large_images(manifest: shards.Manifest, side: int) -> str | None:
    """Return a line for people if smaller images in the shards would make a stream a few times faster."""
    mean_bytes = sum(shard.bytes for shard in manifest.shards) / manifest.images
    if mean_bytes <= _LARGE_JPEG * (side / 224) ** 2:
        return None
    return (
        f"an image takes {mean_bytes / 1024:.0f} KiB, and a stream decodes it in each pass; after raysearch ingest "
        f"--side {side} or --side {2 * side} that takes a fraction of the time (docs/data.md)"
    )


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


def _is_alone() -> bool:
    """Return whether the driver's node is the whole cluster, now and later."""
    this_node = ray.get_runtime_context().get_node_id()
    present = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    return present == {this_node} and ray_internals.autoscaler() is None


def _spare_cpus(demand: capacity.TrialResources) -> int | None:
    """Return the CPUs that trials leave to decoding: 0 if nodes are too small, None before any node can work."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    return sum(capacity.decoding_cpus(resources, demand) for resources in nodes) if nodes else None
