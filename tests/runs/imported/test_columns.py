"""Columns are guessed where one fits; where several fit, the error names them and the option."""

from pathlib import Path

import pandas
import pytest

import raysearch.report
from raysearch.core import UserError, cli
from raysearch.runs import imported, results

RUNS = pandas.DataFrame({"method": ["a", "a", "b", "b"], "seed": [0, 1, 0, 1], "accuracy": [0.1, 0.2, 0.3, 0.4]})


def run_import(tmp_path: Path, frame: pandas.DataFrame, **given: object) -> imported.ImportedRun:
    return imported.import_run(frame, tmp_path, imported.ColumnChoice(**{"reference": "a", **given}))  # type: ignore[arg-type]


def test_times_of_a_run_are_no_metric(tmp_path: Path) -> None:
    run = run_import(tmp_path, RUNS.assign(seconds=1.5, epochs=3))
    assert run.columns.metric == "accuracy"
    assert results.load(tmp_path)["seconds"].to_pylist() == [1.5] * 4


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
            "several columns may be the metric: there are accuracy, loss; choose with",
        ),
        (RUNS.drop(columns="accuracy"), {}, "no column holds numbers that may be the metric; there are method, seed"),
        (
            RUNS.rename(columns={"seed": "run_no"}),
            {"metric": "accuracy"},
            "no column is named like a seed; choose",
        ),
        (RUNS.assign(random_seed=1), {}, "several columns may be the seed: seed, random_seed; choose with --seed"),
        (RUNS.assign(model="x"), {}, "several columns may be the variant: method, model; choose with --variant"),
        (RUNS, {"metric": "acuracy"}, "--metric acuracy: no such column; did you mean 'accuracy'?"),
        (RUNS, {"reference": "c"}, "--reference c: no such variant"),
        (
            RUNS,
            {"reference": None},
            "which variant is the reference; choose with --reference: there are a, b",
        ),
        (RUNS, {"mode": "up"}, "--mode up is unknown; use max or min"),
        (
            pandas.concat([RUNS, RUNS]),
            {},
            "variant 'a' with seed 0 has 2 results; name the column that tells",
        ),
        (pandas.concat([RUNS, RUNS]).assign(step=1), {}, "has step 1 twice; name the column of test items with --item"),
        (pandas.concat([RUNS, RUNS]).assign(image="bird"), {}, "variant 'a' with seed 0 has image 'bird' twice"),
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


@pytest.mark.parametrize(("metric", "mode"), [("accuracy", "max"), ("test_loss", "min"), ("lossless", "max")])
def test_the_mode_follows_the_words_of_the_metric(metric: str, mode: str, tmp_path: Path) -> None:
    run = run_import(tmp_path, RUNS.rename(columns={"accuracy": metric}))
    assert run.columns.mode == mode
    assert results.read_study(tmp_path).mode == mode


@pytest.mark.parametrize("items", [{}, {"image": "bird"}])
def test_the_last_step_is_the_result_whatever_the_order_of_rows(items: dict[str, str], tmp_path: Path) -> None:
    steps = [RUNS.assign(step=step, accuracy=RUNS.accuracy + step, **items) for step in (2, 10, 1)]
    run_import(tmp_path, pandas.concat(steps))
    rows = {(row["variant"], row["seed"]): row["accuracy"] for row in results.load(tmp_path).to_pylist()}
    assert rows == pytest.approx({("a", 0): 10.1, ("a", 1): 10.2, ("b", 0): 10.3, ("b", 1): 10.4})


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


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "runs.csv"
    RUNS.assign(loss=1.0).to_csv(source, index=False)
    words = ["--variant", "method", "--seed", "seed", "--metric", "accuracy", "--reference", "a"]
    assert run_report(str(source), *words) == 0
    output = capsys.readouterr().out
    assert "columns: variant method, seed seed, metric accuracy, mode max; reference a\n" in output
    out = tmp_path / "runs-report"
    assert (out / "report.html").is_file()
    assert (out / "tables/variants.tex").is_file()
    assert run_report(str(out)) == 0, "it is a run directory like any other"
    assert imported.is_foreign(source)
    assert not imported.is_foreign(tmp_path), "a folder of runs is none, although it holds a table"
    for words, message in (
        ([str(source)], "error: several columns may be the metric"),
        ([str(source), "--live"], "error: --live is for a run of raysearch"),
        ([str(out), "--metric", "accuracy"], "error: --metric is for results of other tools"),
        ([str(tmp_path / "nothing.csv")], f"error: '{tmp_path}/nothing.csv' is not a run directory"),
    ):
        capsys.readouterr()
        assert run_report(*words) == 2
        error = capsys.readouterr().err
        assert error.startswith(message)
        assert "Traceback" not in error


def run_report(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.run(raysearch.report.app, list(words))
    return int(ended.value.code or 0)
