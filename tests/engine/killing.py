"""Find a cluster's processes, kill them, and check that nothing remains."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import ray
from ray._private.state import actors as actor_table
from ray.cluster_utils import Cluster
from ray.util.placement_group import placement_group_table

from .small_task import read_log

WORKER = "RayTrainWorker"  # classes, as Ray knows them
TRIAL = "ResourceTrainable"
MAILBOX = "Mailbox"
NODE_CPUS = 1


class Nodes:
    """Several nodes on one machine: a head that runs no workers, and nodes that may be killed.

    Args:
        cluster: with a head.
        count: of nodes beside the head.
    """

    def __init__(self, cluster: Cluster, count: int = 2) -> None:
        self.cluster = cluster
        self._count = count
        self.repair()

    def repair(self) -> None:
        """Add nodes until there are as many as in the beginning."""
        while len(self.cluster.worker_nodes) < self._count:
            self.cluster.add_node(num_cpus=NODE_CPUS, include_dashboard=False)

    def kill(self, process: int) -> None:
        """Kill the node on which a process runs, with all its processes at once."""
        ancestors = {parent.pid for parent in psutil.Process(process).parents()} | {process}
        for node in self.cluster.worker_nodes:
            (raylet,) = node.all_processes["raylet"]
            if raylet.process.pid in ancestors:
                family = [psutil.Process(raylet.process.pid)]
                family += family[0].children(recursive=True)
                for member in family:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        member.kill()
                self.cluster.remove_node(node, allow_graceful=False)
                return
        raise LookupError(f"process {process} is not on a node that may be killed")


def actors(kind: str) -> list[int]:
    """Return the processes of the living actors of a class, the latest last."""
    matching = [actor for actor in actor_table().values() if kind in actor["ActorClassName"].split(".")[-1]]
    matching = [actor for actor in matching if actor["State"] == "ALIVE" and actor["Pid"]]
    return [actor["Pid"] for actor in sorted(matching, key=lambda actor: actor["StartTime"])]


def kill(process: int) -> None:
    psutil.Process(process).send_signal(signal.SIGKILL)


@contextlib.contextmanager
def when(folder: Path, cell: str, step: int, act: Callable[[int], None]) -> Iterator[list[float]]:
    """Act on the process that first begins a step; yield the time of the act."""
    done: list[float] = []
    over = threading.Event()
    failure: list[BaseException] = []

    def watch() -> None:
        while not over.wait(0.02):
            for entry in read_log(folder):
                if entry.cell == cell and entry.step == step:
                    done.append(time.time())
                    try:
                        act(entry.process)
                    except Exception as error:
                        failure.append(error)
                    return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield done
    finally:
        over.set()
        thread.join()
    if failure:
        raise failure[0]
    assert done, f"{cell} never came to step {step}"


def nothing_stays(seconds: float = 60.0) -> float:
    """Wait until no placement group and no actor's process remains; return the seconds that it took."""
    started = time.monotonic()
    while remaining := _groups() + _processes():
        assert time.monotonic() - started < seconds, f"{seconds:g} s after the run there are still {remaining}"
        time.sleep(0.1)
    return time.monotonic() - started


def _groups() -> list[Any]:
    return [group for group in placement_group_table().values() if group["state"] != "REMOVED"]


def _processes() -> list[str]:
    """Return the processes in which an actor is or was: Ray ends them with their actor.

    Ray Data's and Ray Train's bookkeepers, one for a cluster, stay with the cluster; their names begin with "_".
    """
    remaining = []
    for actor in actor_table().values():
        if actor["ActorClassName"].split(".")[-1].startswith("_"):
            continue
        with contextlib.suppress(psutil.NoSuchProcess):
            title = " ".join(psutil.Process(actor["Pid"]).cmdline()) if actor["Pid"] else ""
            if title.startswith("ray::"):
                remaining.append(f"{title} ({actor['ActorClassName']}, {actor['State']})")
    return remaining


def connect(cluster: Cluster) -> None:
    ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
