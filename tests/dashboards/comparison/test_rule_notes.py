"""Runs that are not complete, were looked at before, or are adaptive: a comparison names them."""

import csv
from collections.abc import Callable
from pathlib import Path

from dashboards.comparison import page as comparison_page
from dashboards.comparison import tables
from raysearch.runs import results

from ...study_json import read_study_json, write_study_json
from ..adaptive_runs import write_adaptive


def renamed(run: Path) -> Path:
    """Give the cells of a run hashes of their own, as those of another code version have."""
    study = read_study_json(run)
    for cell in study["cells"]:
        for row in results.read_cells(run / "cells", [cell["cell"]]).values():
            (run / "cells" / f"{cell['cell']}.parquet").unlink()
            results.write_cell(run / "cells", row | {"cell": f"new{cell['cell'][3:]}"})
        cell["cell"] = f"new{cell['cell'][3:]}"
    write_study_json(run, study)
    return run


def effect(levels: dict) -> float:
    return 0.2 if levels["srem.size"] == 64 else 0.0


def test_a_run_that_is_not_complete_leaves_nothing_decided(make_run: Callable[..., Path], tmp_path: Path):
    before = make_run("before")
    last = ("reference", 4)
    after = renamed(make_run("after", effect=effect, absent=lambda variant, seed: (variant, seed) == last))
    compared = comparison_page.read_comparison([before, after])
    assert {match.verdict for match in compared.matches} <= {"better so far", "worse so far", "undecided"}
    assert "Better so far, against before: srem.size=18 px" in comparison_page.answer_sentence(compared)
    note = "after is not complete: 1 of 40 planned cells has not ended, so no difference is decided"
    assert f"Warning: {note}." in comparison_page.answer_sentence(compared)
    page = comparison_page.build_page(compared)
    assert note in page.partition("<table")[2]
    assert note in tables.differences_paper_table(compared).to_markdown()
    assert note in tables.terminal_table(compared).note
    assert {row["decided"] for row in csv.DictReader(tables.differences_csv(compared).splitlines())} == {"false"}


def test_earlier_looks_and_adaptive_seeds_are_named(make_run: Callable[..., Path], tmp_path: Path):
    raised = make_run("raised", seeds=5, looked=[3])
    adaptive = write_adaptive(tmp_path / "adaptive", looks=(3, 5))
    answer = comparison_page.answer_sentence(comparison_page.read_comparison([raised, adaptive]))
    assert "Warning: raised: this study was looked at twice, with 3 and 5 seeds; levels are not corrected" in answer
    assert "Warning: adaptive is adaptive: its results chose its numbers of seeds" in answer


def test_complete_plans_have_no_note(make_run: Callable[..., Path]):
    compared = comparison_page.read_comparison([make_run("before"), renamed(make_run("after", effect=effect))])
    assert compared.rule_notes == []
    assert comparison_page.answer_sentence(compared).startswith("Significantly better than in before")
