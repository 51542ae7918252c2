"""A Ray Train worker group that stays alive between trials.

`TorchTrainer.fit()` takes many seconds to start and an instant to go on. So one is started in a thread, its train loop
serves commands from a mailbox, and a trial is a few commands.

A *slot* is a worker group's place on the cluster; the driver sees to it that only as many are taken as fit. Whoever
holds the mailbox named after a slot holds the slot; the name is free again when its holder is dead. A holder that is
killed leaves Ray Train's placement group behind, and the next group would wait for those resources for ever; so each
bundle carries a few bytes of memory as the mark of run and slot, and while a group waits for its start it removes what
bears the mark of a slot that nobody holds. The driver does the same after a fault, for the next trial actor itself may
have to wait, and removes what is left at the end (`remove_all`).
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
import ray.train.torch
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group

from raysearch.engine.trials.failures import explain_group
from raysearch.engine.trials.gloo import MultiNodeTorchConfig
from raysearch.engine.trials.mailbox import Command, GroupLost, Mailbox, Reply, Stop
from raysearch.engine.trials.train_loop import BuildTask, ImageSource, train_loop

NAMESPACE = "raysearch"
_MARK_BASE = 1 << 20  # bytes
MAX_SLOTS = 1 << 8
_SWEEP_SECONDS = 3.0

# Ray Train's, read in the process that starts it. Every cell is checkpointed as it goes: no warning is needed.
_ENVIRONMENT = {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}
_NOT_NEEDED = ("PlacementGroupCleanerCallback", "DatasetsCallback")


@dataclass(frozen=True)
class GroupSpec:
    """What a worker group is made of."""

    run: str  # hexadecimal, of this driver alone
    build: BuildTask
    source: ImageSource | None
    workers: int = 1
    cpus: int = 1  # a worker
    gpus: float = 0.0  # a worker

    def resources(self, slot: int) -> dict[str, float]:
        """A worker's bundle, with the mark of run and slot in its memory."""
        gpu = {"GPU": self.gpus} if self.gpus else {}
        return {"CPU": self.cpus, "memory": _mark(self.run, slot), **gpu}


def _mark(run: str, slot: int) -> int:
    """Bytes of memory by which a worker's bundle says whose it is."""
    return _MARK_BASE + int(run[:4], 16) * MAX_SLOTS + slot


class WorkerGroup:
    """Start with the constructor, `ask` as often as you like, `stop` at the end."""

    def __init__(self, spec: GroupSpec) -> None:
        self._mailbox, slot = _claim(spec)
        resources = spec.resources(slot)
        self._mark, self._run_id, self._starting = resources["memory"], spec.run, True
        _remove_leftovers(self._mark)
        self._storage = tempfile.TemporaryDirectory(prefix="raysearch-train-")
        os.environ.update(_ENVIRONMENT)
        trainer = _Trainer(
            train_loop,
            train_loop_config={
                "mailbox": self._mailbox,
                "build": spec.build,
                "source": spec.source,
                "threads": spec.cpus,
            },
            torch_config=MultiNodeTorchConfig(),
            scaling_config=ray.train.ScalingConfig(
                num_workers=spec.workers, use_gpu=spec.gpus > 0, resources_per_worker=resources
            ),
            run_config=ray.train.RunConfig(name=f"slot-{slot}", storage_path=self._storage.name),
        )
        self._thread = threading.Thread(target=self._run, args=(trainer,), daemon=True)
        self._thread.start()

    def ask(self, command: Command, name: str, limit: float | None = None) -> Reply:
        """Have all workers do a command; returns what rank 0 says. Raises when the group or its mailbox is lost.

        Args:
            command: what to do.
            name: what Ray's dashboard calls it.
            limit: seconds after which the workers count as hung and are removed; starting the group does not count.

        Raises:
            GroupLost: a worker died, or hung.
        """
        self._wait_until_ready()
        try:
            return ray.get(self._mailbox.ask.options(name=name).remote(command), timeout=limit)
        except ray.exceptions.GetTimeoutError:
            _remove_leftovers(self._mark)
            raise GroupLost(f"no answer for {limit:g} s, which is the study's time limit: the worker hung") from None

    def _wait_until_ready(self) -> None:
        """Wait for all workers. Resources may be held by groups whose holders died a moment ago."""
        while self._starting:
            try:
                ray.get(self._mailbox.ready.remote(), timeout=_SWEEP_SECONDS)
                self._starting = False
            except ray.exceptions.GetTimeoutError:
                remove_abandoned(self._run_id)

    def stop(self) -> None:
        """End the train loops and wait for the group to go; what does not go is removed."""
        self._mailbox.ask.remote(Stop())
        self._thread.join(timeout=30)
        if self._holds_slot():  # else the mark may be another group's by now
            _remove_leftovers(self._mark)
        ray.kill(self._mailbox)
        self._storage.cleanup()

    def _holds_slot(self) -> bool:
        """Whether the mailbox lives; when it was killed, another group may have taken the slot."""
        try:
            ray.get(self._mailbox.__ray_ready__.remote(), timeout=_SWEEP_SECONDS)
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
            return False
        return True

    def _run(self, trainer: Any) -> None:
        why = "the worker group ended"
        try:
            trainer.fit()
        except Exception as error:
            why = explain_group(error)
            logging.getLogger(__name__).debug("worker group lost", exc_info=True)
        finally:
            self._mailbox.lose.remote(why)


class _Trainer(ray.train.torch.TorchTrainer):
    """Without the actors that Ray Train starts beside each group and that nothing here needs.

    Its own cleaner of placement groups asks the State API whether its controller lives; where there is none it stays
    for ever. Its manager of data sets has none to manage.
    """

    def _create_default_callbacks(self) -> list[Any]:
        callbacks = super()._create_default_callbacks()
        return [one for one in callbacks if type(one).__name__ not in _NOT_NEEDED]


def remove_all(run: str) -> None:
    """Remove every placement group of a run, when its trial actors are gone."""
    first = _mark(run, 0)
    for identifier, found in _marked().items():
        if first <= found < first + MAX_SLOTS:
            _remove(identifier)


def remove_abandoned(run: str) -> None:
    """Remove every placement group of the run whose slot nobody holds."""
    first = _mark(run, 0)
    for identifier, found in _marked().items():  # listed first: a group that starts meanwhile is not among them
        if first <= found < first + MAX_SLOTS and not _held(run, int(found) - first):
            _remove(identifier)


def _claim(spec: GroupSpec) -> tuple[Any, int]:
    """Take a free slot; one whose holder was just killed is free as soon as Ray has noticed."""
    while True:
        for slot in range(MAX_SLOTS):
            name = _slot_name(spec.run, slot)
            try:
                mailbox = Mailbox.options(name=name, namespace=NAMESPACE)  # type: ignore[attr-defined]
                return mailbox.remote(spec.workers), slot
            except ValueError:  # the name is taken
                continue
        time.sleep(0.2)


def _remove_leftovers(mark: float) -> None:
    """Remove every placement group whose bundles bear the mark."""
    for identifier, found in _marked().items():
        if found == mark:
            _remove(identifier)


def _held(run: str, slot: int) -> bool:
    try:
        ray.get_actor(_slot_name(run, slot), namespace=NAMESPACE)
    except ValueError:
        return False
    return True


def _slot_name(run: str, slot: int) -> str:
    return f"{run}-slot-{slot}"


def _marked() -> dict[str, float]:
    """Every placement group that is there, with the memory of its bundles."""
    return {
        identifier: bundle["memory"]
        for identifier, group in placement_group_table().items()
        if group["state"] != "REMOVED"
        for bundle in group["bundles"].values()
        if "memory" in bundle
    }


def _remove(identifier: str) -> None:
    remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(identifier))))
