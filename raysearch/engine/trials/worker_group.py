"""A Ray Train worker group that stays alive between trials.

Ray Train takes many seconds to start a group and an instant to continue with it. So `fit` is called once, in a thread;
its train loop serves commands from a mailbox, and a trial is a few commands. The process that holds a group imports no
torch: Train's controller runs in it, and the train loop is imported in the workers.

A *slot* is a worker group's place on the cluster. The driver hands out only as many slots as fit. Whoever holds the
mailbox that is named after a slot holds the slot, and the name is free again when its holder is dead.

A holder that is killed leaves Ray Train's placement group behind, and the next group would wait for those resources for
ever. So each bundle carries a few bytes of memory that mark the run and the slot. While a group waits for its start it
removes the groups whose slot nobody holds. The driver does the same after a fault, since the next trial actor may
itself have to wait, and removes everything that remains at the end (`remove_all`).
"""

import logging
import os
import tempfile
import threading
import time
from dataclasses import dataclass
from typing import Any

import ray
import ray.train
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group

from raysearch.engine import ray_internals
from raysearch.engine.trials import failures, gloo
from raysearch.engine.trials.image_source import ImageSource
from raysearch.engine.trials.mailbox import Command, GroupLost, Mailbox, Reply, Stop
from raysearch.tasks.builders import BuildTask

NAMESPACE = "raysearch"
MAX_SLOTS = 1 << 8
_MARK_BASE = 1 << 20  # bytes
_CHECK_SECONDS = 3.0
_STOP_SECONDS = 30.0
_CLAIM_PAUSE = 0.2  # seconds
_ALLOCATOR = "PYTORCH_CUDA_ALLOC_CONF"


@dataclass(frozen=True)
class GroupSpec:
    """What a worker group is made of."""

    run: str  # hexadecimal; unique to this driver
    build: BuildTask
    source: ImageSource | None
    workers: int = 1
    cpus: int = 1  # per worker
    gpus: float = 0.0  # per worker

    def resources(self, slot: int) -> dict[str, float]:
        """Return a worker's bundle, whose memory marks run and slot."""
        gpu = {"GPU": self.gpus} if self.gpus else {}
        return {"CPU": self.cpus, "memory": _mark(self.run, slot), **gpu}

    def runtime_environment(self) -> dict[str, Any]:
        """Return the workers' runtime environment: on a GPU, memory that does not fragment, unless the user chose.

        Batches of several sizes would fragment a part of a GPU. torch reads the variable when it is imported.
        """
        if not self.gpus:
            return {}
        return {"env_vars": {_ALLOCATOR: os.environ.get(_ALLOCATOR, "expandable_segments:True")}}


class WorkerGroup:
    """A group of workers. The constructor starts it, `ask` hands it commands, `stop` ends it.

    Args:
        spec: the specification of the group.
    """

    def __init__(self, spec: GroupSpec) -> None:
        self._mailbox, slot = _claim_slot(spec)
        resources = spec.resources(slot)
        self._mark = resources["memory"]
        self._run_id = spec.run
        self._starting = True
        _remove_marked(self._mark)
        self._storage = tempfile.TemporaryDirectory(prefix="raysearch-train-")
        os.environ.update(ray_internals.TRAIN_ENVIRONMENT)
        trainer = DataParallelTrainer(
            _serve,
            train_loop_config={
                "mailbox": self._mailbox,
                "build": spec.build,
                "source": spec.source,
                "threads": spec.cpus,
                "gpus": spec.gpus,
            },
            backend_config=gloo.MultiNodeTorchConfig(on_gpus=spec.gpus > 0),
            scaling_config=ray.train.ScalingConfig(
                num_workers=spec.workers, use_gpu=spec.gpus > 0, resources_per_worker=resources
            ),
            run_config=ray.train.RunConfig(
                name=f"slot-{slot}", storage_path=self._storage.name, worker_runtime_env=spec.runtime_environment()
            ),
        )
        ray_internals.drop_unused_callbacks(trainer)
        ray_internals.start_without_actors(trainer)
        self._thread = threading.Thread(target=self._run, args=(trainer,), daemon=True)
        self._thread.start()

    def ask(self, command: Command, name: str, limit: float | None = None) -> Reply:
        """Have all workers execute a command, and return the reply of rank 0.

        Args:
            command: the command.
            name: the command's name in Ray's dashboard.
            limit: seconds after which the workers count as hung and are removed; starting the group does not count.

        Raises:
            GroupLost: a worker died or hung; a `GroupNotStarted` if the workers were never ready.
            ray.exceptions.RayActorError: the mailbox died.
        """
        self._wait_until_ready()
        try:
            return ray.get(self._mailbox.ask.options(name=name).remote(command), timeout=limit)
        except ray.exceptions.GetTimeoutError:
            _remove_marked(self._mark)
            raise GroupLost(f"no answer for {limit:.0f} s, the time limit of this step: the worker hung") from None

    def _wait_until_ready(self) -> None:
        """Wait for all workers. Groups whose holders died a moment ago may hold the resources."""
        while self._starting:
            try:
                ray.get(self._mailbox.ready.remote(), timeout=_CHECK_SECONDS)
                self._starting = False
            except ray.exceptions.GetTimeoutError:
                remove_abandoned(self._run_id)

    def stop(self) -> None:
        """End the train loops, wait for the group to go, and remove what does not go."""
        self._mailbox.ask.remote(Stop())
        self._thread.join(timeout=_STOP_SECONDS)
        if self._holds_slot():  # otherwise the mark may be another group's by now
            _remove_marked(self._mark)
        ray.kill(self._mailbox)
        self._storage.cleanup()

    def _holds_slot(self) -> bool:
        """Return whether the mailbox is alive. When it was killed, another group may have taken the slot."""
        try:
            ray_internals.wait_until_alive(self._mailbox, _CHECK_SECONDS)
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
            return False
        return True

    def _run(self, trainer: DataParallelTrainer) -> None:
        reason = "the worker group ended"
        try:
            trainer.fit()
        except Exception as error:
            reason = failures.explain_group(error)
            logging.getLogger(__name__).debug("worker group lost", exc_info=True)
        finally:
            self._mailbox.lose.remote(reason)


def _serve(config: dict[str, Any]) -> None:
    """Serve commands in a worker; see `train_loop`."""
    from raysearch.engine.trials.train_loop import train_loop  # which imports torch

    train_loop(config)


def remove_all(run: str) -> None:
    """Remove every placement group of a run, when its trial actors are gone."""
    for identifier, _ in _groups_of(run):
        _remove(identifier)


def remove_abandoned(run: str) -> None:
    """Remove every placement group of a run whose slot nobody holds."""
    for identifier, slot in _groups_of(run):  # listed first: a group that starts meanwhile is not among them
        if not _is_held(run, slot):
            _remove(identifier)


def _mark(run: str, slot: int) -> int:
    """Return the bytes of memory that mark the bundles of a run and slot."""
    return _MARK_BASE + int(run[:4], 16) * MAX_SLOTS + slot


def _claim_slot(spec: GroupSpec) -> tuple[Any, int]:
    """Take a free slot; return its mailbox and number. A killed holder's slot is free once Ray notices the death."""
    while True:
        for slot in range(MAX_SLOTS):
            name = _slot_name(spec.run, slot)
            try:
                mailbox = Mailbox.options(name=name, namespace=NAMESPACE)  # type: ignore[attr-defined]
                return mailbox.remote(spec.workers), slot
            except ValueError:  # the name is taken
                continue
        time.sleep(_CLAIM_PAUSE)


def _is_held(run: str, slot: int) -> bool:
    try:
        ray.get_actor(_slot_name(run, slot), namespace=NAMESPACE)
    except ValueError:
        return False
    return True


def _slot_name(run: str, slot: int) -> str:
    return f"{run}-slot-{slot}"


def _groups_of(run: str) -> list[tuple[str, int]]:
    """Return the placement groups of a run, each with its slot."""
    first = _mark(run, 0)
    marked = {identifier: int(mark) - first for identifier, mark in _marks().items()}
    return [(identifier, slot) for identifier, slot in marked.items() if 0 <= slot < MAX_SLOTS]


def _marks() -> dict[str, float]:
    """Return every placement group of the cluster with the memory of its bundles."""
    return {
        identifier: bundle["memory"]
        for identifier, group in placement_group_table().items()
        if group["state"] != "REMOVED"
        for bundle in group["bundles"].values()
        if "memory" in bundle
    }


def _remove_marked(mark: float) -> None:
    for identifier, other in _marks().items():
        if other == mark:
            _remove(identifier)


def _remove(identifier: str) -> None:
    remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(identifier))))
