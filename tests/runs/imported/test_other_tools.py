"""Files that other tools wrote are judged, and the numbers are scipy's."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas
import pyarrow.parquet
import pytest
from scipy import stats

import dashboards.report
from raysearch.core import UserError
from raysearch.runs import imported, results
from raysearch.studies.analysis import paired_episodes

from . import other_tools
from .other_tools import LIBRARIES, MEANS, SCORES, SEEDS, STEPS


@pytest.mark.parametrize(
    "kind", [*other_tools.FAST, *(pytest.param(kind, marks=pytest.mark.slow) for kind in other_tools.SLOW)]
)
def test_the_numbers_are_those_of_scipy(kind: str, tmp_path: Path) -> None:
    if kind in LIBRARIES:
        pytest.importorskip(LIBRARIES[kind])
    path = {**other_tools.FAST, **other_tools.SLOW}[kind](tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    run = imported.import_run(path, tmp_path / "out")
    assert {file: file.read_bytes() for file in before} == before, "the source was changed"
    assert run.columns.metric == "accuracy"
    assert run.columns.mode == "max"
    assert (run.variants, run.seeds, run.cells) == (len(MEANS), len(SEEDS), len(SCORES))
    check_numbers(tmp_path / "out", tolerance=1e-6 if kind == "TensorBoard folder" else 1e-12)
    if kind not in ("CSV", "Parquet", "W&B export"):
        check_curves(tmp_path / "out")


def test_a_data_frame(tmp_path: Path) -> None:
    imported.import_run(other_tools.table().to_pandas(), tmp_path / "rows")
    check_numbers(tmp_path / "rows")
    grouped = other_tools.table().to_pandas().groupby(["method", "seed"]).mean()
    imported.import_run(grouped, tmp_path / "grouped")
    check_numbers(tmp_path / "grouped")
    with pytest.raises(UserError, match="results are a path, a data frame or an Arrow table, not list"):
        imported.import_run([1], tmp_path / "list")


def check_numbers(run: Path, tolerance: float = 1e-12) -> None:
    """Compare the table of variants with tests by scipy, corrected in a plain second writing of Holm's method."""
    dashboards.report.write(run)
    with (run / "tables/variants.csv").open(newline="") as file:
        rows = {row["variant"].rpartition("=")[2]: row for row in csv.DictReader(file)}
    assert set(rows) == set(MEANS)
    values = {method: np.array([SCORES[method, seed] for seed in SEEDS]) for method in MEANS}
    tests = {method: stats.ttest_rel(values[method], values["baseline"]) for method in MEANS if method != "baseline"}
    ordered = sorted(tests, key=lambda method: tests[method].pvalue)
    corrected = 0.0
    for rank, method in enumerate(ordered):
        corrected = max(corrected, min(1.0, (len(ordered) - rank) * tests[method].pvalue))
        row = rows[method]
        interval = tests[method].confidence_interval(0.95)
        assert float(row["delta"]) == pytest.approx((values[method] - values["baseline"]).mean(), abs=tolerance)
        assert float(row["delta_low"]) == pytest.approx(interval.low, abs=tolerance)
        assert float(row["delta_high"]) == pytest.approx(interval.high, abs=tolerance)
        assert float(row["p_holm"]) == pytest.approx(corrected, rel=max(1e-9, 1e3 * tolerance))
        assert row["verdict"] == ("better" if corrected <= 0.05 else "undecided")


def check_curves(run: Path) -> None:
    for row in results.load(run).to_pylist():
        points = json.loads(row["history"])
        expected = other_tools.curve(row["variant"].rpartition("=")[2], row["seed"])
        assert [point["iteration"] for point in points] == list(range(1, STEPS + 1))
        assert [point["accuracy"] for point in points] == pytest.approx(expected, abs=1e-6)
    assert "Learning curves" in (run / "report.html").read_text()


def test_scores_of_images_pair_within_a_seed(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    difficulty = generator.normal(0.5, 0.2, 40)
    scores = {
        (method, seed): difficulty + shift + generator.normal(0, 0.02, 40)
        for method, shift in (("baseline", 0.0), ("ours", 0.01))
        for seed in range(3)
    }
    rows = [
        {"method": method, "seed": seed, "image": f"{number}.jpg", "accuracy": value}
        for (method, seed), values in scores.items()
        for number, value in enumerate(values)
    ]
    frame = pandas.DataFrame(rows).sample(frac=1.0, random_state=0)  # the order of rows means nothing
    imported.import_run(frame, tmp_path)
    dashboards.report.write(tmp_path)
    table = {(row["variant"], row["seed"]): row for row in results.load(tmp_path).to_pylist()}
    assert table["ours", 1]["accuracy"] == pytest.approx(scores["ours", 1].mean())
    (row,) = paired_episodes.compare(table.values(), "baseline").to_pylist()
    differences = np.mean([scores["ours", seed] - scores["baseline", seed] for seed in range(3)], axis=0)
    half_width = 1.96 * differences.std(ddof=1) / np.sqrt(40)
    assert (row["seeds"], row["episodes"]) == (3, 40)
    assert row["delta"] == pytest.approx(differences.mean())
    assert row["delta_high"] - row["delta"] == pytest.approx(half_width)
    assert "On the same test items" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("scores", [[], [None, None, None]])
def test_a_hole_leaves_the_pairs_of_the_other_seeds(scores: list[None], tmp_path: Path) -> None:
    """A seed without a row, or without any score, has no items; the two other seeds pair on theirs."""
    frame = pandas.DataFrame(
        [("baseline", seed, item, 0.1 * item) for seed in range(3) for item in range(3)]
        + [("ours", seed, item, 0.1 * item + 0.5) for seed in range(2) for item in range(3)]
        + [("ours", 2, item, score) for item, score in enumerate(scores)],
        columns=["method", "seed", "item", "accuracy"],
    )
    imported.import_run(frame, tmp_path)
    (row,) = paired_episodes.compare(results.load(tmp_path).to_pylist(), "baseline").to_pylist()
    assert (row["seeds"], row["episodes"]) == (2, 3)
    assert row["delta"] == pytest.approx(0.5)


def test_items_without_a_score_in_a_cell_are_left_out_of_all_pairs(tmp_path: Path) -> None:
    rows = [
        (method, seed, item, shift + item)
        for method, shift in (("baseline", 0.0), ("ours", 0.5))
        for seed in range(2)
        for item in range(12)
        if (method, seed, item) not in {("ours", 0, 2), ("ours", 1, 11)}
    ]
    imported.import_run(pandas.DataFrame(rows, columns=["method", "seed", "item", "accuracy"]), tmp_path)
    (row,) = paired_episodes.compare(results.load(tmp_path).to_pylist(), "baseline").to_pylist()
    assert (row["seeds"], row["episodes"]) == (2, 10)
    assert row["delta"] == pytest.approx(0.5)
    assert any(text.startswith("10 of 12 test items") for text in results.read_study(tmp_path).warnings)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_the_same_study_as_a_table_and_as_a_run_gives_the_same_tables(ending: str, tmp_path: Path) -> None:
    imported.import_run(other_tools.write_steps(tmp_path), tmp_path / "run", part="a study")
    dashboards.report.write(tmp_path / "run")
    table = results.load(tmp_path / "run")
    again = tmp_path / f"again.{ending}"
    if ending == "csv":
        table.to_pandas().to_csv(again, index=False)
    else:
        pyarrow.parquet.write_table(table, again)
    imported.import_run(again, tmp_path / "out", imported.ColumnChoice(metric="accuracy"), "a study")
    dashboards.report.write(tmp_path / "out")
    for file in ("variants.csv", "variants.tex", "variants.md"):
        first = (tmp_path / "run/tables" / file).read_text().replace("steps.csv", again.name)
        assert (tmp_path / "out/tables" / file).read_text() == first
