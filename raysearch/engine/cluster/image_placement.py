"""The images of a run as its workers find them: arrays in the object store, or pipelines that each worker starts.

Resident arrays are put there by the driver, so they outlive every other node and go with the driver; each node that
runs workers gets one copy, which all its workers map. Streams take some CPUs that trials then leave free. Shards that
lie on the driver's machine alone, as the embedded data set does, are decoded there.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray

from raysearch.core.errors import UserError
from raysearch.data import class_splits, feed, feed_mode, shards
from raysearch.data.feed import Decoder, DecodeSpec, ImageSet, ImageStream, RayDataDecoder, ThreadDecoder
from raysearch.data.shards import ShardReader
from raysearch.engine.cluster import connection, shard_visibility
from raysearch.engine.options import RunContext
from raysearch.runs.study_record import FeedRecord
from raysearch.storage import Location
from raysearch.studies.configs import Images

_LEAST_STORE = 128 << 20  # bytes that a pipeline may always take


@dataclass(frozen=True)
class Resident:
    """Decoded images in the object store."""

    pixels: Any  # ObjectRef of (m, side, side, 3) uint8
    divided: Any  # ObjectRef of split -> Members, counted among these images

    def open(self) -> dict[str, ImageSet]:
        pixels, divided = ray.get([self.pixels, self.divided])
        return feed.image_sets(pixels, divided)


@dataclass(frozen=True)
class Streamed:
    """What a worker makes its stream of."""

    shelf: ShardReader
    decode: RayDataDecoder
    divided: Any  # ObjectRef of split -> Members

    def open(self) -> dict[str, ImageSet]:
        return feed.image_sets(ImageStream(self.shelf, self.decode.view, self.decode), ray.get(self.divided))


PlacedImages = Resident | Streamed


def place_images(
    images: Sequence[Images],
    divided: Mapping[Images, class_splits.Partition],
    context: RunContext,
    demand: connection.TrialResources,
) -> dict[Images, PlacedImages]:
    """Decode the images once for each size and split that a cell asks for, or make ready to stream them.

    Args:
        images: what cells ask for.
        divided: the class-disjoint split of those that have one.
        context: its run's record and its console get the mode, the sizes and the reason of each.
        demand: of a worker group.

    Raises:
        UserError: no room for what was asked to be resident, no CPU for what is to be streamed, damaged shards.
    """
    run = context.run
    options = context.options
    store = smallest_object_store()
    cpus = _spare_cpus()
    workers = connection.workers_on_cluster(replace(demand, streams=True))
    shelf = ShardReader(run.shards, shards.read_manifest(run.shards))
    place = Location.parse(run.shards)
    blind = shard_visibility.nodes_without(place)
    here = bool(blind) or (cpus is None and place.local is not None)  # nodes that are to come may see it or not
    kept: dict[Images, PlacedImages] = {}
    feeds: list[FeedRecord] = []
    taken = 0
    for one in images:
        parts, view = divided.get(one), DecodeSpec(one.side, one.zoom)
        members = feed.split_rows(run.shards, parts.of_class if parts else None)
        numbers = feed.all_rows(members)
        choice = feed_mode.choose_feed_mode(options.feed, len(numbers) * view.bytes, store, options.store_share, taken)
        text = choice.describe(len(numbers), one.side)
        context.console.print(f"images: {text}")
        if parts:
            context.console.print(parts.describe())
        feeds.append(
            FeedRecord.model_validate({"side": one.side, "images": len(numbers), **choice.plain(), "text": text})
        )
        run.record.feed = feeds
        if choice.mode is feed_mode.FeedMode.resident:
            pixels = feed.decode_all(_decoder(shelf, view, here), numbers, view)
            kept[one] = Resident(ray.put(pixels), ray.put(feed.reindex(numbers, members)))
            taken += choice.bytes
        else:
            if blind:
                raise UserError(
                    f"{one.side} px images cannot be streamed ({choice.why}): {place} is not there on "
                    f"{', '.join(blind)}; put it in a bucket, or in a directory that all machines share"
                )
            if cpus == 0:
                raise UserError(
                    f"{one.side} px images cannot be streamed ({choice.why}): no node has a CPU beside a worker's"
                )
            # a worker has two pipelines: of this pass and of the next
            room = max(_LEAST_STORE, choice.room // (2 * max(1, workers)))
            kept[one] = Streamed(shelf, RayDataDecoder(shelf, view, cpus, room, apart=True), ray.put(members))
    return kept


def _decoder(shelf: ShardReader, view: DecodeSpec, here: bool) -> Decoder:
    """Of resident images: by all nodes, or by this process where it may be the only one that sees the shards."""
    return ThreadDecoder(shelf, view, os.cpu_count() or 1) if here else RayDataDecoder(shelf, view)


def smallest_object_store() -> int:
    """Bytes of the smallest object store of a node that can run workers: each of them holds all resident images."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    working = [one for one in nodes if one.get("CPU", 0) >= 1] or nodes
    return int(min(one.get("object_store_memory", 0) for one in working))


def _spare_cpus() -> int | None:
    """CPUs that trials leave to decoding; 0 where nodes are too small, None where there is no node to work on yet."""
    nodes = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    working = [cpus for cpus in nodes if cpus >= 1]
    return sum(map(connection.spare_cpus, working)) if working else None
