"""A search with a planted optimum, and run directories with ended cells of it, written as the engine writes them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray import tune

from raysearch.runs import CellRecord, DataRecord, StudyRecord, VariantRecord, results
from raysearch.studies.design import Search, search_plan

SPACE = {"train.lr": tune.loguniform(1e-4, 1e-1), "srem.regions": tune.choice([0, 10, 50])}
METRIC = "map_validation"
Settings = Mapping[str, Any]


def plan(data: str = "data", **changed: Any) -> search_plan.SearchPlan:
    given: dict[str, Any] = {"question": "Which?", "task": "retrieval", "space": SPACE, "trials": 6, "judge_seeds": 2}
    return search_plan.plan_search("study", Search(**given | changed), "laptop", data)


def score(settings: Settings, seed: int = 0) -> float:
    return settings["train.lr"] + settings["srem.regions"] / 1000 + 0.01 * seed


class OtherRun:
    """A run directory with ended cells, written as the engine writes them."""

    def __init__(self, folder: Path, planned: search_plan.SearchPlan, task: str = "retrieval") -> None:
        self.folder = folder
        self._plan = planned
        data = DataRecord(content_hash=planned.data)
        self.study = StudyRecord(study="other", task=task, data=data, variants=[], cells=[])

    def add(self, settings: Settings, seed: int = 0, group: int = 0, **changed: Any) -> str:
        """Write a cell, and return its hash."""
        name = f"{len(self.study.variants)}"
        variant = self._plan.variant(self._plan.groups[group], name, settings)
        cell = self._plan.cell(variant, seed)
        value = changed.pop("value", None) or score({"train.lr": 0.1, "srem.regions": 0, **settings}, seed)
        steps = [{"iteration": step, "phase": "warmup" if step < 2 else "", METRIC: value / 2} for step in range(4)]
        row = {"cell": cell.hash, "seed": seed, "status": "finished", "config": json.dumps(variant.config.canonical())}
        row |= {METRIC: value, "epoch_seconds": 1.0, "history": json.dumps(steps), "gpu_seconds": 0.0}
        results.write_cell(self.folder / "cells", row | changed)
        declared = dict(variant.declared)
        self.study.variants.append(VariantRecord(name=name, declared=declared))
        self.study.cells.append(CellRecord(cell=cell.hash, variant=name, seed=seed))
        results.write_study(self.folder, self.study)
        return cell.hash
