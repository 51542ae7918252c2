"""A study on several data sets, as a user runs it: one that cannot be opened is a hole, and runs once it is mended."""

import contextlib
import csv
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from raysearch import sweep
from raysearch.data import synthetic
from raysearch.runs import results
from raysearch.studies.analysis import statistics as paired

from .commands import run_app, run_python
from .engine import sweeps

CLASSES = {"Six": 6, "Four": 4, "Eight": 8}
LOGGED = "with open({log!r}, 'a') as file:\n        print(len(labels), run.config['width'], run.seed, file=file)"
STUDY = '''
from raysearch import Ablation, factor


def measure(run):
    """Score a seed, a width and the data: wider is better by 0.1, on the set of four classes worse by 0.1."""
    labels = set(run.images.train.labels.tolist())
    sign = -1 if len(labels) == 4 else 1
    wider = run.config["width"] - 2
    return {"score": len(labels) + run.seed / 100 + sign * wider / 10 + run.seed**2 * wider / 1e5}


study = Ablation("Does width matter?", measure, {"width": 2}, [factor("width", 2, 4)], metric="score", seeds=3)
'''


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three data sets, drawn with other seeds and class counts."""
    folder = tmp_path_factory.mktemp("sets")
    specs = {
        name: synthetic.SyntheticSpec(classes=classes, train_per_class=12, test_per_class=2, side=32, seed=classes)
        for name, classes in CLASSES.items()
    }
    return {name: synthetic.ensure_shards(spec, folder) for name, spec in specs.items()}


def _words(data: dict[str, Path], out: Path) -> list[Any]:
    given = [word for name, place in data.items() for word in ("--data", f"{name}={place}")]
    return [out.parents[1] / "study.py", *given, "--profile", "laptop", "--out", out]


def _main_table(out: Path) -> list[dict[str, str]]:
    with (out / "tables" / "main.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_one_table_for_all_sets_and_a_hole_that_is_mended(data: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "study.py").write_text(STUDY)
    out = tmp_path / "runs" / "all"
    broken = tmp_path / "broken"
    shutil.copytree(data["Eight"], broken)
    for file in broken.glob("*.parquet"):
        content = file.read_bytes()
        half = len(content) // 2
        file.write_bytes(content[:4] + bytes(half - 4) + content[half:])  # images are lost, and the footer is whole
    ran = run_python(["-m", "raysearch.sweep"], *_words(data | {"Eight": broken}, out), "--json")
    assert ran.returncode == 0, ran.stderr
    messages = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(messages[0]["cells"]) == 18
    outcome = messages[-1]
    assert (outcome["state"], outcome["cells"]["finished"], outcome["cells"]["missing"]) == ("incomplete", 12, 6)
    assert any("Eight could not be opened" in warning for warning in outcome["warnings"])
    verdicts = {variant["name"]: variant["verdict"] for variant in outcome["variants"]}
    assert verdicts["Six, width=4"] == "better"
    assert verdicts["Four, width=4"] == "worse"
    reference, wider = _main_table(out)
    assert [row["Eight hole"] for row in (reference, wider)] == ["not opened", "not opened"]
    scores = {name: [classes + seed / 100 + sign * 0.2 + seed**2 * 2e-5 for seed in range(3)]
              for name, classes, sign in (("Six", 6, 1), ("Four", 4, -1))}  # fmt: skip
    for name, values in scores.items():
        assert float(wider[f"{name} mean"]) == pytest.approx(statistics.mean(values))
    assert "could not be opened" in (out / "report.html").read_text()
    assert "Four" in (out / "report-Four.html").read_text()

    # Holm over the family of all three sets: the third p-value is missing, and counts.
    table = results.load(out)
    assert table["data_set"].to_pylist().count("Six") == 6
    rows = {}
    for name in scores:
        part = table.filter([entry == name for entry in table["data_set"].to_pylist()])
        compared = paired.compare(part, "score", f"{name}, reference", comparisons=1).to_pylist()
        rows[name] = compared[1]["p"]
    smallest, other = sorted(rows.values())
    shown = sorted(variant["p_holm"] for variant in outcome["variants"] if variant["p"] is not None)
    assert shown == pytest.approx(sorted([3 * smallest, max(3 * smallest, 2 * other)]))

    # The mended set has the same hash, so the same run goes on; a study of one set finds its cells there.
    shutil.rmtree(broken)
    shutil.copytree(data["Eight"], broken)
    ran = run_python(["-m", "raysearch.sweep"], *_words(data | {"Eight": broken}, out))
    assert ran.returncode == 0, ran.stderr
    assert "18 cells, 6 variants x 3 seeds; 6 to run" in ran.stdout
    assert [row["Eight hole"] for row in _main_table(out)] == ["", ""]
    alone = tmp_path / "runs" / "alone"
    words = (tmp_path / "study.py", "--data", data["Four"], "--profile", "laptop", "--out", alone)
    ran = run_python(["-m", "raysearch.sweep"], *words)
    assert "6 cells were taken over" in ran.stdout
    assert "nothing to run" in ran.stdout


@pytest.mark.slow
def test_a_killed_run_goes_on_and_its_table_is_that_of_an_undisturbed_run(
    data: dict[str, Path], tmp_path: Path
) -> None:
    log = tmp_path / "log.txt"
    wait = f"{LOGGED.format(log=str(log))}\n    import time; time.sleep(1)\n    sign ="
    (tmp_path / "study.py").write_text(STUDY.replace("sign =", wait))
    out = tmp_path / "killed" / "run"
    command = [sys.executable, "-m", "raysearch.sweep", *map(str, _words(data, out))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        deadline = time.monotonic() + 400
        while len(list((out / "cells").glob("*.parquet"))) < 5:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline, "no five cells so far"
            time.sleep(0.05)
    finally:
        children = sweeps.kill(process) if process.poll() is None else []
        for child in children:  # Ray takes a minute to notice that its driver is gone
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
    psutil.wait_procs(children, timeout=60)
    before = {path: path.stat().st_mtime_ns for path in (out / "cells").glob("*.parquet")}
    begun = log.read_text().splitlines()
    assert 5 <= len(before) < 18

    ran = run_python(["-m", "raysearch.sweep"], *_words(data, out))
    assert ran.returncode == 0, ran.stderr
    assert f"18 cells, 6 variants x 3 seeds; {18 - len(before)} to run" in ran.stdout
    assert {path: path.stat().st_mtime_ns for path in before} == before
    times = Counter(log.read_text().splitlines())
    assert len(times) == 18
    again = [cell for cell, number in times.items() if number > 1]
    assert len(again) == len(begun) - len(before), "only cells that the kill interrupted run again"
    assert max(times.values()) <= 2
    rows = results.load(out).select(["variant", "seed", "status"]).to_pylist()
    assert len({(row["variant"], row["seed"]) for row in rows}) == len(rows) == 18
    assert {row["status"] for row in rows} == {"finished"}

    undisturbed = tmp_path / "undisturbed" / "run"
    ran = run_python(["-m", "raysearch.sweep"], *_words(data, undisturbed))
    assert ran.returncode == 0, ran.stderr
    assert "18 to run" in ran.stdout
    for name in ("main.csv", "main.md", "main.tex"):
        assert (out / "tables" / name).read_text() == (undisturbed / "tables" / name).read_text()


def test_a_set_that_is_not_there_is_named_before_anything_runs(
    data: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "study.py").write_text(STUDY)
    out = tmp_path / "runs" / "all"
    assert run_app(sweep.app, *_words(data | {"Four": tmp_path / "nowhere"}, out)) == 2
    assert "data set Four: " in capsys.readouterr().err
    assert not out.exists()


def test_several_sets_need_names(data: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "study.py").write_text(STUDY)
    assert run_app(sweep.app, tmp_path / "study.py", "--data", data["Six"], "--data", data["Four"], "--dry-run") == 2
    assert "several data sets have names" in capsys.readouterr().err
    assert run_app(sweep.app, "srem_ablation", "--data", f"a={data['Six']}", "--data", f"A={data['Four']}") == 2
    assert "differ only in case" in capsys.readouterr().err
    assert run_app(sweep.app, "fcaenet_search", "--data", f"a={data['Six']}", "--dry-run") == 2
    assert "one data set" in capsys.readouterr().err
