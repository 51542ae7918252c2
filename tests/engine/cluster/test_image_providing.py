"""What images are provided as, and when workers let go of them; without a cluster."""

import copy
import io
import os
import shutil
import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ray
import torch
from rich.console import Console

from raysearch.core import UserError
from raysearch.data import feed, synthetic
from raysearch.data.feed_mode import FeedMode
from raysearch.engine import ray_internals
from raysearch.engine.cluster import capacity, image_placement, memory, shard_visibility
from raysearch.engine.cluster.capacity import TrialResources
from raysearch.engine.options import Options
from raysearch.engine.trials import train_loop
from raysearch.engine.trials.mailbox import Begin, Step, Stop
from raysearch.studies.configs import Images

from ..contexts import make_context, place_images

GIB = 2**30
DRIVER = "driver's"


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `ray.nodes` says."""
    said: list[dict[str, Any]] = []
    monkeypatch.setattr(ray, "nodes", lambda: said)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: DRIVER))
    monkeypatch.setattr(capacity, "workers_on_cluster", lambda demand, autoscaler: 2)
    monkeypatch.setattr(ray_internals, "autoscaler", lambda: None)
    monkeypatch.setattr(shard_visibility, "nodes_without", lambda directory: [])
    monkeypatch.setattr(memory, "free_memory", lambda: 100 * GIB)
    monkeypatch.setattr(memory, "shared_memory_size", lambda: 100 * GIB)
    monkeypatch.setattr(ray, "put", lambda value: value)
    return said


def node(cpus: float, store: float, alive: bool = True, name: str = "") -> dict[str, Any]:
    return {"NodeID": name, "Alive": alive, "Resources": {"CPU": cpus, "object_store_memory": float(store)}}


def head(store: float, cpus: float = 0) -> dict[str, Any]:
    """The node of the driver."""
    return node(cpus, store, name=DRIVER)


def place(data: Path, options: Options, demand: TrialResources | None = None) -> image_placement.PlacedImages:
    asked = Images(16, 1.0, None)
    return place_images([asked], make_context(data, options=options), demand)[asked]


def streamed(data: Path, options: Options) -> image_placement.Streamed:
    found = place(data, options)
    assert isinstance(found, image_placement.Streamed)
    return found


def rooms(monkeypatch: pytest.MonkeyPatch, free: float, shared: float | None) -> image_placement.Room:
    monkeypatch.setattr(memory, "free_memory", lambda: int(free * GIB))
    monkeypatch.setattr(memory, "shared_memory_size", lambda: None if shared is None else int(shared * GIB))
    return image_placement.smallest_room(0.6)


@pytest.mark.parametrize(
    ("own", "others", "free", "shared", "room", "where"),
    [
        (20, [9, 5], 64, 64, 0.6 * 5, "the object store"),
        (4.8, [9, 30], 64, 64, 0.6 * 4.8, "of the driver's node"),
        (20, [30], 8, 64, 0.5 * 8, "free memory"),
        (20, [30], 64, 0.0625, 0.6 * 0.0625, "--shm-size"),
        (20, [30], 64, None, 0.6 * 20, "of the driver's node"),  # no /dev/shm on this system
        (3, [], 64, 64, 0.6 * 3, "the object store"),  # no worker yet
    ],
)
def test_resident_images_must_fit_every_memory_that_they_pass(
    nodes: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    own: float,
    others: list[float],
    free: float,
    shared: float | None,
    room: float,
    where: str,
) -> None:
    """Those of the nodes that train, and the store and the memory of the driver's machine, through which they go."""
    nodes += [
        head(own * GIB),
        node(4, 0.1 * GIB, alive=False, name="dead"),
        *(node(8, store * GIB) for store in others),
    ]
    chosen = rooms(monkeypatch, free, shared)
    assert chosen.memory * chosen.share == pytest.approx(room * GIB)
    assert where in chosen.where


def test_free_memory_is_part_of_this_machine_s_memory() -> None:
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < memory.free_memory() <= physical


def test_a_container_s_limit_is_its_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Pages of files that were read count as in use, and are given back when memory is needed."""
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    (tmp_path / "memory.stat").write_text("anon 1000\ninactive_file 3000\n")
    (tmp_path / "memory.current").write_text("7000\n")
    (tmp_path / "memory.max").write_text("10000\n")
    assert memory.free_memory() == 10000 - 7000 + 3000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_memory() > 10000


def test_shared_memory_has_the_size_of_its_file_system() -> None:
    assert memory.shared_memory_size() == shutil.disk_usage("/dev/shm").total


def test_images_that_do_not_fit_the_driver_are_not_decoded(
    nodes: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, small_data: Path
) -> None:
    """Large workers and a small head: the head, and with it the cluster, would run out of memory."""
    nodes += [head(8 * GIB), node(8, 200 * GIB)]
    monkeypatch.setattr(memory, "free_memory", lambda: 12 * 16 * 16 * 3 * 2 - 1)
    monkeypatch.setattr(feed, "decode_pieces", lambda *_: pytest.fail("images were decoded"))
    assert isinstance(place(small_data, Options(store_share=0.95)), image_placement.Streamed)
    with pytest.raises(UserError, match=r"--feed resident.*50% of the free memory of the driver's machine"):
        place(small_data, Options(feed=FeedMode.resident))


def test_resident_images_pass_through_the_driver_piece_by_piece(
    nodes: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, small_data: Path
) -> None:
    nodes += [head(8 * GIB, cpus=8)]
    monkeypatch.setattr(image_placement, "PIECE_BYTES", 5 * 16 * 16 * 3)
    monkeypatch.setattr(shard_visibility, "nodes_without", lambda directory: ["elsewhere"])  # decoded in this process
    alive: list[weakref.ref[Any]] = []
    most: list[int] = []

    def put(value: Any) -> Any:
        """Copy, as an object store does, and count the arrays that were put before and still exist."""
        if isinstance(value, np.ndarray):
            most.append(sum(ref() is not None for ref in alive))
            alive.append(weakref.ref(value))
        return copy.deepcopy(value)

    monkeypatch.setattr(ray, "put", put)
    monkeypatch.setattr(ray, "get", lambda values: values)
    placed = place(small_data, Options())
    assert most == [0, 0, 0], "of 5, 5 and 2 images"
    sets = placed.open()
    whole = feed.decode_dataset(small_data, 16)
    for split, images in whole.items():
        assert np.array_equal(sets[split].images, images.images)


@pytest.fixture(scope="module")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 images."""
    spec = synthetic.SyntheticSpec(classes=2, train_per_class=4, test_per_class=2, side=16)
    return synthetic.ensure_shards(spec, tmp_path_factory.mktemp("small"))


def test_a_stream_has_its_share_of_cpus_and_store(nodes: list[dict[str, Any]], small_data: Path) -> None:
    options = Options(feed=FeedMode.streamed, store_share=0.5)
    nodes += [head(8 * GIB, cpus=2), node(16, 8 * GIB)]
    decoder = streamed(small_data, options).decoder
    assert decoder.cpus == 1 + 4
    assert decoder.store_bytes == 4 * GIB // (2 * 2)  # two workers, of two pipelines each
    assert decoder.own_process
    on_gpus = place(small_data, options, TrialResources(gpus=0.5))
    assert isinstance(on_gpus, image_placement.Streamed)
    assert on_gpus.decoder.cpus == 2 + 16, "no node has a GPU for workers"
    nodes[1]["Resources"]["GPU"] = 2.0
    on_gpus = place(small_data, options, TrialResources(gpus=0.5))
    assert isinstance(on_gpus, image_placement.Streamed)
    assert on_gpus.decoder.cpus == 2 + 16 - 4, "all but one for each of four workers"
    nodes[:] = [head(8 * GIB)]
    assert streamed(small_data, options).decoder.cpus is None
    nodes[:] = [head(8 * GIB, cpus=1), node(1, 8 * GIB)]
    with pytest.raises(UserError, match=r"16 px images cannot be streamed \(as asked\): no node has a CPU besides"):
        streamed(small_data, options)


@pytest.mark.parametrize(("kib", "side", "is_large"), [(415, 224, True), (120, 224, False), (415, 448, False)])
def test_a_stream_of_large_photographs_is_told_how_to_be_faster(
    nodes: list[dict[str, Any]], small_data: Path, kib: int, side: int, is_large: bool
) -> None:
    nodes += [head(8 * GIB, cpus=4)]
    context = make_context(small_data, options=Options(feed=FeedMode.streamed))
    shard = context.run.manifest.shards[0].model_copy(update={"bytes": 12 * kib << 10})
    manifest = context.run.manifest.model_copy(update={"shards": (shard,)})
    printed = io.StringIO()
    context = replace(context, run=replace(context.run, manifest=manifest), console=Console(file=printed, width=300))
    place_images([Images(side, 1.0, None)], context)
    assert (f"--side {side} or --side {2 * side}" in printed.getvalue()) == is_large


class Fed:
    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class Task:
    steps = 1
    metric_ids: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, config: Any, seed: int, worker: Any) -> None:
        self._fails = config["fails"]

    def advance(self) -> dict[str, Any]:
        if self._fails:
            raise ArithmeticError("planted")
        return {"loss": 0.0}

    def evaluate(self) -> dict[str, float]:
        return {}


def test_a_cell_s_images_are_let_go_when_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the next cell's are opened, when it fails, and when the worker stops."""
    fed: list[Fed] = []
    seen: list[list[int]] = []

    class Source:
        cache = Path()

        def feed(self, data_set: str | None, config: Any) -> Fed:
            seen.append([one.closed for one in fed])
            fed.append(Fed())
            return fed[-1]

    good, bad = {"fails": False}, {"fails": True}
    commands = iter([Begin("a", good, 0), Step(), Begin("b", bad, 0), Step(), Begin("c", good, 0)])
    exchange = SimpleNamespace(remote=lambda *_: next(commands, None) or Stop())
    context = SimpleNamespace(get_world_rank=lambda: 0, get_world_size=lambda: 1)
    monkeypatch.setattr(ray, "get", lambda value: value)
    monkeypatch.setattr(ray.train, "get_context", lambda: context)
    monkeypatch.setattr(ray.train.torch, "get_device", lambda: torch.device("cpu"))
    config = {"mailbox": SimpleNamespace(exchange=exchange), "build": Task, "source": Source(), "threads": 1, "gpus": 0}
    train_loop.train_loop(config)
    assert [bool(one.closed) for one in fed] == [True, True, True]
    assert [all(closed) for closed in seen] == [True, True, True]
