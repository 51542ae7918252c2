"""Columns are guessed where one fits; where several fit, the error names them and the option."""

import subprocess
import sys
from pathlib import Path

import pandas
import pytest

from raysearch.core import UserError
from raysearch.runs import imported, results

RUNS = pandas.DataFrame({"method": ["a", "a", "b", "b"], "seed": [0, 1, 0, 1], "accuracy": [0.1, 0.2, 0.3, 0.4]})


def run_import(tmp_path: Path, frame: pandas.DataFrame, **given: object) -> imported.ImportedRun:
    return imported.import_run(frame, tmp_path, imported.ColumnChoice(**{"reference": "a", **given}))  # type: ignore[arg-type]


def test_what_is_guessed_is_printed(tmp_path: Path) -> None:
    run = run_import(tmp_path, RUNS)
    assert run.summary.splitlines() == [
        "read as a data frame: 4 results of 2 variants and 2 seeds",
        "columns: variant method, seed seed, metric accuracy, mode max; reference a",
    ]


@pytest.mark.parametrize(
    ("frame", "given", "message"),
    [
        (
            RUNS.assign(loss=1.0),
            {},
            "several columns may be the metric: there are accuracy, loss; choose with --metric",
        ),
        (RUNS.drop(columns="accuracy"), {}, "no column holds numbers that may be the metric; there are method, seed"),
        (
            RUNS.rename(columns={"seed": "run_no"}),
            {"metric": "accuracy"},
            "no column is named like a seed; choose with",
        ),
        (RUNS.assign(random_seed=1), {}, "several columns may be the seed: seed, random_seed; choose with --seed"),
        (RUNS.assign(model="x"), {}, "several columns may be the variant: method, model; choose with --variant"),
        (RUNS, {"metric": "acuracy"}, "--metric acuracy: no such column; did you mean 'accuracy'?"),
        (RUNS, {"reference": "c"}, "--reference c: no such variant"),
        (
            RUNS,
            {"reference": None},
            "it is not clear which variant is the reference; choose with --reference: there are a, b",
        ),
        (RUNS, {"mode": "up"}, "--mode up is unknown; use max or min"),
        (
            pandas.concat([RUNS, RUNS]),
            {},
            "variant 'a' with seed 0 has 2 results; name the column that tells them apart",
        ),
        (RUNS.assign(seed=[0, 1, 0, 1.5]), {}, "row 4: the seed, column seed, is not a whole number: '1.5'"),
        (RUNS.assign(status="odd"), {}, "unknown status 'odd' of a run; known: finished"),
        (RUNS.iloc[:0], {}, "'the data frame' holds no results"),
    ],
)
def test_what_is_not_clear_is_an_error(
    frame: pandas.DataFrame, given: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        run_import(tmp_path, frame, **given)
    assert message in str(caught.value)
    assert not (tmp_path / "study.json").exists()


def test_several_mistakes_are_named_together(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        run_import(tmp_path, RUNS, metric="acc", seed="sed")
    assert len(caught.value.messages) == 2


def test_several_columns_name_a_variant(tmp_path: Path) -> None:
    frame = RUNS.assign(depth=[3, 3, 4, 4])
    run = run_import(tmp_path, frame, variant=("method", "depth"), metric="accuracy", reference="method=a, depth=3")
    assert run.variants == 2
    assert results.read_study(tmp_path).factors == ["method", "depth"]
    assert results.load(tmp_path)["depth"].to_pylist() == [3, 3, 4, 4]


def test_failures_and_holes_are_counted(tmp_path: Path) -> None:
    frame = RUNS.assign(State=["finished"] * 4).iloc[:3].assign(status=["finished", "crashed", "finished"])
    run_import(tmp_path, frame.drop(columns="State"))
    rows = {(row["variant"], row["seed"]): row for row in results.load(tmp_path).to_pylist()}
    assert rows["a", 1]["status"] == "failed"
    assert rows["b", 1]["status"] == "failed"
    assert rows["b", 1]["error"] == "the source holds no result of this seed"


def test_an_import_replaces_an_import_and_no_run(tmp_path: Path) -> None:
    run_import(tmp_path, RUNS)
    run_import(tmp_path, RUNS[RUNS.seed == 0])
    assert len(list((tmp_path / "cells").iterdir())) == 2
    study = results.read_study(tmp_path)
    results.write_study(tmp_path, study.changed({"imported": False}))
    with pytest.raises(UserError, match="is a run of raysearch, which would be replaced"):
        run_import(tmp_path, RUNS)


def test_the_command(tmp_path: Path) -> None:
    RUNS.assign(loss=1.0).to_csv(tmp_path / "runs.csv", index=False)
    words = ["--variant", "method", "--seed", "seed", "--metric", "accuracy", "--reference", "a"]
    output = report(tmp_path, "runs.csv", *words)
    assert output.returncode == 0, output.stderr
    assert "columns: variant method, seed seed, metric accuracy, mode max; reference a\n" in output.stdout
    assert (tmp_path / "runs-report/report.html").is_file()
    assert (tmp_path / "runs-report/tables/variants.tex").is_file()
    again = report(tmp_path, "runs-report")  # it is a run directory like any other
    assert again.returncode == 0, again.stderr
    for words, message in (
        (["runs.csv"], "error: several columns may be the metric"),
        (["runs.csv", "--live"], "error: --live is for a run of raysearch"),
        (["runs-report", "--metric", "accuracy"], "error: --metric is for results of other tools"),
        (["nothing.csv"], "error: 'nothing.csv' is not a run directory"),
    ):
        refused = report(tmp_path, *words)
        assert refused.returncode == 2
        assert refused.stderr.startswith(message)
        assert len(refused.stderr.splitlines()) <= 2


def report(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "raysearch.report", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
