"""What a study runs in: a connection, decoded images, places for trials, and a store that every end goes to."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray
from ray.tune.schedulers import TrialScheduler
from rich.console import Console, RenderableType

from raysearch import provenance
from raysearch.data import feed
from raysearch.data.cache import cache_dir
from raysearch.data.manifest import Manifest
from raysearch.engine import cluster, tuner
from raysearch.engine.checkpoints import Objective
from raysearch.engine.jobs import Job, Jobs, Listener, Several
from raysearch.engine.metrics import Metrics
from raysearch.engine.options import Options, Run
from raysearch.engine.shared import Claims, Shared
from raysearch.engine.storage import Storage
from raysearch.engine.telemetry import LiveView
from raysearch.engine.train_loop import Source
from raysearch.interrupt import Interrupt
from raysearch.models import backbones
from raysearch.studies import results
from raysearch.studies.config import CODE_VERSIONS, CONFIGS, RetrievalConfig
from raysearch.studies.plan import Cell
from raysearch.tasks import retrieval

_BUILDERS: dict[str, Callable] = {"retrieval": retrieval.build}
METRIC_IDS: dict[str, Mapping[str, str]] = {"retrieval": retrieval.RetrievalTask.metric_ids}
HELD_OUT = {"retrieval": Objective("map_validation", "max")}  # what the best checkpoint of a cell is chosen by


class Session:
    """A connected cluster on which cells of one study are run. Made by `opened`."""

    def __init__(
        self,
        run: Run,
        options: Options,
        demand: cluster.Demand,
        source: Source,
        console: Console,
        interrupt: Interrupt,
        table: Callable[[], RenderableType],
    ) -> None:
        self._run, self._demand, self._source, self._opened = run, demand, source, time.time()
        self._table, self._console, self._interrupt = table, console, interrupt
        self._slots = cluster.Slots(demand, options.concurrency)
        self._storage = options.storage or str((run.directory / "checkpoints").resolve())
        Storage(self._storage)  # an unknown kind of URI is said now
        task = run.record["task"]
        self._build, self._config = _BUILDERS[task], CONFIGS[task]
        self._constant = {
            "data": run.manifest.content_hash,
            "code_version": CODE_VERSIONS[task],
            "environment": json.dumps({"versions": provenance.versions(), "hardware": run.record["hardware"]}),
        }
        console.print(f"{self._slots()} trials at a time, checkpoints in {self._storage}")

    @property
    def storage(self) -> str:
        return self._storage

    def execute(
        self,
        jobs: Jobs,
        done: int,
        total: int,
        objective: Objective | None,
        limit: float | None,
        listeners: Sequence[Listener] = (),
        scheduler: TrialScheduler | None = None,
        accept: Sequence[str] = ("finished",),
    ) -> bool:
        """Run jobs to their end; returns False when the user stopped it.

        Args:
            jobs: where they come from.
            done: cells that had ended before, of `total`.
            total: cells that there will be.
            objective: of best checkpoints and of the scheduler.
            limit: seconds after which a silent worker counts as hung.
            listeners: who else hears of the cells, after they were stored.
            scheduler: stops cells early.
            accept: statuses with which a cell that ended before, or elsewhere, is an answer.
        """
        view = LiveView(total, done, self._slots, self._table, self._console)
        claims = Claims(self._run.directory.resolve().parent / ".claims")
        several = [view, Metrics(self._run.record["study"], objective), *listeners]
        answered = Several(*several)
        shared = Shared(jobs, lambda cell: self._find(cell, accept), answered.ended, claims)
        with view, contextlib.closing(claims):
            while True:
                complete = tuner.run(
                    shared,
                    self._build,
                    self._source,
                    tuner.Resources(self._slots, self._demand.workers, self._demand.cpus, self._demand.gpus),
                    Several(_Store(self._store), shared, *several),
                    tuner.Keeping(self._storage, objective, limit),
                    scheduler,
                    self._interrupt,
                )
                if complete and shared.left():
                    self._console.print(f"waiting for {shared.left()} cells that another sweep runs")
                    shared.wait(self._interrupt)
                if not complete or not shared.left() or self._interrupt():
                    return complete and not shared.left()

    def _find(self, cell: str, accept: Sequence[str]) -> dict[str, Any] | None:
        """The cell's record, here or in a run beside this one; looked for by name, since a store can be large."""
        here, name = self._run.directory.resolve(), f"cells/{cell}.parquet"
        if not (here / name).is_file():
            if not any(here.parent.glob(f"*/{name}")):
                return None
            results.adopt(here, [cell])
        found = results.read_cells(here / "cells", [cell]).get(cell)
        if found is None or found["status"] in accept:
            return found
        # What failed before is asked for again; what another driver saw fail meanwhile would fail here too.
        fresh = found["status"] == "failed" and (here / name).stat().st_mtime >= self._opened
        return found if fresh else None

    def _store(self, job: Job, record: dict[str, Any]) -> None:
        config = self._config.model_validate(job.config)
        # What cannot matter is left out, so that studies that share a cell agree on its config.
        plain = json.dumps(config.canonical())
        results.write_cell(self._run.directory / "cells", {**record, "config": plain, **self._constant})


class _Store(Listener):
    """Stores every end, before anybody else hears of it."""

    def __init__(self, store: Callable[[Job, dict[str, Any]], None]) -> None:
        self._store = store

    def ended(self, job: Job, record: dict[str, Any]) -> None:
        self._store(job, record)


@contextlib.contextmanager
def opened(
    run: Run,
    options: Options,
    configs: Sequence[RetrievalConfig],
    console: Console,
    interrupt: Interrupt,
    table: Callable[[], RenderableType],
) -> Iterator[Session]:
    """Connect, decode what the configs ask for, and leave a complete `study.json` behind.

    Args:
        run: directory, data and record.
        options: where and how wide.
        configs: every size of images that cells will ask for is among them, and every file of weights.
        console: where to show what goes on.
        interrupt: whether the user wants to stop.
        table: draws what came out so far.
    """
    started, before = time.monotonic(), run.record.get("wall_seconds", 0.0)
    for backbone, weights in {(config.model.backbone, config.model.weights) for config in configs}:
        backbones.check_weights(backbone, weights)
    with cluster.connected(options.address):
        gpus = options.gpus_per_worker
        if gpus is None:
            gpus = 1.0 if cluster.has_gpu() else 0.0
        sets = _decode(configs, run.shards, run.manifest, console)
        run.record["hardware"] = cluster.hardware()
        results.write_study(run.directory, run.record)
        source = Source(sets, run.manifest.content_hash, cache_dir() / "features")
        demand = cluster.Demand(options.workers, 1, gpus)
        yield Session(run, options, demand, source, console, interrupt, table)
    run.record["ended"] = datetime.now(UTC).isoformat(timespec="seconds")
    run.record["wall_seconds"] = before + time.monotonic() - started
    results.write_study(run.directory, run.record)


def job(cell: Cell, moves: Mapping[str, Any] | None = None) -> Job:
    """A cell as the engine needs it."""
    return Job(
        cell=cell.hash,
        name=f"{cell.variant.name} seed {cell.seed}",
        config=cell.variant.config.model_dump(mode="json"),
        seed=cell.seed,
        variant=cell.variant.name,
        moves=dict(moves or {}),
    )


def _decode(configs: Sequence[RetrievalConfig], directory: Path, manifest: Manifest, console: Console) -> dict:
    """Decode the images once for each size that a cell asks for, into the object store."""
    sets = {}
    for side, zoom in sorted({(config.data.side, config.data.zoom) for config in configs}):
        images = feed.decode_on_ray(directory, side, zoom)
        sets[side, zoom] = {split: ray.put(one) for split, one in images.items()}
        megabytes = feed.resident_bytes(manifest, side) / 2**20
        console.print(f"images: {manifest.images} at {side} px, {megabytes:.0f} MiB decoded, resident")
    return sets
