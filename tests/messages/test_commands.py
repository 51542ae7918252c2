"""`--json` of each command: one object per line, the last one the outcome."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from raysearch import cluster, messages, report, sweep
from raysearch.core import cli
from raysearch.engine.monitoring.counters import ProgressCounter
from raysearch.engine.monitoring.events import EventEmitter
from raysearch.engine.trials.jobs import Job, Objective
from raysearch.runs import Heartbeat, Stage, heartbeat

from ..dashboards import written
from .messages import read_lines

STUDY = """
from raysearch import Ablation, factor


def train(run):
    for step in run.steps(2):
        run.report({"loss": 1.0}, {"step": step})
    if run.config["width"] == 3:
        raise ValueError("no such width")
    return {"accuracy": 0.5 + 0.1 * run.config["width"] + 0.01 * run.seed + 0.001 * run.seed * run.config["width"]}


study = Ablation(
    question="Does width matter?",
    task=train,
    base={},
    reference={"width": 1},
    factors=[factor("width", 1, 2, 3)],
    metric="accuracy",
    seeds=3,
)
"""
FAR_APART = {"reference": {0: 0.60, 1: 0.62, 2: 0.61}, "wide": {0: 0.70, 1: 0.722, 2: 0.711}}


def run_json(app: typer.Typer, capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, list[dict[str, Any]]]:
    """Run a command with --json in this process; return its exit code and its messages."""
    arguments = [*map(str, words), "--json"]
    before = sys.argv
    sys.argv = ["raysearch", *arguments]
    try:
        with pytest.raises(SystemExit) as end:
            cli.run(app, arguments, on_error=messages.print_error)
    finally:
        sys.argv = before
    return int(end.value.code or 0), read_lines(capsys.readouterr().out)


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "widths.py"
    path.write_text(STUDY)
    return path


def test_a_dry_run_prints_its_plan(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = run_json(sweep.app, capsys, study, "--dry-run")
    (plan,) = lines
    assert (code, plan["type"], plan["question"]) == (0, "plan", "Does width matter?")
    assert [variant["settings"] for variant in plan["variants"]] == [{"width": 1}, {"width": 2}, {"width": 3}]
    assert [cell["status"] for cell in plan["cells"]] == ["to run"] * 9
    assert plan["forecast"]["to_run"] == 9
    assert "--dry-run" not in plan["next"]
    assert not (study.parent / "runs").exists()


def test_a_mistake_is_the_last_line(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = run_json(sweep.app, capsys, study, "--set", "widht=3")
    assert (code, lines[-1]["type"]) == (2, "error")
    assert lines[-1]["messages"] == ["unknown config path 'widht' in --set; did you mean 'width'?"]
    code, lines = run_json(sweep.app, capsys, study, "--dry-runn")
    assert (code, lines[-1]["messages"]) == (2, ["unknown flag --dry-runn; did you mean '--dry-run'?"])


def test_a_finished_run_may_claim_what_its_intervals_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = written.write(tmp_path / "run", FAR_APART, seeds=[0, 1, 2])
    code, lines = run_json(report.app, capsys, run)
    (result,) = lines
    assert (code, result["state"], result["decided"]) == (0, "complete", True)
    assert (result["holes"], result["next"]) == ([], None)
    wide = result["variants"][1]
    assert wide["verdict"] == "better"
    assert wide["difference"] == pytest.approx(0.101)  # the mean of 0.100, 0.102 and 0.101, by hand
    assert wide["claim"].startswith("wide is better than reference: mAP +0.101 [")
    assert all(Path(path).is_file() for path in result["files"].values())
    assert {"report", "results", "study", "tables/variants.csv"} <= result["files"].keys()


def test_two_seeds_claim_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = {name: {seed: row[seed] for seed in (0, 1)} for name, row in FAR_APART.items()}
    command = "python -m raysearch.sweep s.py"
    run = written.write(tmp_path / "run", values, seeds=[0, 1], command=command)
    result = run_json(report.app, capsys, run)[1][-1]
    assert (result["decided"], result["variants"][1]["verdict"]) == (False, "no interval")
    assert "Nothing may be claimed of wide" in result["variants"][1]["claim"]
    assert result["next"]["command"] == f"{command} --seeds 5"


def test_holes_are_listed_with_their_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = {"reference": {0: 0.6, 1: 0.62, 2: 0.61}, "wide": {0: 0.7, 1: None, 2: 0.71}}
    run = written.write(tmp_path / "run", values, seeds=[0, 1, 2], command="python -m raysearch.sweep s.py")
    lost = sorted((run / "cells").glob("*.parquet"))[0]
    lost.unlink()
    result = run_json(report.app, capsys, run)[1][-1]
    holes = {(hole["variant"], hole["seed"]): (hole["status"], hole["error"]) for hole in result["holes"]}
    assert holes == {("reference", 0): ("missing", None), ("wide", 1): ("failed", "boom")}
    assert (result["state"], result["cells"]["missing"]) == ("incomplete", 1)
    assert result["next"]["command"] == "python -m raysearch.sweep s.py"


def test_a_run_that_has_not_ended_decides_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = {name: {**row, 3: row[0] + 0.001} for name, row in FAR_APART.items()}
    run = written.write(tmp_path / "run", values, seeds=[0, 1, 2, 3])
    sorted((run / "cells").glob("*.parquet"))[-1].unlink()
    result = run_json(report.app, capsys, run)[1][-1]
    wide = result["variants"][1]
    assert (result["decided"], wide["verdict"]) == (False, "better so far")
    assert wide["claim"].startswith("Nothing may be claimed of wide before all planned cells have ended; so far mAP +")


def test_a_stopped_cell_is_a_hole_whose_error_is_plain_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = {"status": "stopped", "error": "out of \x1b[31mtime"}
    run = written.write(tmp_path / "run", {"reference": {0: 0.6}}, seeds=[0], cells=cells)
    (hole,) = run_json(report.app, capsys, run)[1][-1]["holes"]
    assert hole["status"] == "stopped"
    assert "\x1b" not in hole["error"]
    assert hole["error"].endswith("[31mtime")


@pytest.mark.parametrize(
    "command", ["rm -rf /", "python -m raysearch.sweep 'open", "python -m raysearch.sweep a\nrm b"]
)
def test_a_command_that_is_no_sweep_is_not_passed_on(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = written.write(tmp_path / "run", {"reference": {0: None}}, seeds=[0], command=command)
    assert run_json(report.app, capsys, run)[1][-1]["next"] is None


def test_a_shell_cannot_be_reached_through_a_recorded_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = "python -m raysearch.sweep a.py; rm b $(c)"
    run = written.write(tmp_path / "run", {"reference": {0: None}}, seeds=[0], command=command)
    step = run_json(report.app, capsys, run)[1][-1]["next"]
    assert step["command"] == "python -m raysearch.sweep 'a.py;' rm b '$(c)' --retry-failed"


def test_a_running_sweep_reports_its_progress(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = written.write(tmp_path / "run", FAR_APART, seeds=[0, 1, 2])
    now = time.time()
    stage = Stage("cells", 9, before=2, finished=4, seconds=12.0)
    beat = Heartbeat(socket.gethostname(), os.getpid(), now, now, "running", stage=stage)
    heartbeat.write_heartbeat(run, beat)
    result = run_json(report.app, capsys, run)[1][-1]
    assert (result["state"], result["progress"][0]["ended"], result["progress"][0]["total"]) == ("running", 6, 9)
    assert result["next"]["command"].startswith("python -m raysearch.report ")


def test_runs_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [written.write(tmp_path / name, FAR_APART, seeds=[0, 1, 2]) for name in ("before", "after")]
    code, lines = run_json(report.app, capsys, *runs, "--out", tmp_path / "both")
    assert (code, lines[-1]["type"]) == (0, "comparison")
    assert Path(lines[-1]["files"]["comparison"]).is_file()


def test_the_checks_of_a_cluster_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump({"cluster_name": "c", "provider": {"type": "local", "head_ip": "10.0.0.1"}}))
    code, lines = run_json(cluster.app, capsys, "check", path)
    (outcome,) = lines
    assert (code, outcome["type"], outcome["passed"], outcome["next"]) == (2, "check", False, None)
    assert {check["status"] for check in outcome["checks"]} >= {"FAIL"}


def test_the_events_of_a_stage() -> None:
    seen: list[messages.Message] = []
    counter = ProgressCounter(2, 0, lambda: 1, objective=Objective("map", "max"))
    emitter = EventEmitter(seen.append, counter, "map")
    job = Job("c1", "a seed 0", {}, 0, "a")
    counter.started(job)
    emitter.started(job)
    for step in range(1, 100):
        counter.stepped(job, {"iteration": step}, 100)
        emitter.stepped(job, {"iteration": step}, 100)
    record = {"status": "finished", "map": 0.5, "seconds": 3.0, "error": None}
    counter.ended(job, record)
    emitter.ended(job, record)
    lines = read_lines("\n".join(message.model_dump_json() for message in seen))
    assert [line["type"] for line in lines] == ["progress", "cell", "progress"], "steps print no line each"
    assert (lines[0]["running"], lines[1]["value"], lines[2]["ended"]) == (["a seed 0"], 0.5, 1)


@pytest.mark.slow
def test_a_sweep_prints_its_plan_its_cells_and_its_outcome(study: Path) -> None:
    command = [sys.executable, "-m", "raysearch.sweep", str(study), "--json"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert process.returncode == 0, process.stderr
    lines = read_lines(process.stdout)
    assert (lines[0]["type"], lines[-1]["type"]) == ("plan", "result")
    cells = {(line["variant"], line["seed"]): line for line in lines if line["type"] == "cell"}
    assert len(cells) == 9
    assert {cell["status"] for cell in cells.values()} == {"finished", "failed"}
    result = lines[-1]
    assert {variant["name"]: variant["verdict"] for variant in result["variants"]} == {
        "reference": "reference",
        "width=2": "better",
        "width=3": "no result",
    }
    assert [hole["error"] for hole in result["holes"]] == ["ValueError: no such width"] * 3
    assert "beats the reference" in process.stderr, "people read on standard error"
    assert json.loads(process.stdout.splitlines()[-1]) == result
