"""`python -m raysearch.report RUN` as a user calls it."""

import json
import subprocess
import sys
from pathlib import Path

from raysearch.studies import results


def call(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "raysearch.report", *words], capture_output=True, text=True)


def write(run: Path) -> None:
    """Two variants and three seeds, the second variant better by 0.1."""
    cells = [
        {"cell": f"{name}{seed}", "variant": name, "seed": seed} for name in ("reference", "a") for seed in range(3)
    ]
    variants = [{"name": name, "settings": {"x": index}} for index, name in enumerate(("reference", "a"))]
    results.write_study(run, {"study": "s", "factors": ["x"], "variants": variants, "cells": cells})
    for cell in cells:
        value = 0.5 + 0.01 * cell["seed"] ** 2 + (0.1 + 0.001 * cell["seed"]) * (cell["variant"] == "a")
        row = {"seed": cell["seed"], "cell": cell["cell"], "status": "finished", "error": None, "config": "{}"}
        results.write_cell(run / "cells", row | {"map": value, "metric_ids": json.dumps({"map": "map@all/test"})})


def test_draws_a_run_again(tmp_path: Path):
    write(tmp_path)
    done = call(str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "a beats the reference" in " ".join(done.stdout.split())
    assert done.stdout.rstrip().endswith("report.html")
    assert (tmp_path / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert results.load(tmp_path).num_rows == 6
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {"variants.csv", "variants.tex", "variants.md"}
    assert (tmp_path / "results.parquet").is_file()


def test_what_is_no_run_is_one_line(tmp_path: Path):
    done = call(str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "not a run directory" in done.stderr


def test_needs_neither_torch_nor_ray():
    code = "import sys, raysearch.report; print(sorted({'torch', 'ray'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
