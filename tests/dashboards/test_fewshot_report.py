"""Reports of the few-shot studies that come with raysearch, of drawn numbers: lists as levels, labels, blocks."""

import json
import random
from pathlib import Path

import pytest

from dashboards import report
from raysearch.runs import describe, results
from raysearch.studies.design import Ablation, ablation_plan, study_files
from raysearch.tasks import metric_definitions

from ..study_json import write_study_json

STUDIES = [
    name for name in study_files.study_names() if getattr(study_files.load_study(name)[1], "task", "") == "fewshot"
]


def write_run(run_dir: Path, name: str) -> ablation_plan.AblationPlan:
    """A run whose every cell has ended with drawn numbers."""
    asked = study_files.load_study(name)[1]
    assert isinstance(asked, Ablation)
    planned = ablation_plan.plan_ablation(name, asked, "laptop", "d" * 64, seeds=2)
    rng = random.Random(0)
    for cell in planned.cells:
        ids = json.dumps(metric_definitions.metric_ids(cell.variant.config, "mod4-12345678"))
        accuracy = rng.uniform(0.4, 0.6)
        history = [{"iteration": 1, "phase": "train", "loss": 1.0, "accuracy_validation": 0.4, "seconds": 2.0}]
        row = {"seed": cell.seed, "cell": cell.hash, "status": "finished", "error": None, "accuracy": accuracy}
        row |= {"accuracy_ci": 0.01, "accuracy_validation": 0.4, "metric_ids": ids, "data": "d" * 64, "attempts": 1}
        row |= {"config": json.dumps(cell.variant.config.canonical()), "seconds": 3.0, "gpu_seconds": 0.0, "epochs": 3}
        row |= {"code_version": 1, "history": json.dumps(history), "environment": "{}", "right_by_episode": "[1,2]"}
        results.write_cell(run_dir / "cells", row)
    data = {"name": "embedded", "path": None, "content_hash": "d" * 64, "images": 4800, "classes": 24, "layout": "x"}
    record = {
        **describe.describe_ablation(planned).to_dict(),
        "profile_reason": "As asked.",
        "chance": 0.2,
        "settings": {},
    }
    record |= {
        "command": "x",
        "metric_id": metric_definitions.metric_ids(planned.reference.config, "mod4-12345678")["accuracy"],
        "data": {**data, "counts": {"train": 3600, "test": 1200}},
    }
    record |= {"versions": {"raysearch": "0.1.0"}, "hardware": {}, "started": "2026-03-02T09:12:04+00:00", "adopted": 0}
    write_study_json(run_dir, record)
    return planned


@pytest.mark.parametrize("name", [name for name in STUDIES if isinstance(study_files.load_study(name)[1], Ablation)])
def test_every_variant_stands_in_the_report(name: str, tmp_path: Path) -> None:
    planned = write_run(tmp_path, name)
    table = results.save_table(tmp_path)
    assert results.load(tmp_path).num_rows == len(planned.cells)
    page = report.write(tmp_path, table).read_text()
    assert planned.ablation.question in page
    assert "accuracy@5-way" in page
    assert report.answer(results.read_study(tmp_path), table)
    report.terminal(results.read_study(tmp_path), table)
    by_file = {path.suffix: path.read_text() for path in (tmp_path / "tables").iterdir()}
    for one in planned.variants:
        assert any(one.name in text for text in by_file.values()), one.name
