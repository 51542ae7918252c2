"""Small run directories of given numbers, written by the results store: what a test plants it can count on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raysearch.runs import results

from ..study_json import write_study_json

IDS = {"map": "map@all/expected-ties/test"}


def write(
    run_dir: Path,
    values: Mapping[str, Mapping[int, float | None]],
    configs: Mapping[str, Mapping[str, Any]] | None = None,
    cells: Mapping[str, Any] | None = None,
    **study: Any,
) -> Path:
    """Write a run.

    Args:
        run_dir: where.
        values: variant -> seed -> the metric; None is a failed cell.
        configs: variant -> its nested config.
        cells: columns of every cell, such as `code_version`.
        study: keys of study.json to set.
    """
    metric = study.get("metric", "map")
    configs = {name: (configs or {}).get(name, {"data": {"side": 64}, "variant": {"name": name}}) for name in values}
    planned = []
    for name, own in values.items():
        for seed, value in own.items():
            cell = f"{run_dir.name}-{len(planned)}"
            planned.append({"cell": cell, "variant": name, "seed": seed})
            row = {"seed": seed, "cell": cell, "status": "failed" if value is None else "finished", metric: value}
            row |= {"error": "boom" if value is None else None, "config": json.dumps(configs[name]), "seconds": 2.0}
            row |= {"data": "d" * 64, "code_version": 1, "metric_ids": json.dumps(IDS), "gpu_seconds": 0.0}
            results.write_cell(run_dir / "cells", row | dict(cells or {}))
    record = {
        "kind": "ablation",
        "study": "s",
        "question": "How many?",
        "task": "retrieval",
        "metric": metric,
        "mode": "max",
        "factors": [],
        "variants": [{"name": name, "settings": {}, "config": configs[name]} for name in values],
        "cells": planned,
        "reference": next(iter(values), "reference"),
    }
    write_study_json(run_dir, record | study)
    return run_dir
