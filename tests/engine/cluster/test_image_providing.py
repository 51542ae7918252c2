"""What images are provided as, and when workers let go of them; without a cluster."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from raysearch.core import UserError
from raysearch.data import synthetic
from raysearch.engine.cluster import capacity, image_placement, shard_visibility
from raysearch.engine.cluster.capacity import TrialResources
from raysearch.engine.options import Options
from raysearch.engine.trials import train_loop
from raysearch.engine.trials.mailbox import Begin, Step, Stop
from raysearch.studies.configs import Images

from ..contexts import make_context

GIB = 2**30


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `ray.nodes` says."""
    said: list[dict[str, Any]] = []
    monkeypatch.setattr(ray, "nodes", lambda: said)
    monkeypatch.setattr(capacity, "workers_on_cluster", lambda demand: 2)
    monkeypatch.setattr(shard_visibility, "nodes_without", lambda directory: [])
    monkeypatch.setattr(ray, "put", lambda value: value)
    return said


def node(cpus: float, store: int, alive: bool = True) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"CPU": cpus, "object_store_memory": float(store)}}


def streamed(data: Path, options: Options) -> image_placement.Streamed:
    asked = Images(16, 1.0, None)
    found = image_placement.place_images([asked], {}, make_context(data, options=options), TrialResources())[asked]
    assert isinstance(found, image_placement.Streamed)
    return found


def test_the_store_that_counts_is_the_smallest_of_a_node_that_works(nodes: list[dict[str, Any]]) -> None:
    nodes += [node(0, 1 * GIB), node(8, 9 * GIB), node(2, 5 * GIB), node(4, 2 * GIB, alive=False)]
    assert image_placement.smallest_object_store() == 5 * GIB
    nodes[:] = [node(0, 3 * GIB)]  # nobody works yet
    assert image_placement.smallest_object_store() == 3 * GIB


def test_a_stream_has_its_share_of_cpus_and_store(nodes: list[dict[str, Any]], tmp_path: Path) -> None:
    data = synthetic.ensure_shards(
        synthetic.SyntheticSpec(classes=2, train_per_class=4, test_per_class=2, side=16), tmp_path
    )
    options = Options(feed="streamed", store_share=0.5)  # type: ignore[arg-type]
    nodes += [node(2, 8 * GIB), node(16, 8 * GIB)]
    decoder = streamed(data, options).decoder
    assert decoder.cpus == 1 + 4
    assert decoder.store_bytes == 4 * GIB // (2 * 2)  # two workers, of two pipelines each
    assert decoder.own_process
    nodes[:] = [node(0, 8 * GIB)]
    assert streamed(data, options).decoder.cpus is None
    nodes[:] = [node(1, 8 * GIB), node(1, 8 * GIB)]
    with pytest.raises(UserError, match=r"16 px images cannot be streamed \(as asked\): no node has a CPU besides"):
        streamed(data, options)


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

        def feed(self, config: Any) -> Fed:
            seen.append([one.closed for one in fed])
            fed.append(Fed())
            return fed[-1]

    good, bad = {"fails": False}, {"fails": True}
    commands = iter([Begin("a", good, 0), Step(), Begin("b", bad, 0), Step(), Begin("c", good, 0)])
    exchange = SimpleNamespace(remote=lambda *_: next(commands, None) or Stop())
    context = SimpleNamespace(get_world_rank=lambda: 0, get_world_size=lambda: 1)
    monkeypatch.setattr(ray, "get", lambda value: value)
    monkeypatch.setattr(ray.train, "get_context", lambda: context)
    monkeypatch.setattr(ray.train.torch, "get_device", lambda: "cpu")
    config = {"mailbox": SimpleNamespace(exchange=exchange), "build": Task, "source": Source(), "threads": 1}
    train_loop.train_loop(config)
    assert [bool(one.closed) for one in fed] == [True, True, True]
    assert [all(closed) for closed in seen] == [True, True, True]
