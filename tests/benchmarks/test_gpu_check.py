"""The check of a GPU, as far as a CPU shows it: it runs whole without Ray, finds faults, and always ends with JSON."""

import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from gpu_checks import cells, suite, waits
from gpu_checks.outcomes import Check, Outcome, Result, Runner, Setting, Skipped

from raysearch.testing import METHODS, SmallTask

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CPU = torch.device("cpu")
# Python with torch, torchvision, numpy, scipy, pyarrow, pillow, pydantic, and what these install.
BARE = """
import importlib.machinery, importlib.metadata, runpy, sys
allowed = {"torch", "torchvision", "torchgen", "functorch", "numpy", "scipy", "pyarrow", "PIL", "pydantic",
    "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection", "sympy", "mpmath", "networkx",
    "jinja2", "markupsafe", "filelock", "fsspec", "raysearch", "triton", "nvidia", "cuda"}
blocked = {name for name in importlib.metadata.packages_distributions() if not name.startswith("_")} - allowed
assert {"ray", "typer", "rich", "yaml", "pytest", "optuna"} <= blocked
find = importlib.machinery.PathFinder.find_spec
class Finder:
    def find_spec(name, path=None, target=None):
        return None if name.split(".")[0] in blocked else find(name, path, target)
sys.meta_path = [importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter, Finder]
sys.argv = ["gpu_check.py", "--quick", "--device", "cpu"]
runpy.run_path("gpu_check.py", run_name="__main__")
"""


def setting(seconds: float = 600.0) -> Setting:
    return Setting(CPU, quick=True, ends=time.monotonic() + seconds)


def run(*checks: Check, seconds: float = 600.0) -> tuple[int, list[Outcome]]:
    """Return the exit code, and the outcomes that the end of the run saw."""
    ends: list[list[Outcome]] = []
    code = Runner(setting(seconds), lambda outcome: None, ends.append).run(checks)
    (outcomes,) = ends
    return code, outcomes


@pytest.mark.slow
def test_a_quick_run_needs_neither_ray_nor_anything_else_but_torch_and_a_few() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [sys.executable, "-c", BARE], cwd=BENCHMARKS, env=environment, capture_output=True, text=True, check=False
    )
    assert not done.stderr or "Traceback" not in done.stderr, done.stderr
    *rows, last = done.stdout.strip().splitlines()
    figures = json.loads(last)
    assert list(figures)[:2] == ["leaked_tasks", "most_syncs_per_step"]
    assert figures["leaked_tasks"] == 0
    assert figures["most_syncs_per_step"] == 0
    assert figures["checks"]["leaks"]["figures"]["cells"] == 3 * len(METHODS)
    statuses = {name: check["status"] for name, check in figures["checks"].items()}
    assert list(statuses) == ["leaks", "waits", "debug", "step", "episodes", "images", "agreement", "tests"]
    assert statuses.pop("tests") == "skipped"  # without pytest
    assert set(statuses.values()) == {"ok"}
    counted = figures["checks"]["waits"]["figures"]["syncs"]
    assert set(counted) == set(METHODS)
    assert figures["most_syncs_per_step"] == max(per_step for per_step, _ in counted.values())
    # Two ways of counting: the difference of two runs, and hooks of the optimizer.
    for name, per_step in figures["checks"]["debug"]["figures"]["debug_syncs"].items():
        assert per_step == counted[name][0]
    assert figures["checks"]["agreement"]["figures"]["loss_difference"] < 0.01
    assert any(row.startswith("leaks      ok") for row in rows)
    assert done.returncode == 0


def test_each_way_that_a_check_ends_is_reported() -> None:
    def fail(setting: Setting) -> Result:
        raise ValueError("a fault\nand its second line")

    def leave(setting: Setting) -> Result:
        raise SystemExit("the logits differ")

    def skip(setting: Setting) -> Result:
        raise Skipped("no pytest")

    checks = [
        Check("good", 1, lambda setting: Result({"ratio": 2.0})),
        Check("bad", 1, lambda setting: Result({"ratio": 0.5}, ["ratio is 0.5"])),
        Check("raises", 1, fail),
        Check("exits", 1, leave),
        Check("skips", 1, skip),
        Check("last", 1, lambda setting: Result({})),
    ]
    code, outcomes = run(*checks)
    assert code == 1
    assert [(outcome.status, list(outcome.notes)) for outcome in outcomes] == [
        ("ok", []),
        ("failed", ["ratio is 0.5"]),
        ("failed", ["ValueError: a fault"]),
        ("failed", ["SystemExit: the logits differ"]),
        ("skipped", ["no pytest"]),
        ("ok", []),
    ]
    assert outcomes[1].figures == {"ratio": 0.5}
    assert run(checks[0])[0] == 0


def test_checks_that_do_not_fit_the_time_are_skipped() -> None:
    _, outcomes = run(Check("late", 1, lambda setting: Result({})), seconds=0.5)
    assert [(outcome.status, outcome.seconds) for outcome in outcomes] == [("skipped", 0.0)]


def test_a_check_that_hangs_ends_the_run_with_what_there_is() -> None:
    ends: list[list[str]] = []
    codes: list[int] = []

    def hang(setting: Setting) -> Result:
        while not codes:
            time.sleep(0.01)
        return Result({})

    runner = Runner(
        setting(1.5),
        lambda outcome: None,
        lambda outcomes: ends.append([f"{outcome.name} {outcome.status}" for outcome in outcomes]),
        leave=codes.append,
    )
    runner.run([Check("good", 1, lambda setting: Result({"ratio": 2.0})), Check("hangs", 1, hang)])
    assert ends == [["good ok", "hangs failed"]]
    assert codes == [1]


class Cycle:
    """A task that refers to itself, and is therefore not freed at once."""

    def __init__(self, task: Any) -> None:
        self.task = task
        self.cycle = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)


def test_a_leaking_task_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    build = cells.build_small
    monkeypatch.setattr(cells, "METHODS", {"DSH": METHODS["DSH"]})
    monkeypatch.setattr(cells, "build_small", lambda *args: Cycle(build(*args)))
    result = cells.check_leaks(setting())
    assert result.figures == {"leaked_tasks": 3, "cells": 3}
    assert result.problems == ["not freed: DSH, at its end, DSH, after an error"]


def test_other_losses_than_on_a_cpu_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([2.0, 2.01, 1.0, 1.5])  # on a CPU and on the device, by method
    monkeypatch.setattr(cells, "chosen_methods", lambda setting: {name: METHODS[name] for name in ("DSH", "DPSH")})
    monkeypatch.setattr(cells, "_losses", lambda cell, device: [next(losses)])
    result = cells.check_agreement(setting())
    assert result.figures["loss_difference"] == 0.5
    assert result.problems == ["DPSH: the losses differ by 50.0% from those on a CPU"]


@pytest.fixture
def debug_mode(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A stand-in for CUDA's debug mode: adding a loss to a total waits."""
    modes = ["default"]
    stack = torch.stack

    def wait(*args: Any, **named: Any) -> torch.Tensor:
        if modes[-1] == "warn":
            warnings.warn("called a synchronizing CUDA operation", stacklevel=2)
        if modes[-1] == "error":
            raise RuntimeError("called a synchronizing CUDA operation")
        return stack(*args, **named)

    monkeypatch.setattr(torch, "stack", wait)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    yield modes
    assert modes[-1] == "default"


@pytest.mark.usefixtures("one_thread")
def test_the_debug_mode_of_cuda_is_read(debug_mode: list[str]) -> None:
    method = SmallTask("pretrain")
    counted = waits.count_cuda_waits(method, CPU)
    assert sum(counted.values()) == waits.STEPS - 1
    assert all(place.startswith("tasks/pretraining/task.py:") for place in counted)
    (line,) = waits.raised_by_error_mode(method, CPU)
    assert line.startswith("waits at ")
    assert debug_mode[1:3] == ["warn", "default"]


@pytest.mark.usefixtures("one_thread")
def test_steps_without_a_wait_pass_the_debug_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    assert waits.count_cuda_waits(SmallTask("pretrain"), CPU) == {}
    assert waits.raised_by_error_mode(SmallTask("pretrain"), CPU) == []
    assert modes == ["warn", "default", "error", "default"]


def test_the_tests_run_in_a_process_with_the_device() -> None:
    result = suite.check_tests(setting())
    assert result.figures["tests_passed"] > 5
    assert result.problems == []


def test_an_unknown_check_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import gpu_check

    monkeypatch.setattr(sys, "argv", ["gpu_check.py", "--quick", "--only", "stp"])
    with pytest.raises(SystemExit, match="2"):
        gpu_check.main()
    assert "no check ['stp']; choose from ['leaks', 'waits'" in capsys.readouterr().err
