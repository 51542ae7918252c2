"""A search and its explanation as real sweeps: killed and continued, reported again, and no cell twice."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from raysearch.runs import results

SECONDS = 900.0  # far more than a run takes
STUDY = """
import random
import time
from pathlib import Path

from ray import tune

from raysearch import Search

NAMES = ["gain", "other", "idle"]


def fit(run):
    values = [run.config[name] for name in NAMES]
    with Path("{log}").open("a") as log:
        log.write(f"{{values}} {{run.seed}}\\n")
    time.sleep({pause})
    quality = 0.5 + 0.1 * run.config["gain"] + 0.05 * run.config["other"] + random.Random(f"{{run.seed}}").gauss(0, 0.1)
    quality += random.Random(f"{{values}} {{run.seed}}").gauss(0, 0.002)
    for _ in run.steps(run.config["epochs"]):
        run.report({{"quality_validation": quality}})
    return {{"quality": quality}}


study = Search("Which setting?", fit, {{name: tune.choice([0, 1]) for name in NAMES}}, base={{"epochs": 1}},
               reference={{name: 0 for name in NAMES}}, objective="quality_validation", judge_metric="quality",
               starts=[{{name: 1 for name in NAMES}}], trials=1, judge_seeds=4, scheduler=None, sampler="random")
"""


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.Popen(
        [sys.executable, "-m", "raysearch.sweep", *words],
        cwd=folder,
        env={name: value for name, value in environment.items() if name != "RAY_ADDRESS"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == code, output
    return output


@pytest.mark.slow
def test_a_killed_explanation_of_a_real_search_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "log"
    (tmp_path / "my_search.py").write_text(STUDY.format(log=log, pause=0.5))
    finish(start(tmp_path, "my_search.py", "--out", "runs/search"))
    refused = finish(start(tmp_path, "--explain", "runs/search"), code=2)
    assert "name its study file: python -m raysearch.sweep my_search.py --explain runs/search" in refused

    explain = ["my_search.py", "--explain", "runs/search", "--margin", "0.02"]
    run = tmp_path / "runs" / "search-explained"
    process = start(tmp_path, *explain)
    deadline = time.monotonic() + SECONDS
    while len(list((run / "cells").glob("*.parquet"))) < 5:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.kill()
    process.communicate(timeout=60)
    ended = {path.name: path.stat().st_mtime_ns for path in (run / "cells").glob("*.parquet")}
    output = finish(start(tmp_path, *explain))
    assert "gain (+0." in " ".join(output.split())
    after = {path.name: path.stat().st_mtime_ns for path in (run / "cells").glob("*.parquet")}
    assert ended.items() <= after.items(), "a cell that had ended ran again"
    begun = Counter(log.read_text().splitlines())
    assert sum(begun.values()) - len(begun) <= 2, "only the cells that ran when the driver was killed run twice"

    record = results.read_study(run)
    assert record.adopted == 8, "the judging cells of the search"
    assert record.explanation is not None
    assert record.explanation.groups[0].path[:2] == ["gain", "other"]
    changes = json.loads((run / "tables" / "changes.json").read_text())["changes"]
    assert [change["claim"] for change in changes[:2]] == ["better", "better"]
    assert changes[2]["claim"] in ("undecided", "within margin")
    assert all(change["shapley"] is not None for change in changes)
    assert "nothing to run" in finish(start(tmp_path, *explain))

    race = ["my_search.py", "--explain", "runs/search", "--out", "runs/raced", "--looks", "3,5", "--margin", "0.02"]
    assert "cells, if a third of the changes earn" in " ".join(finish(start(tmp_path, *race, "--dry-run")).split())
    output = " ".join(finish(start(tmp_path, *race)).split())
    assert "the study is over" in output
    assert "before its looks were declared" in output, "the cells of the fixed seeds were there"
    raced = results.read_study(tmp_path / "runs" / "raced")
    assert raced.looks == [3, 5]
    looked = json.loads((tmp_path / "runs" / "raced" / "tables" / "changes.json").read_text())["changes"]
    assert {change["look"] for change in looked} <= {1, 2}
