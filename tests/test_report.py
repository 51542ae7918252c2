"""`python -m raysearch.report RUN` as a user calls it."""

import json
import os
import subprocess
import sys
from pathlib import Path

from raysearch.runs import results

from .study_json import read_study_json, write_study_json


def call(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "raysearch.report", *words], capture_output=True, text=True)


def write(run: Path) -> None:
    """Two variants and three seeds, the second variant better by 0.1."""
    cells = [
        {"cell": f"{name}{seed}", "variant": name, "seed": seed} for name in ("reference", "a") for seed in range(3)
    ]
    variants = [{"name": name, "settings": {"x": index}} for index, name in enumerate(("reference", "a"))]
    write_study_json(run, {"study": "s", "factors": ["x"], "variants": variants, "cells": cells})
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
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {
        *("variants.csv", "variants.json", "variants.md", "variants.tex")
    }
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


def test_several_runs_stand_side_by_side(tmp_path: Path):
    for name in ("before", "after"):
        write(tmp_path / name)
    done = call(str(tmp_path / "before"), str(tmp_path / "after"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith(str(tmp_path / "comparison" / "comparison.html"))
    assert "same cells" in done.stdout
    assert {path.name for path in (tmp_path / "before").iterdir()} == {
        "study.json",
        "cells",
    }  # nothing is written in it
    done = call(str(tmp_path / "before"), str(tmp_path / "after"), "--out", str(tmp_path / "elsewhere"))
    assert (tmp_path / "elsewhere" / "tables" / "differences.csv").is_file(), done.stderr


def test_runs_that_do_not_go_together_are_one_line(tmp_path: Path):
    write(tmp_path / "a")
    write(tmp_path / "b")
    study = read_study_json(tmp_path / "b")
    write_study_json(tmp_path / "b", study | {"mode": "min"})
    for words in (["a", "b"], ["a", "a"], ["a", "none"], ["a", "--out", "b"], ["a", "b", "--out", "a/study.json"]):
        done = call(*(word if word.startswith("--") else str(tmp_path / word) for word in words))
        assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, ""), (words, done.stderr)
    assert not (tmp_path / "comparison").exists()


def test_a_run_of_somebody_else_is_reported_elsewhere(tmp_path: Path):
    run = tmp_path / "run"
    write(run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    done = call(str(run), "--out", str(tmp_path / "mine"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == str(tmp_path / "mine" / "report.html")
    assert {path.name for path in (tmp_path / "mine").iterdir()} == {"report.html", "tables", "results.parquet"}
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    other = tmp_path / "other"
    write(other)
    done = call(str(run), "--out", str(other))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "another run" in done.stderr


def test_a_run_that_cannot_be_written_to_names_out(tmp_path: Path):
    """A file in the place of a directory stands for a read-only one, which root could write to."""
    run = tmp_path / "run"
    write(run)
    (run / "tables").write_text("")
    done = call(str(run))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("; name a writable directory with --out\n")
    assert done.stderr.count("\n") == 1


def test_a_path_that_is_not_utf8_is_one_line(tmp_path: Path):
    """Arrow takes UTF-8 only; the mistake must not surface after the work."""
    write(tmp_path / "run")
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/run\xff")
    for words in ([odd], [str(tmp_path / "run"), "--out", odd]):
        done = call(*words)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert "run\\udcff' is not UTF-8; rename" in done.stderr
