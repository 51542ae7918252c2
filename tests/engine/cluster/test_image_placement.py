"""Images on a cluster of several nodes, of which some die: resident ones stay, streamed ones come all the same."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import ray
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raysearch.data import shards, synthetic
from raysearch.data.feed import DecodeSpec, ImageStream, RayDataDecoder, decoding
from raysearch.data.shards import ShardReader
from raysearch.engine.options import Options
from raysearch.studies.configs import Images

from .. import killing
from ..contexts import make_context, place_images

SPEC = synthetic.SyntheticSpec(classes=8, train_per_class=12, test_per_class=4, side=24)
STORE = 100 << 20
LARGE = DecodeSpec(160)  # 75 KiB an image
PASS = 6000  # images of a pass: four times the store


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> ShardReader:
    directory = synthetic.ensure_shards(SPEC, tmp_path_factory.mktemp("drawn"), rows_per_shard=20)
    return ShardReader(directory, shards.read_manifest(directory))


@pytest.fixture
def nodes(cluster: Cluster) -> Iterator[list[Any]]:
    """Two nodes of two CPUs and a small store; each test has its own."""
    killing.connect(cluster)
    made = [cluster.add_node(num_cpus=2, object_store_memory=STORE, include_dashboard=False) for _ in range(2)]
    try:
        yield made
    finally:
        ray.shutdown()
        for node in made:
            if node in cluster.worker_nodes:
                cluster.remove_node(node)


def kill(cluster: Cluster, node: Any) -> None:
    """At once and whole."""
    (raylet,) = node.all_processes["raylet"]
    for member in [*psutil.Process(raylet.process.pid).children(recursive=True), psutil.Process(raylet.process.pid)]:
        member.kill()
    cluster.remove_node(node, allow_graceful=False)


class Taker:
    """What a training process does: takes passes batch by batch, the next one announced before the last ends."""

    def __init__(self, shelf: ShardReader, decode: RayDataDecoder) -> None:
        self._shelf, self._stream = shelf, ImageStream(shelf, decode.spec, decode)
        self._everything = decoding.decode_rows(shelf, decode.spec, np.arange(len(shelf)))
        self._taken, self._pause, self._pass = 0, 0.0, 0

    def announce(self, rows: np.ndarray) -> None:
        self._stream.prefetch(rows)

    def take(self, rows: np.ndarray, pause: float = 0.0) -> tuple[int, int, int]:
        """Images of the pass that were not what they should be, images decoded on the spot, bytes of this process."""
        wrong = 0
        for start in range(0, len(rows), 50):
            part = rows[start : start + 50]
            wrong += int((self._stream[part] != self._everything[part]).any((1, 2, 3)).sum())
            self._taken += len(part)
            time.sleep(pause)
        return wrong, self._stream.unannounced, psutil.Process().memory_info().rss

    def taken(self) -> int:
        return self._taken


def taker_on(node: Any, shelf: ShardReader, decode: RayDataDecoder) -> Any:
    there = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
    kind = ray.remote(num_cpus=0, max_concurrency=2, scheduling_strategy=there)(Taker)
    return kind.remote(shelf, decode)


def order(number: int, shelf: ShardReader) -> np.ndarray:
    return np.random.default_rng(number).integers(0, len(shelf), PASS)


def used() -> float:
    """Bytes in the object stores of all nodes."""
    return ray.cluster_resources()["object_store_memory"] - ray.available_resources()["object_store_memory"]


@pytest.mark.slow
def test_a_node_that_dies_in_the_middle_of_a_pass_costs_no_image(
    cluster: Cluster, nodes: list[Any], shelf: ShardReader
) -> None:
    ray.cloudpickle.register_pickle_by_value(__import__(__name__, fromlist=["_"]))
    taker = taker_on(nodes[0], shelf, RayDataDecoder(shelf, LARGE, 3, STORE // 4, own_process=True))
    for number in range(2):
        ray.get(taker.announce.remote(order(number, shelf)))
    first = taker.take.remote(order(0, shelf), 0.05)
    while ray.get(taker.taken.remote()) < PASS // 4:
        time.sleep(0.05)
    kill(cluster, nodes[1])
    assert ray.get(taker.taken.remote()) < PASS, "the pass was over before the node died"
    assert ray.get(first, timeout=120)[:2] == (0, 0)
    assert ray.get(taker.take.remote(order(1, shelf)), timeout=120)[:2] == (0, 0)


@pytest.mark.slow
def test_a_set_larger_than_the_store_streams_with_flat_memory(nodes: list[Any], shelf: ShardReader) -> None:
    """Each pass is four times a store, of which a pipeline may take a tenth; memory does not grow from pass to pass."""
    ray.cloudpickle.register_pickle_by_value(__import__(__name__, fromlist=["_"]))
    taker = taker_on(nodes[0], shelf, RayDataDecoder(shelf, LARGE, 2, STORE // 10, own_process=True))
    stored, resident = [], []
    ray.get(taker.announce.remote(order(0, shelf)))
    for number in range(4):
        ray.get(taker.announce.remote(order(number + 1, shelf)))
        taking, most = taker.take.remote(order(number, shelf), 0.02), 0.0
        while not ray.wait([taking], timeout=0.1)[0]:
            most = max(most, used())
        wrong, unannounced, rss = ray.get(taking)
        assert (wrong, unannounced) == (0, 0)
        stored.append(most)
        resident.append(rss)
    print([f"{one / 2**20:.0f}" for one in (*stored, *resident)], "MiB in the stores, and of the process")
    assert max(stored) < STORE
    assert resident[3] < resident[1] * 1.15


def provide(shelf_directory: Path, options: Options, *asked: Images) -> dict[Images, Any]:
    context = make_context(shelf_directory, options=options)
    return place_images(list(asked), context)


@pytest.mark.slow
def test_resident_images_outlive_the_nodes_that_decoded_them(
    cluster: Cluster, nodes: list[Any], tmp_path: Path
) -> None:
    directory = synthetic.ensure_shards(SPEC, tmp_path)
    asked = Images(48, 1.0, None)
    (kept,) = provide(directory, Options(), asked).values()
    before = {split: images.images.copy() for split, images in kept.open().items()}
    for node in nodes:
        kill(cluster, node)
    fresh = cluster.add_node(num_cpus=1, object_store_memory=STORE, include_dashboard=False)
    try:

        @ray.remote(num_cpus=1)
        def sums(kept: Any) -> dict[str, int]:
            return {split: int(images.images.sum()) for split, images in kept.open().items()}

        there = ray.get(sums.remote(kept), timeout=60)
        assert there == {split: int(images.sum()) for split, images in before.items()}
    finally:
        cluster.remove_node(fresh)


def test_resident_images_go_with_the_run(nodes: list[Any], tmp_path: Path) -> None:
    directory = synthetic.ensure_shards(SPEC, tmp_path)
    empty = used()
    kept = provide(directory, Options(), Images(200, 1.0, None))
    size = len(synthetic_images := shards.read_rows(directory, columns=["label"])) * 200 * 200 * 3
    assert len(synthetic_images) == 128
    _until(lambda: used() - empty >= size)
    del kept
    _until(lambda: used() - empty < size / 10)


def test_the_mode_of_each_size_is_what_fits_beside_the_others(
    cluster: Cluster, nodes: list[Any], tmp_path: Path
) -> None:
    """Of 128 images; a node has a store of 100 MiB. What a run says of it is in its record."""
    directory = synthetic.ensure_shards(SPEC, tmp_path)
    small, large, larger = (Images(side, 1.0, None) for side in (100, 300, 400))  # 3.7, 33 and 58.6 MiB
    context = make_context(directory)
    found = place_images([small, large, larger], context)
    kinds = [type(found[one]).__name__ for one in (small, large, larger)]
    assert kinds == ["Resident", "Resident", "Streamed"]
    feeds = [feed.to_dict() for feed in context.run.record.feed or []]
    assert [feed["mode"] for feed in feeds] == ["resident", "resident", "streamed"]
    assert feeds[2]["room"] == pytest.approx(0.6 * STORE - 128 * 3 * (100**2 + 300**2), rel=0.01)
    streamed = found[larger].open()
    assert streamed["train"].streamed
    assert not found[small].open()["train"].streamed
    assert streamed["test"].images.shape == (32, 400, 400, 3)


def _until(true: Any) -> None:
    end = time.monotonic() + 90
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)
