"""Runs on several data sets with planted scores, described as a sweep describes them."""

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path

from raysearch.runs import describe, results
from raysearch.runs.study_record import DataRecord, StudyRecord, Surroundings
from raysearch.studies.design import Ablation, choice, factor, join_plans, plan_ablation

IDS = {"map": "map@all/expected-ties/test"}
METHODS = ("ADSH", "LSH", "SH", "ITQ")

Score = Callable[
    [str, str, int, int], float | str | None
]  # set, method, bits, seed -> metric; text: error; None: absent


def ablation(methods: tuple[str, ...] = METHODS, bits: tuple[int, ...] = (12, 24), seeds: int = 5) -> Ablation:
    """Methods at code lengths, each compared with the first method at its length."""
    levels = {name: {"train.lr": 0.001 * (number + 1)} for number, name in enumerate(methods)}
    return Ablation(
        "Which method is best?",
        "retrieval",
        {**levels[methods[0]], "hash.bits": bits[0]},
        [choice("method", levels), factor("hash.bits", *bits)],
        design="full",
        within=("hash.bits",),
        seeds=seeds,
        published="fcaenet/table_1_{data}",
    )


def write(run_dir: Path, study: Ablation, layouts: Mapping[str, str], score: Score, **errors: str) -> StudyRecord:
    """Write a run.

    Args:
        run_dir: where.
        study: of `ablation`.
        layouts: name of each data set -> its layout.
        score: planted.
        errors: name of a data set that could not be opened -> the reason.
    """
    plan = join_plans(
        {name: plan_ablation("table", study, "laptop", name.ljust(64, "0")) for name in layouts},
    )
    parts = {
        name: Surroundings(data=DataRecord(name=name.lower(), layout=layout, content_hash=name), chance=0.01)
        for name, layout in layouts.items()
    }
    record = describe.describe_ablation(plan, describe.join_surroundings(parts, plan.data))
    for name, error in errors.items():
        record.data_sets[name].error = error
    for cell in plan.cells:
        data_set = str(cell.variant.data_set)
        settings = cell.variant.declared
        value = score(data_set, settings["method"], settings["hash.bits"], cell.seed)
        if value is None or data_set in errors:
            continue
        row = {"cell": cell.hash, "seed": cell.seed, "status": "failed" if isinstance(value, str) else "finished"}
        row |= {"error": value} if isinstance(value, str) else {"error": None, "map": value}
        row |= {"config": cell.variant.config.model_dump_json(), "seconds": 1.0, "gpu_seconds": 0.0, "data": data_set}
        results.write_cell(run_dir / "cells", row | {"code_version": 1, "epochs": 1, "metric_ids": json.dumps(IDS)})
    results.write_study(run_dir, record)
    return record


def noisy(effects: Mapping[tuple[str, str], float]) -> Score:
    """Return scores of 0.5 plus the effect of (set, method), with a level per set and seed and noise per cell."""

    def _score(data_set: str, method: str, bits: int, seed: int) -> float:
        level = random.Random(f"{data_set} {seed}").gauss(0.5, 0.02)
        noise = random.Random(f"{data_set} {method} {bits} {seed}").gauss(0.0, 0.002)
        return level + effects.get((data_set, method), 0.0) + noise

    return _score
