"""A final evaluation follows the rules of all comparisons: no verdict without spread, one family, bounds, chance."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dashboards import report
from dashboards.search.view import SearchView, search_view
from raysearch.runs import results

Make = Callable[..., Path]


def evaluate_with(run: Path, value: Callable[[str, int], float], **columns: Any) -> None:
    """Give each cell of the final evaluation another value: (variant, seed) -> metric."""
    study = results.read_study(run)
    judging = {cell.cell: cell for cell in study.cells if cell.stage == "judge"}
    for row in results.read_cells(run / "cells", judging).values():
        cell = judging[row["cell"]]
        results.write_cell(run / "cells", row | {"map": value(cell.variant, cell.seed)} | columns)


def read_view(run: Path) -> SearchView:
    return search_view(results.read_study(run), results.load(run))


def test_the_same_gain_with_every_seed_is_no_verdict(make_search: Make) -> None:
    run = make_search(judge_seeds=3)
    evaluate_with(run, lambda variant, seed: 0.5 + 0.01 * (seed % 7) + 0.03 * variant.startswith("best"))
    (evaluation,) = read_view(run).evaluations
    assert (evaluation.verdict, evaluation.best["decided"], evaluation.best["delta_low"]) == (
        "no interval",
        False,
        None,
    )
    text = report.answer(results.read_study(run), results.load(run))
    assert "is not decided yet" in text
    assert "the same difference with all 3 seeds" in text
    assert "the same difference with all 3 seeds" in report.write(run).read_text()


def test_groups_are_one_family_while_some_are_missing(make_search: Make) -> None:
    run = make_search(groups=(12, 24, 48), trials=8)
    whole = read_view(run).evaluations
    for cell in results.read_study(run).cells:
        if cell.stage == "judge" and "48" in cell.variant:
            (run / "cells" / f"{cell.cell}.parquet").unlink()
    part = read_view(run).evaluations
    assert len(part) == len(whole) - 1
    smallest = min(part, key=lambda evaluation: evaluation.best["p"])
    assert smallest.best["p_holm"] == pytest.approx(min(1.0, 3 * smallest.best["p"]))


def test_an_interval_beyond_the_metric_is_cut(make_search: Make) -> None:
    run = make_search()
    evaluate_with(run, lambda variant, seed: 0.99 - 0.2 * (seed % 2) + 0.001 * (seed % 5) * variant.startswith("best"))
    page = report.write(run).read_text()
    assert "1.000]" in page
    assert "where the metric cannot go (0 to 1)" in page


def test_a_best_config_at_chance_is_named(make_search: Make) -> None:
    run = make_search(chance=0.1)
    evaluate_with(
        run, lambda variant, seed: 0.11 + 0.001 * (seed % 7) + 0.0003 * (seed % 3) * variant.startswith("best")
    )
    text = report.answer(results.read_study(run), results.load(run))
    assert "Warning: mAP of the reference and the best config at chance level (0.100)." in text
    assert "Warning" not in report.answer(results.read_study(make_search("other")), results.load(run.parent / "other"))
