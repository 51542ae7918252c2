"""Runs with planted effects, written by the results store as a sweep does; their numbers are drawn, not trained."""

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from raysearch.studies import plan, results
from raysearch.studies.space import Ablation, component, factor

Effect = Callable[[Mapping[str, Any]], float]  # a variant's declared levels -> its difference from the reference


def ablation(design: str = "one_at_a_time", question: str = "How many regions, and how large?") -> Ablation:
    """A study of each design, over SREM."""
    if design == "leave_one_out":
        parts = [component("SREM", off={"srem.regions": 0}), component("bit norm", off={"adsh.bit_norm": False})]
        return Ablation(question, "retrieval", {"srem.regions": 50, "srem.size": 32}, parts, design="leave_one_out")
    factors = [factor("srem.regions", 0, 10, 50, 100, 150), factor("srem.size", 16, 32, 64, 128)]
    if design == "full":
        factors = [factor("srem.regions", 10, 50, 100), factor("srem.size", 16, 32, 64)]
    reference = {"srem.regions": 50, "srem.size": 32}
    return Ablation(question, "retrieval", reference, factors, design=design, published="fcaenet/tables_3_4")


def write_run(
    run_dir: Path,
    study: Ablation,
    effect: Effect = lambda levels: 0.0,
    seeds: int = 5,
    noise: float = 0.004,
    seed_noise: float = 0.02,
    failing: Callable[[str, int], str | None] = lambda variant, seed: None,
    absent: Callable[[str, int], bool] = lambda variant, seed: False,
    **changes: Any,
) -> Path:
    """Write a run directory.

    Args:
        run_dir: where.
        study: what is asked.
        effect: the planted difference of a variant from the reference.
        seeds: how many.
        noise: spread of a cell around its seed's level, which pairing cannot remove.
        seed_noise: spread of the seeds' levels, which pairing removes.
        failing: (variant, seed) -> the error that a cell fails with.
        absent: (variant, seed) -> whether the cell never ended.
        changes: keys of study.json to set; None removes one.
    """
    planned = plan.make("srem_ablation", study, "laptop", "d" * 64, seeds=seeds)
    rng = random.Random(f"{run_dir.name}")
    level = {seed: rng.gauss(0.0, seed_noise) for seed in planned.seeds}
    for cell in planned.cells:
        value = 0.6 + level[cell.seed] + effect(cell.variant.declared) + rng.gauss(0.0, noise)
        if not absent(cell.variant.name, cell.seed):
            error = failing(cell.variant.name, cell.seed)
            results.write_cell(run_dir / "cells", record(cell, None if error else value, error, rng))
    results.write_study(
        run_dir, {key: value for key, value in study_json(planned, changes).items() if value is not None}
    )
    return run_dir


def study_json(planned: plan.Plan, changes: Mapping[str, Any]) -> dict[str, Any]:
    """`study.json` as a sweep writes it."""
    study = planned.ablation
    return {
        "study": planned.study,
        "question": study.question,
        "profile": planned.profile,
        "profile_reason": "No GPU and no --data: the laptop profile was taken.",
        "task": study.task,
        "design": study.design,
        "factors": list(planned.factors),
        "reference": planned.reference.name,
        "metric": study.metric,
        "mode": study.mode,
        "metric_id": "map@all/expected-ties/test",
        "published": study.published,
        "seeds": list(planned.seeds),
        "variants": [
            {
                "name": one.name,
                "settings": dict(one.settings),
                "declared": dict(one.declared),
                "config": json.loads(one.config.model_dump_json()),
            }
            for one in planned.variants
        ],
        "cells": [{"cell": cell.hash, "variant": cell.variant.name, "seed": cell.seed} for cell in planned.cells],
        "data": {
            "name": "embedded",
            "path": None,
            "content_hash": planned.data,
            "images": 4800,
            "classes": 24,
            "counts": {"train": 3600, "test": 1200},
            "layout": "synthetic",
        },
        "chance": 0.0417,
        "settings": {"overrides": {}},
        "command": "python -m raysearch.sweep srem_ablation --profile laptop",
        "versions": {"raysearch": "0.1.0", "torch": "2.10.0", "ray": "2.60.0", "git": None},
        "hardware": {"cpus": 2, "memory_gb": 8.0, "gpus": 0, "nodes": 1, "processor": "x86_64"},
        "started": "2026-03-02T09:12:04+00:00",
        "ended": "2026-03-02T09:31:40+00:00",
        "wall_seconds": 1176.0,
        "adopted": 0,
    } | dict(changes)


def record(cell: plan.Cell, value: float | None, error: str | None, rng: random.Random) -> dict[str, Any]:
    """One ended cell."""
    regions = cell.variant.config.srem.regions
    history = [
        {
            "iteration": step,
            "phase": "train",
            "loss": 2.2 / (1 + step) + rng.gauss(0.3, 0.03),
            "erased_fraction": min(1.0, regions * cell.variant.config.srem.size**2 / 64**2 / 6),
            "seconds": 5.0,
            "map_validation": (value or 0.5) * (1 - 0.6 / (step + 1)),
        }
        for step in range(6)
    ]
    return {
        "seed": cell.seed,
        "cell": cell.hash,
        "status": "failed" if error else "finished",
        "error": error,
        "config": json.dumps(cell.variant.config.canonical(), sort_keys=True),
        "map": value,
        "map_index": None if value is None else value + 0.003,
        "seconds": 30 + 0.05 * regions + rng.random() * 4,
        "gpu_seconds": 0.0,
        "epochs": 24,
        "attempts": 1,
        "data": "d" * 64,
        "code_version": 1,
        "metric_ids": json.dumps({"map": "map@all/expected-ties/test", "map_index": "map@all/index-ties/test"}),
        "history": json.dumps(history),
        "environment": json.dumps({"host": "laptop", "device": "cpu"}),
    }


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Write a run under this test's folder; arguments as `write_run`."""

    def make(name: str = "run", design: str = "one_at_a_time", question: str = "How many?", **options: Any) -> Path:
        return write_run(tmp_path / name, ablation(design, question), **options)

    return make
