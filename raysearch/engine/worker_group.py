"""A Ray Train worker group that stays alive between trials.

`TorchTrainer.fit()` takes many seconds to start and an instant to go on. So one is started in a thread, its train loop
serves commands from a mailbox, and a trial is a few commands.

A *slot* is a worker group's place on the cluster: at most `slots` groups of a run are alive at a time. Whoever holds
the mailbox named after a slot holds the slot; the name is free again when its holder is dead. A holder that is killed
leaves Ray Train's placement group behind, and the next group would wait for those resources for ever; so each bundle
carries a few bytes of memory as the mark of run and slot, and what bears the mark is removed before a group starts.
"""

import logging
import tempfile
import threading
import time
from dataclasses import dataclass
from typing import Any

import ray
import ray.train
import ray.train.torch
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group

from raysearch.engine.mailbox import Command, Mailbox, Reply, Stop
from raysearch.engine.train_loop import Build, Source, train_loop

NAMESPACE = "raysearch"
_MARK_BASE = 1 << 20  # bytes
_MAX_SLOTS = 1 << 8


@dataclass(frozen=True)
class GroupSpec:
    """What a worker group is made of."""

    run: str  # hexadecimal, of this driver alone
    slots: int
    build: Build
    source: Source | None
    workers: int = 1
    cpus: int = 1  # a worker
    gpus: float = 0.0  # a worker

    def resources(self, slot: int) -> dict[str, float]:
        """A worker's bundle, with the mark of run and slot in its memory."""
        mark = _MARK_BASE + (int(self.run[:4], 16) << 8) + slot
        gpu = {"GPU": self.gpus} if self.gpus else {}
        return {"CPU": self.cpus, "memory": mark, **gpu}


class WorkerGroup:
    """Start with the constructor, `ask` as often as you like, `stop` at the end."""

    def __init__(self, spec: GroupSpec) -> None:
        self._mailbox, slot = _claim(spec)
        resources = spec.resources(slot)
        _remove_leftovers(resources["memory"])
        self._storage = tempfile.TemporaryDirectory(prefix="raysearch-train-")
        trainer = ray.train.torch.TorchTrainer(
            train_loop,
            train_loop_config={
                "mailbox": self._mailbox,
                "build": spec.build,
                "source": spec.source,
                "threads": spec.cpus,
            },
            scaling_config=ray.train.ScalingConfig(
                num_workers=spec.workers, use_gpu=spec.gpus > 0, resources_per_worker=resources
            ),
            run_config=ray.train.RunConfig(name=f"slot-{slot}", storage_path=self._storage.name),
        )
        self._thread = threading.Thread(target=self._run, args=(trainer,), daemon=True)
        self._thread.start()

    def ask(self, command: Command) -> Reply:
        """Have all workers do a command; returns what rank 0 says. Raises when the group or its mailbox is lost."""
        return ray.get(self._mailbox.ask.remote(command))

    def stop(self) -> None:
        """End the train loops and wait for the group to go."""
        self._mailbox.ask.remote(Stop())
        self._thread.join(timeout=30)
        ray.kill(self._mailbox)
        self._storage.cleanup()

    def _run(self, trainer: Any) -> None:
        why = "the worker group ended"
        try:
            trainer.fit()
        except Exception as error:
            why = f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
            logging.getLogger(__name__).debug("worker group lost", exc_info=True)
        finally:
            self._mailbox.lose.remote(why)


def _claim(spec: GroupSpec) -> tuple[Any, int]:
    """Take a free slot; one whose holder was just killed is free as soon as Ray has noticed."""
    assert spec.slots <= _MAX_SLOTS
    while True:
        for slot in range(spec.slots):
            name = f"{spec.run}-slot-{slot}"
            try:
                mailbox = Mailbox.options(name=name, namespace=NAMESPACE)  # type: ignore[attr-defined]
                return mailbox.remote(spec.workers), slot
            except ValueError:  # the name is taken
                continue
        time.sleep(0.2)


def _remove_leftovers(mark: float) -> None:
    """Remove every placement group whose bundles bear the mark."""
    for identifier, group in placement_group_table().items():
        if group["state"] == "REMOVED":
            continue
        if any(bundle.get("memory") == mark for bundle in group["bundles"].values()):
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(identifier))))
