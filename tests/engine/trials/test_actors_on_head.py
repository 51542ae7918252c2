"""A head without CPUs and GPUs, and two nodes with a GPU by name: trials' actors are on the head, workers are not."""

import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray._private.state import actors as actor_table
from ray.cluster_utils import Cluster

from raysearch.engine.cluster.capacity import Slots, TrialResources, has_gpu
from raysearch.engine.trials import tuner
from raysearch.engine.trials.jobs import FixedJobs, Job, Listener

from .. import killing, small_task

ON_HEAD = ("ResourceTrainable", "Mailbox")
ELSEWHERE = ("RayTrainWorker",)


@pytest.fixture
def gpu_nodes(cluster: Cluster) -> Iterator[Cluster]:
    ray.cloudpickle.register_pickle_by_value(small_task)
    added = [cluster.add_node(num_cpus=1, num_gpus=1, include_dashboard=False) for _ in range(2)]
    killing.connect(cluster)
    yield cluster
    ray.shutdown()
    ray.cloudpickle.unregister_pickle_by_value(small_task)
    for node in added:
        cluster.remove_node(node)


def test_a_lost_node_would_end_its_own_workers_only(gpu_nodes: Cluster, tmp_path: Path) -> None:
    (head,) = [node["NodeID"] for node in ray.nodes() if "node:__internal_head__" in node["Resources"]]
    slots = Slots(TrialResources(gpus=float(has_gpu())))
    assert (slots(), slots.on_head) == (2, True)
    seen: dict[str, set[str]] = defaultdict(set)
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            for actor in actor_table().values():
                if actor["State"] == "ALIVE":
                    seen[actor["ActorClassName"].split(".")[-1]].add(actor["Address"]["NodeID"])

    watching = threading.Thread(target=watch)
    watching.start()
    config = {"folder": str(tmp_path), "steps": 3, "pause": 0.3}
    jobs = [Job(name, name, config | {"cell": name}, seed) for seed, name in enumerate(("a", "b"))]
    complete = tuner.run_trials(
        FixedJobs(jobs), small_task.SmallTask, None, tuner.Capacity(slots=2, on_head=True), Listener()
    )
    over.set()
    watching.join()
    assert complete
    places = {
        kind: set().union(*[nodes for name, nodes in seen.items() if kind in name]) for kind in ON_HEAD + ELSEWHERE
    }
    assert {kind: places[kind] for kind in ON_HEAD} == {kind: {head} for kind in ON_HEAD}
    assert places["RayTrainWorker"] == {node["NodeID"] for node in ray.nodes() if node["Alive"]} - {head}
    killing.nothing_stays()
