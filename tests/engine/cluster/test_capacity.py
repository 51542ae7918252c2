"""The capacity of a cluster: counted on plain resource dicts, and on a cluster whose nodes come and go."""

import itertools
import random
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from ray.cluster_utils import Cluster

from raysearch.core import UserError
from raysearch.engine import ray_internals
from raysearch.engine.cluster import capacity, connection, memory
from raysearch.engine.cluster.capacity import Slots, TrialResources
from raysearch.engine.ray_internals import Autoscaler

from ..heads import cluster_with_one_cpu


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    with cluster_with_one_cpu(monkeypatch) as cluster:
        yield cluster


def packed(resources: dict[str, float], demand: TrialResources) -> int:
    """Count workers by placing them one by one, each on the first GPU with room, until none fits."""
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
def test_workers_per_node_equals_packing_them_one_by_one(gpus: float) -> None:
    rng = random.Random(0)
    for _ in range(50):
        resources = {"CPU": float(rng.randrange(0, 40)), "GPU": float(rng.randrange(0, 9)), "memory": 1e9}
        demand = TrialResources(1, rng.randrange(1, 5), gpus)
        assert capacity.workers_per_node(resources, demand) == packed(resources, demand), (resources, demand)


def test_a_node_without_the_resource_holds_no_worker() -> None:
    assert capacity.workers_per_node({}, TrialResources()) == 0
    assert capacity.workers_per_node({"CPU": 8.0}, TrialResources(gpus=0.5)) == 0
    assert capacity.workers_per_node({"CPU": 0.5}, TrialResources()) == 0


@pytest.mark.parametrize("gpus", [-0.5, 1.5, 1e-5, float("nan"), float("inf")])
def test_an_impossible_share_of_a_gpu_is_an_error(gpus: float) -> None:
    with pytest.raises(UserError, match="--gpus-per-worker"):
        TrialResources(gpus=gpus)


class Fake:
    """A cluster as Ray describes it: its nodes, and what its autoscaler may add."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.nodes: list[dict] = []
        self.autoscaler: Autoscaler | None = None
        self.now = 0.0
        self.places = 100
        monkeypatch.setattr(capacity.ray, "nodes", lambda: self.nodes)
        monkeypatch.setattr(ray_internals, "autoscaler", lambda: self.autoscaler)
        monkeypatch.setattr(memory, "places_on_head", lambda: self.places)
        monkeypatch.setattr(capacity.time, "monotonic", lambda: self.now)

    def has(self, *nodes: dict[str, float], dead: tuple[dict[str, float], ...] = ()) -> None:
        self.nodes = [{"Alive": True, "Resources": resources} for resources in nodes]
        self.nodes += [{"Alive": False, "Resources": resources} for resources in dead]

    def may_add(self, *types: tuple[dict[str, float], int], max_nodes: int = 100) -> None:
        self.autoscaler = Autoscaler(types, max_nodes)


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


def test_streamed_images_leave_some_cpus_of_each_node_free(fake: Fake) -> None:
    fake.has({"CPU": 2.0}, {"CPU": 16.0}, {"CPU": 1.0})
    assert Slots(TrialResources())() == 19
    assert Slots(TrialResources(streams=True))() == 1 + 12 + 1
    fake.has({"CPU": 2.0})
    with pytest.raises(UserError, match="a free CPU on each node to decode images; the cluster has room for 1"):
        Slots(TrialResources(workers=2, streams=True))


def test_a_trial_that_never_fits_is_an_error(fake: Fake) -> None:
    fake.has({"CPU": 4.0, "GPU": 1.0})
    with pytest.raises(UserError, match="needs 5 workers of 1 CPU; the cluster has room for 4"):
        Slots(TrialResources(workers=5))
    with pytest.raises(UserError, match=r"3 workers of 1 CPU and 0\.5 GPU; the cluster has room for 2"):
        Slots(TrialResources(workers=3, gpus=0.5))


def test_nodes_that_the_autoscaler_may_add_count(fake: Fake) -> None:
    fake.has({})
    fake.may_add(({"CPU": 1}, 2), ({"CPU": 8, "GPU": 2}, 3))
    assert Slots(TrialResources())() == 2 + 24
    assert Slots(TrialResources(gpus=1))() == 6
    assert Slots(TrialResources(gpus=0.5))() == 12
    fake.may_add(({"CPU": 1}, 2), ({"CPU": 8, "GPU": 2}, 3), max_nodes=4)
    assert Slots(TrialResources())() == 1 + 24, "the limit of all nodes together"
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


def test_an_autoscaler_without_published_limits_is_asked_for_more(fake: Fake) -> None:
    """It sees only waiting groups, so one group waits at first, then twice as many as fit."""
    fake.autoscaler = Autoscaler()
    fake.has({})
    slots = Slots(TrialResources(workers=2))
    limited = Slots(TrialResources(workers=2), limit=3)
    for cpus, expected in ((0, 1), (1, 1), (2, 2), (4, 4), (8, 8), (2, 2)):
        fake.now += 10
        fake.has({}, {"CPU": float(cpus)})
        assert slots() == expected
        assert limited() == min(3, expected)


def test_a_growing_cluster_is_asked_for_all_nodes_at_once(fake: Fake) -> None:
    """Of clusters/aws.yaml, with no node yet: doubling would wait for three more boots."""
    fake.may_add(({"CPU": 8, "GPU": 1}, 8), ({"CPU": 8, "GPU": 1}, 2), max_nodes=8)
    for nodes in (0, 1, 5, 8, 3):
        fake.has({"CPU": 0.0, "node:__internal_head__": 1.0}, *[{"CPU": 8.0, "GPU": 1.0}] * nodes)
        assert Slots(TrialResources(gpus=1))() == 8
        assert Slots(TrialResources(gpus=0.5))() == 16
        assert Slots(TrialResources(workers=3, gpus=1))() == 2


def test_a_head_with_room_holds_the_actors_of_all_trials(fake: Fake) -> None:
    fake.has(HEAD, *[{"CPU": 8.0, "GPU": 1.0}] * 8)
    slots = Slots(TrialResources(gpus=1))
    assert (slots.on_head, slots.small_head, slots()) == (True, None, 8)
    fake.places = 10
    slots = Slots(TrialResources(gpus=1))
    fake.has(HEAD, *[{"CPU": 8.0, "GPU": 1.0}] * 12)  # more than the head had to expect
    fake.now += 10
    assert (slots.on_head, slots()) == (True, 10)


def test_a_head_without_room_waits_with_as_many_trials_as_it_holds(fake: Fake) -> None:
    """Actors that wait for nodes to come wait on the head. All of them there would end it, and so the cluster."""
    fake.places = 3
    fake.may_add(({"CPU": 8, "GPU": 1}, 8), max_nodes=8)
    fake.has(HEAD)
    slots = Slots(TrialResources(gpus=1))
    assert not slots.on_head
    assert slots.small_head is not None
    assert "3 trials, of 8 that fit" in slots.small_head
    for present, expected in ((0, 3), (1, 3), (2, 4), (4, 8), (8, 8)):
        fake.has(HEAD, *[{"CPU": 8.0, "GPU": 1.0}] * present)
        fake.now += 10
        assert slots() == expected
    fewer = Slots(TrialResources(gpus=1), limit=3)
    assert (fewer.on_head, fewer.small_head, fewer()) == (True, None, 3)
    fake.places = 0
    fake.has(HEAD)
    assert Slots(TrialResources(gpus=1))() == 1, "one trial waits at least"


def test_one_machine_without_memory_to_spare_is_no_reason_for_fewer_trials(fake: Fake) -> None:
    fake.places = 2
    fake.has(HEAD | {"CPU": 8.0})
    slots = Slots(TrialResources())
    assert (slots(), slots.small_head) == (8, None)


@pytest.mark.parametrize(("free", "places"), [(64, 10), (4, 7), (1, 0)])
def test_a_head_s_memory_is_what_ray_counts_and_what_is_free(
    monkeypatch: pytest.MonkeyPatch, free: int, places: int
) -> None:
    """Of the driver's own machine it is known what is free."""
    for_ten = float(memory.SLOT_BYTES * 10 + (2 << 30))
    nodes = [
        {"NodeID": "other", "Alive": True, "Resources": {"CPU": 8.0, "memory": 1e12}},
        {"NodeID": "gone", "Alive": False, "Resources": {**HEAD, "memory": 1e12}},
        {"NodeID": "head", "Alive": True, "Resources": {**HEAD, "memory": for_ten}},
    ]
    monkeypatch.setattr(capacity.ray, "nodes", lambda: nodes)
    monkeypatch.setattr(memory, "free_memory", lambda: free << 30)
    here = ["head"]
    monkeypatch.setattr(capacity.ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: here[0]))
    assert memory.places_on_head() == places
    here[0] = "other"
    assert memory.places_on_head() == 10


HEAD = {"node:__internal_head__": 1.0, "CPU": 0.0}


@pytest.mark.parametrize(
    ("nodes", "types", "expected"),
    [
        ([HEAD], None, False),
        ([HEAD, {"CPU": 8.0}], None, False),
        ([HEAD, {"CPU": 8.0, "GPU": 1.0}], None, True),
        ([{"CPU": 8.0, "GPU": 2.0}], None, True),
        ([HEAD], [({"CPU": 8, "GPU": 1}, 8)], True),
        ([HEAD, {"CPU": 8.0}], [({"CPU": 8}, 2), ({"CPU": 8, "GPU": 1}, 8)], True),
        ([HEAD], [({"CPU": 8, "GPU": 1}, 0), ({"CPU": 8}, 3)], False),
        ([HEAD, {"CPU": 8.0}], [], False),  # what is there shows what the cluster is
        ([HEAD, {"CPU": 8.0, "GPU": 1.0}], [], True),
    ],
)
def test_a_cluster_has_the_gpus_of_its_nodes_and_of_those_that_may_be_added(
    fake: Fake, nodes: list[dict[str, float]], types: list | None, expected: bool
) -> None:
    fake.has(*nodes, dead=({"CPU": 8.0, "GPU": 8.0},))
    if types is not None:
        fake.autoscaler = Autoscaler(tuple(types), 10 if types else 0)
    assert capacity.has_gpu() is expected


def test_gpus_that_cannot_be_known_are_asked_for(fake: Fake) -> None:
    fake.autoscaler = Autoscaler()
    fake.has(HEAD)
    with pytest.raises(UserError, match=r"no node that trains has joined.*--gpus-per-worker 1"):
        capacity.has_gpu()


def test_slots_are_counted_again_but_not_at_every_call(fake: Fake) -> None:
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
    monkeypatch.setattr(capacity, "_REFRESH_SECONDS", -1.0)
    with connection.connected(nodes.address):
        slots = Slots(TrialResources())
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
