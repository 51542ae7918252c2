"""Adaptive studies and raised seeds by the command line, over results that are there: nothing is trained."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from raysearch import sweep
from raysearch.data import class_splits, shards
from raysearch.engine.preflight.study_check import StudyRequest, check_request
from raysearch.engine.trackers.verdicts import judge_variants
from raysearch.runs import CostRecord, results
from raysearch.studies.analysis import power
from raysearch.studies.design import AblationPlan
from raysearch.studies.statistics import adaptive

from .commands import run_app

STUDY = """
from raysearch import Ablation, factor


def fit(run):
    raise RuntimeError("nothing is trained here")


study = Ablation("?", fit, {"width": 4}, [factor("width", 2, 8, 16)], metric="accuracy", seeds=3)
"""
EFFECTS = {2: -0.3, 8: 0.001, 16: 0.01}
LOOKS = "3,5,8"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_study.py").write_text(STUDY)


def end(count: int, widths: tuple[int, ...] = (4, *EFFECTS), status: str = "finished", **fields: Any) -> None:
    """Write the results of the first seeds of some variants."""
    plan = check_request(StudyRequest("my_study.py", seeds=count)).for_data(class_splits.data_identity(shards.NO_DATA))
    assert isinstance(plan, AblationPlan)
    for cell in plan.cells:
        width = cell.variant.config.model_dump()["width"]
        if width not in widths:
            continue
        row: dict[str, Any] = {"seed": cell.seed, "cell": cell.hash, "status": status, "seconds": 1.0}
        row |= {"config": json.dumps(cell.variant.config.canonical()), "device": "cpu", "gpu_seconds": 0.0}
        if status == "finished":
            row["accuracy"] = 0.5 + EFFECTS.get(width, 0) + random.Random(f"{width} {cell.seed}").gauss(0, 0.01)
        results.write_cell(Path("run/cells"), row | fields)


def run(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    """Run the sweep, and return what it prints."""
    capsys.readouterr()
    assert run_app(sweep.app, "my_study.py", "--out", "run", *words) in (code, code or None)
    output = capsys.readouterr()
    assert (code == 0) == (output.err == "")
    return output.err if code else output.out


def start(capsys: pytest.CaptureFixture[str], *words: str) -> None:
    """Have a run with the results of as many seeds as the looks need."""
    end(8)
    run(capsys, *words)


def test_a_study_that_has_what_its_looks_need_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    end(8)
    output = run(capsys, "--looks", LOOKS)
    assert "look 3 of 3, 8 seeds: 1 of 3 comparisons decided, 2 undecided; the study is over" in output
    study = results.read_study("run")
    assert (study.looks, study.margin, study.seeds, study.looked) == ([3, 5, 8], None, list(range(8)), [])
    table = results.load("run")
    verdicts = {
        row["variant"]: row["verdict"] for row in adaptive(table, "accuracy", "reference", [3, 5, 8]).to_pylist()
    }
    assert verdicts == {"reference": None, "width=2": "worse", "width=8": "undecided", "width=16": "undecided"}


def test_a_decided_variant_needs_no_further_cells(capsys: pytest.CaptureFixture[str]) -> None:
    end(5)
    end(8, (4, 8, 16))
    assert "the study is over" in run(capsys, "--looks", LOOKS)


def test_a_look_waits_for_a_cell_that_is_no_result(capsys: pytest.CaptureFixture[str]) -> None:
    end(3)
    end(3, (8,), "failed", error="OSError: [Errno 28] No space left on device")
    words = ["--looks", LOOKS, "--dry-run"]
    assert "look 1 of 3, 3 seeds: 12 cells, 9 ended, 3 to run" in run(capsys, *words)
    end(8)
    run(capsys, "--looks", LOOKS)
    verdicts = adaptive(results.load("run"), "accuracy", "reference", [3, 5, 8])
    end(3, (8,), "failed", error="OSError: [Errno 28] No space left on device")
    assert set(adaptive(results.load("run"), "accuracy", "reference", [3, 5, 8])["look"].to_pylist()) == {0}
    study = results.read_study("run")
    shown = judge_variants(study, results.read_cells(Path("run/cells"), [cell.cell for cell in study.cells]))
    assert shown["width=2"]["verdict"] not in ("better", "worse"), "the report shows a verdict that may change"
    end(3, (8,))
    assert adaptive(results.load("run"), "accuracy", "reference", [3, 5, 8]) == verdicts


def test_a_failed_cell_of_a_judged_look_never_runs_again(capsys: pytest.CaptureFixture[str]) -> None:
    end(8)
    end(3, (8,), "failed", error="NonFiniteLoss: the loss became nan")
    output = run(capsys, "--looks", LOOKS, "--retry-failed")
    assert "failed cells that stay as they are, because verdicts were given with them: 3" in output
    assert "nothing to run" in output


def test_a_dry_run_counts_the_first_and_the_last_look(capsys: pytest.CaptureFixture[str]) -> None:
    lines = run(capsys, "--looks", LOOKS, "--dry-run").splitlines()
    assert [line.split()[1:3] for line in lines[:-2]] == [["to", "run"]] * 12
    assert lines[-2:] == [
        "look 1 of 3, 3 seeds: 12 cells, 0 ended, 12 to run, of a cost not known yet",
        "look 3 of 3, 8 seeds: at most 32 cells, 0 ended, 32 to run, of a cost not known yet",
    ]
    end(5)
    decided_first = 3 * 4 + 2 * 3  # cells: the largest effect shows with three seeds
    assert run(capsys, "--looks", LOOKS, "--dry-run").splitlines()[-2:] == [
        "look 2 of 3, 5 seeds: 1 of 3 comparisons decided, 2 undecided; the undecided and their references go on to 8 "
        "seeds",
        f"look 3 of 3, 8 seeds: at most {decided_first + 9} cells, {decided_first} ended, 9 to run, about 9 worker "
        "seconds",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "adaptiv"], "--seeds adaptiv: give a number of seeds, or `adaptive`; did you mean 'adaptive'?"),
        (["--seeds", "2.5"], "--seeds 2.5: give a number of seeds, or `adaptive`"),
        (["--looks", "5,3"], "looks must rise, but 3 follows 5"),
        (["--looks", "2,5"], "the first look has 2 in 2, 5: an interval needs 3 seeds"),
        (["--looks", "3;5"], "--looks 3;5: give numbers of seeds with commas between them, such as 3,5,8"),
        (["--margin", "0"], "margin is a difference of the metric above 0, not 0"),
        (["--margin", "-0.01"], "margin is a difference of the metric above 0, not -0.01"),
        (["--seeds", "5", "--looks", "3,5"], "--seeds 5 is a fixed number, and --looks is for adaptive seeds"),
        (["--seeds", "5", "--margin", "1"], "--seeds 5 is a fixed number, and --margin is for adaptive seeds"),
    ],
)
def test_wrong_words_are_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    output = run(capsys, *words, code=2)
    assert message in output
    assert output.count("\n") == 1
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (["--looks", LOOKS], ["--looks", "3,5,9"], "declared the looks 3, 5, 8, here 3, 5, 9"),
        (["--looks", LOOKS], ["--seeds", "adaptive"], "declared the looks 3, 5, 8, here 3, 5, 8, 12, 20"),
        (["--looks", LOOKS], ["--looks", LOOKS, "--margin", "0.1"], "declared the margin none, here 0.1"),
        (["--looks", LOOKS], ["--looks", LOOKS, "--only", "width=2"], "declared the variants reference, width=2"),
        (["--looks", LOOKS], ["--seeds", "5"], "is an adaptive run, judged at 3, 5, 8 seeds, and 5 fixed seeds would"),
        (["--looks", LOOKS, "--margin", "0.1"], [], "use --looks 3,5,8 --margin 0.1, or give another --out"),
        (["--seeds", "8"], ["--seeds", "adaptive"], "has results of 8 fixed seeds, and looks are declared before"),
    ],
)
def test_a_run_keeps_what_it_declared(
    first: list[str], second: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    start(capsys, *first)
    before = Path("run/study.json").read_bytes()
    for words in (second, [*second, "--dry-run"]):
        output = run(capsys, *words, code=2)
        assert message in output
        assert output.count("\n") == 1
    assert Path("run/study.json").read_bytes() == before
    assert "nothing to run" in run(capsys, *first), "the same command continues"


def test_without_results_looks_may_change(capsys: pytest.CaptureFixture[str]) -> None:
    start(capsys, "--looks", LOOKS)
    for path in Path("run/cells").iterdir():
        path.unlink()
    assert "look 3 of 3, 6 seeds" in run(capsys, "--looks", "3,4,6", "--dry-run")


def test_a_raise_after_results_is_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    end(3)
    run(capsys)
    assert results.read_study("run").looked == []
    end(5)
    run(capsys, "--seeds", "5")
    assert results.read_study("run").looked == [3]
    end(8)
    run(capsys, "--seeds", "8")
    assert results.read_study("run").looked == [3, 5]
    run(capsys, "--seeds", "8")
    run(capsys, "--seeds", "3")
    assert results.read_study("run").looked == [3, 5], "fewer seeds undo no look"


def test_another_run_directory_hides_no_raise(capsys: pytest.CaptureFixture[str]) -> None:
    end(3)
    run(capsys)
    Path("run").rename("before")
    end(8)
    for path in Path("before/cells").iterdir():
        Path("run/cells", path.name).unlink()
    run(capsys, "--seeds", "8")
    study = results.read_study("run")
    assert (study.adopted, study.looked) == (12, [3])


def test_looks_that_were_declared_after_results_are_doubted(capsys: pytest.CaptureFixture[str]) -> None:
    end(8)
    run(capsys, "--seeds", "8")
    Path("run").rename("before")
    assert "before its looks were declared" in run(capsys, "--looks", LOOKS)
    (warning,) = results.read_study("run").warnings
    assert "before'" in warning
    assert results.read_study("run").looked == []


def test_completing_a_plan_is_no_look(capsys: pytest.CaptureFixture[str]) -> None:
    end(5)
    run(capsys, "--seeds", "5")
    for path in sorted(Path("run/cells").iterdir())[:7]:
        path.unlink()
    end(5)
    run(capsys, "--seeds", "5")
    assert results.read_study("run").looked == []


def test_further_levels_are_no_look(capsys: pytest.CaptureFixture[str]) -> None:
    end(5)
    run(capsys, "--seeds", "5", "--only", "width=2")
    run(capsys, "--seeds", "5")
    assert results.read_study("run").looked == []


def test_a_dry_run_gives_power_and_cost(capsys: pytest.CaptureFixture[str]) -> None:
    assert "with 80 % power" not in run(capsys, "--dry-run"), "nothing is known"
    assert "how much seeds differ is not known" in run(capsys, "--dry-run", "--effect", "0.01")
    end(3)
    run(capsys)
    study = results.read_study("run")
    study.wall_seconds = 12 * 3600.0  # an hour per cell
    study.cost = CostRecord(dollars=6.0)
    results.write_study("run", study)
    table = results.load("run")
    spread = power.paired_spread(table, "accuracy", "reference")
    assert spread is not None
    smallest = power.smallest_effect(spread, 3, comparisons=3)
    needed = power.seeds_for(0.02, spread, comparisons=3)
    assert needed is not None
    cells = 4 * needed - 12
    assert cells > 0
    line = next(line for line in run(capsys, "--dry-run", "--effect", "0.02").splitlines() if "power" in line)
    assert line.startswith(f"3 seeds find a difference of {smallest:.2g} in accuracy with 80 % power; 0.02 needs ")
    assert line.endswith(f" {needed} seeds: {cells} further cells, {cells} h, ${cells / 2:.2g}")
    half = next(line for line in run(capsys, "--dry-run").splitlines() if "power" in line)
    assert f"; {smallest / 2:.2g} needs {power.seeds_for(smallest / 2, spread, comparisons=3)} seeds: " in half
    adaptive_line = next(
        line
        for line in run(capsys, "--dry-run", "--out", "other", "--pilot", "run", "--looks", LOOKS).splitlines()
        if "power" in line
    )
    sharing = 5  # the last of the looks has 39/64 of the level, for three comparisons
    smallest = power.smallest_effect(spread, 8, comparisons=sharing)
    assert adaptive_line.startswith(f"8 seeds find a difference of {smallest:.2g} in accuracy ")
    assert " at most " in adaptive_line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--effect", "0.1"], "--effect and --pilot plan a study and run nothing; add --dry-run"),
        (["--effect", "0", "--dry-run"], "--effect 0: give a difference of the metric above 0, such as 0.004"),
        (["--effect", "nan", "--dry-run"], "--effect nan: give a difference of the metric above 0"),
        (["--pilot", "nowhere", "--dry-run"], "'nowhere' is not a run directory: it holds no study.json"),
    ],
)
def test_a_wrong_plan_is_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    output = run(capsys, *words, code=2)
    assert message in output
    assert output.count("\n") == 1
