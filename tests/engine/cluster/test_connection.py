"""Places for worker groups: counted on plain resource dicts, and on a cluster whose nodes come and go."""

import itertools
import os
import random
from collections.abc import Iterator

import pytest
import ray
from ray.cluster_utils import Cluster
from ray.core.generated import autoscaler_pb2

from raysearch.core.errors import UserError
from raysearch.engine import ray_internals
from raysearch.engine.cluster import connection
from raysearch.engine.cluster.connection import Slots, TrialResources


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head with one CPU, on a machine where other Ray clusters may run."""
    port = connection.free_port()
    monkeypatch.setenv("RAY_ADDRESS", f"{ray.util.get_node_ip_address()}:{port}")
    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "gcs_server_port": port})
    try:
        yield started
    finally:
        started.shutdown()


def packed(resources: dict[str, float], demand: TrialResources) -> int:
    """Workers placed one by one, each on the first GPU with room, until no more fits: the slow way to count them."""
    cpus = resources.get("CPU", 0)
    gpus = [10_000] * int(resources.get("GPU", 0))  # Ray rounds a share to ten thousandths
    for count in itertools.count():
        cpus -= demand.cpus
        if cpus < 0:
            return count
        if not demand.gpus:
            continue
        needed = [10_000] * int(demand.gpus) if demand.gpus >= 1 else [round(demand.gpus * 10_000)]
        for share in needed:
            place = next((i for i, free in enumerate(gpus) if free >= share), None)
            if place is None:
                return count
            gpus[place] -= share
    raise AssertionError


@pytest.mark.parametrize("gpus", [0.0, 0.1, 0.2, 0.25, 0.3, 1 / 6, 1 / 3, 0.34, 0.5, 0.51, 0.9, 1.0, 2.0, 3.0])
def test_places_are_what_packing_one_by_one_gives(gpus: float) -> None:
    rng = random.Random(0)
    for _ in range(50):
        resources = {"CPU": float(rng.randrange(0, 40)), "GPU": float(rng.randrange(0, 9)), "memory": 1e9}
        demand = TrialResources(1, rng.randrange(1, 5), gpus)
        assert connection.workers_per_node(resources, demand) == packed(resources, demand), (resources, demand)


def test_a_node_without_the_resource_has_no_place() -> None:
    assert connection.workers_per_node({}, TrialResources()) == 0
    assert connection.workers_per_node({"CPU": 8.0}, TrialResources(gpus=0.5)) == 0
    assert connection.workers_per_node({"CPU": 0.5}, TrialResources()) == 0


@pytest.mark.parametrize("gpus", [-0.5, 1.5, 1e-5, float("nan"), float("inf")])
def test_a_share_that_no_gpu_can_give_is_said(gpus: float) -> None:
    with pytest.raises(UserError, match="--gpus-per-worker"):
        TrialResources(gpus=gpus)


class Fake:
    """A cluster as Ray would describe it: nodes, and what its autoscaler may add."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.nodes: list[dict] = []
        self.config: autoscaler_pb2.ClusterConfig | None = None
        self.grows, self.now = False, 0.0
        monkeypatch.setattr(connection.ray, "nodes", lambda: self.nodes)
        monkeypatch.setattr(ray_internals._cluster_state, "get_cluster_config", lambda: self.config)
        monkeypatch.setattr(ray_internals, "autoscaler_without_limits", lambda: self.grows)
        monkeypatch.setattr(connection.time, "monotonic", lambda: self.now)

    def has(self, *nodes: dict[str, float], dead: tuple[dict[str, float], ...] = ()) -> None:
        self.nodes = [{"Alive": True, "Resources": one} for one in nodes]
        self.nodes += [{"Alive": False, "Resources": one} for one in dead]

    def may_add(self, *groups: tuple[dict[str, int], int]) -> None:
        self.config = autoscaler_pb2.ClusterConfig()
        for resources, most in groups:
            self.config.node_group_configs.add(resources=resources, max_count=most)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    return Fake(monkeypatch)


def test_slots_are_the_groups_that_fit(fake: Fake) -> None:
    fake.has({"CPU": 4.0}, {"CPU": 3.0}, {}, dead=({"CPU": 64.0},))
    assert Slots(TrialResources(workers=1))() == 7
    assert Slots(TrialResources(workers=2))() == 3, "a group may span nodes"
    assert Slots(TrialResources(workers=2, cpus=2))() == 1, "a worker may not"
    assert Slots(TrialResources(workers=1), limit=5)() == 5
    assert Slots(TrialResources(workers=1), limit=50)() == 7


def test_where_images_stream_each_node_keeps_some_cpus_free(fake: Fake) -> None:
    fake.has({"CPU": 2.0}, {"CPU": 16.0}, {"CPU": 1.0})
    assert Slots(TrialResources())() == 19
    assert Slots(TrialResources(streams=True))() == 1 + 12 + 1
    fake.has({"CPU": 2.0})
    with pytest.raises(UserError, match="a CPU besides on each node, to decode images on; the cluster has room for 1"):
        Slots(TrialResources(workers=2, streams=True))


def test_what_never_fits_is_said(fake: Fake) -> None:
    fake.has({"CPU": 4.0, "GPU": 1.0})
    with pytest.raises(UserError, match="needs 5 workers of 1 CPU; the cluster has room for 4"):
        Slots(TrialResources(workers=5))
    with pytest.raises(UserError, match=r"3 workers of 1 CPU and 0\.5 GPU; the cluster has room for 2"):
        Slots(TrialResources(workers=3, gpus=0.5))


def test_what_the_autoscaler_may_add_counts(fake: Fake) -> None:
    fake.has({})
    fake.may_add(({"CPU": 1}, 2), ({"CPU": 8, "GPU": 2}, 3))
    assert Slots(TrialResources())() == 2 + 24
    assert Slots(TrialResources(gpus=1))() == 6
    assert Slots(TrialResources(gpus=0.5))() == 12
    fake.may_add(({"CPU": 2}, -1))  # without a limit
    assert Slots(TrialResources(), limit=9)() == 9
    fake.may_add(({"CPU": 2}, 0))
    with pytest.raises(UserError, match="room for 0"):
        Slots(TrialResources())


def test_a_head_that_trains_counts_beside_the_nodes_that_may_be_added(fake: Fake) -> None:
    head = {"node:__internal_head__": 1.0}
    fake.has({"CPU": 6.0, **head}, {"CPU": 2.0})
    fake.may_add(({"CPU": 2}, 3))
    assert Slots(TrialResources())() == 12
    fake.has({"CPU": 6.0, **head}, {"CPU": 16.0})
    assert Slots(TrialResources())() == 22, "nodes that it did not add"


def test_an_autoscaler_that_says_nothing_is_asked_for_more(fake: Fake) -> None:
    """What waits is what it sees: a group at first, then twice what fits."""
    fake.grows = True
    fake.has({})
    slots, few = Slots(TrialResources(workers=2)), Slots(TrialResources(workers=2), limit=3)
    for cpus, asking in ((0, 1), (1, 1), (2, 2), (4, 4), (8, 8), (2, 2)):
        fake.now += 10
        fake.has({}, {"CPU": float(cpus)})
        assert slots() == asking
        assert few() == min(3, asking)


def test_slots_are_looked_up_again_but_not_at_every_call(fake: Fake) -> None:
    fake.has({"CPU": 2.0})
    slots = Slots(TrialResources())
    fake.has({"CPU": 5.0})
    assert slots() == 2
    fake.now += 10
    assert slots() == 5
    fake.has()
    fake.now += 10
    assert slots() == 1, "one group waits for nodes to come back"


def test_slots_follow_nodes_that_come_and_go(nodes: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_LOOK_SECONDS", -1.0)
    with connection.connected(nodes.address):
        slots, pairs = Slots(TrialResources()), None
        assert slots() == 1
        with pytest.raises(UserError, match="room for 1"):
            Slots(TrialResources(workers=2))
        added = nodes.add_node(num_cpus=3)
        assert slots() == 4
        pairs = Slots(TrialResources(workers=2))
        assert pairs() == 2
        nodes.remove_node(added)
        assert slots() == 1
        assert pairs() == 1


def test_the_address_that_is_given_is_the_one_that_is_joined(nodes: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray itself prefers what RAY_ADDRESS says to what it is given."""
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with connection.connected(nodes.address):
        assert ray.get_runtime_context().gcs_address == nodes.address
    assert os.environ["RAY_ADDRESS"] == "127.0.0.1:1"
    with pytest.raises(UserError, match="no Ray cluster answers at"), connection.connected(None):
        raise AssertionError


def test_without_an_address_ray_starts_here_and_stops_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with connection.connected(None):
        assert Slots(TrialResources())() == int(ray.cluster_resources()["CPU"])
        assert connection.hardware()["nodes"] == 1
        with connection.connected(None):  # whoever connected first looks after it
            pass
        assert ray.is_initialized()
    assert not ray.is_initialized()


def test_ray_on_this_machine_is_told_how_much_to_remember(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list(ray_internals.HEAD_HISTORY_LIMITS)
    for name in asked:
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    monkeypatch.setenv(asked[0], "7")  # what a user says stays
    seen: dict[str, str] = {}
    monkeypatch.setattr(ray, "init", lambda **words: seen.update(os.environ))
    connection._start_local({})
    assert [seen[name] for name in asked] == ["7", "1000", "1000"]
