"""The missing cells of a plan, from shards to stored results: connect, decode, run, store."""

import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray
from rich.console import Console, RenderableType

from raysearch import provenance
from raysearch.data import feed, shards
from raysearch.data.cache import cache_dir
from raysearch.engine import cluster, tuner
from raysearch.engine.telemetry import LiveView
from raysearch.engine.train_loop import Source
from raysearch.models import backbones
from raysearch.studies import results
from raysearch.studies.config import CODE_VERSIONS
from raysearch.studies.plan import Cell, Plan
from raysearch.tasks import retrieval

_BUILDERS: dict[str, Callable] = {"retrieval": retrieval.build}


def run_missing(
    plan: Plan,
    missing: list[Cell],
    directory: Path,
    manifest: shards.Manifest,
    run_dir: Path,
    record: dict[str, Any],
    workers: int,
    concurrency: int | None,
    address: str | None,
    console: Console,
) -> bool:
    """Run the missing cells of a plan; returns False when the user stopped it.

    Args:
        plan: all cells.
        missing: those to run.
        directory: of the shards.
        manifest: of the shards.
        run_dir: where cells are stored.
        record: of `study.json`, completed here with hardware and times.
        workers: Ray Train workers a trial.
        concurrency: cap of trials at a time.
        address: of a cluster, or None for this machine.
        console: where to show what goes on.
    """
    started = time.monotonic()
    for variant in plan.variants:
        backbones.check_weights(variant.config.model.backbone, variant.config.model.weights)
    _say_plan(plan, missing, record, console)
    with cluster.connected(address):
        gpus = 1.0 if cluster.has_gpu() else 0.0
        slots = cluster.slots(workers, 1, gpus, concurrency)
        source = Source(_decode(missing, directory, manifest, console), manifest.content_hash, cache_dir() / "features")
        console.print(f"{slots} trials at a time")
        record |= {
            "hardware": cluster.hardware(),
            "metric_id": retrieval.RetrievalTask.metric_ids.get(plan.ablation.metric),
        }
        results.write_study(run_dir, record)
        jobs = [
            tuner.Job(
                cell=cell.hash,
                name=f"{cell.variant.name} seed {cell.seed}",
                config=cell.variant.config.model_dump(mode="json"),
                seed=cell.seed,
            )
            for cell in missing
        ]
        constant = {
            "data": manifest.content_hash,
            "code_version": CODE_VERSIONS[plan.ablation.task],
            "environment": json.dumps({"versions": provenance.versions(), "hardware": record["hardware"]}),
        }
        # What cannot matter is left out, so that studies that share a cell agree on its config.
        configs = {cell.hash: json.dumps(cell.variant.config.canonical()) for cell in missing}

        def store(job: tuner.Job, ended: dict[str, Any]) -> None:
            results.write_cell(run_dir / "cells", {**ended, "config": configs[job.cell], **constant})

        view = LiveView(
            total=len(plan.cells),
            done=len(plan.cells) - len(missing),
            slots=slots,
            table=lambda: _table(run_dir, record),
            stored=store,
            console=console,
        )
        with view:
            complete = tuner.run(
                jobs, _BUILDERS[plan.ablation.task], source, tuner.Resources(slots, workers, 1, gpus), view
            )
    record |= {
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "wall_seconds": record.get("wall_seconds", 0.0) + time.monotonic() - started,
    }
    results.write_study(run_dir, record)
    return complete


def _decode(cells: list[Cell], directory: Path, manifest: shards.Manifest, console: Console) -> dict:
    """Decode the images once for each size that a cell asks for, into the object store."""
    sets = {}
    for side, zoom in sorted({(cell.variant.config.data.side, cell.variant.config.data.zoom) for cell in cells}):
        images = feed.decode_on_ray(directory, side, zoom)
        sets[side, zoom] = {split: ray.put(one) for split, one in images.items()}
        megabytes = feed.resident_bytes(manifest, side) / 2**20
        console.print(f"images: {manifest.images} at {side} px, {megabytes:.0f} MiB decoded, resident")
    return sets


def _table(run_dir: Path, record: Mapping[str, Any]) -> RenderableType:
    """The variants so far."""
    from dashboards import tables

    table = results.load(run_dir)
    return tables.terminal(record, table) if table.num_rows else ""


def _say_plan(plan: Plan, missing: list[Cell], record: Mapping[str, Any], console: Console) -> None:
    data = record["data"]
    console.print(f"[bold]{plan.ablation.question}[/bold]")
    console.print(f"profile {plan.profile}: {record['profile_reason']}")
    console.print(f"data: {data['name']}, {data['images']} images of {data['classes']} classes, {data['path']}")
    console.print(
        f"{len(plan.cells)} cells, {len(plan.variants)} variants x {len(plan.seeds)} seeds; {len(missing)} to run"
    )
