"""The answer says what was planted, and nothing where nothing was."""

import html
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dashboards import report
from dashboards.report import answer
from raysearch.runs import results
from raysearch.studies.analysis import compare

MINUS = "\N{MINUS SIGN}"


def size_matters(levels: Mapping[str, Any]) -> float:
    return {16: 0.0, 32: 0.0, 64: 0.03, 128: -0.04}[levels["srem.size"]]


def read_answer(run: Path) -> str:
    return answer(results.read_study(run), results.load(run))


def test_names_the_planted_effect_with_its_interval(make_run: Callable[..., Path]):
    text = read_answer(make_run(effect=size_matters))
    lead, worse = text.split("; ")[:2]
    assert lead.startswith(
        "srem.size=18 px (64 at 224) beats the reference (srem.regions=50, srem.size=9 px (32 at 224))"
    )
    low, high = (float(word) for word in lead.partition("[")[2].partition("]")[0].split(", "))
    assert 0 < low <= 0.03 <= high
    assert worse.startswith("worse: srem.size=37 px (128 at 224) " + MINUS)
    assert "undecided" in text
    assert "srem.regions=100" in text.partition("undecided")[2]


def test_a_study_of_nothing_decides_nothing_and_says_what_it_could_have_seen(make_run: Callable[..., Path]):
    run = make_run()
    text = read_answer(run)
    assert text.startswith("No variant differs significantly from the reference (5 % level, Holm); ")
    assert "beats" not in text
    # five seeds, noise 0.004 per cell: half an interval is about t(4) * 0.004 * sqrt(2 / 5) = 0.007
    width = float(text.partition("\N{PLUS-MINUS SIGN}")[2].split(",")[0])
    assert 0.003 < width < 0.012


def test_lower_is_better_when_the_study_minimizes(make_run: Callable[..., Path]):
    text = read_answer(make_run(effect=size_matters, mode="min"))
    assert text.startswith("srem.size=37 px (128 at 224) beats")
    assert "worse: srem.size=18 px" in text


def test_only_worse_variants_leave_the_reference_unbeaten(make_run: Callable[..., Path]):
    text = read_answer(make_run(effect=lambda levels: min(0.0, size_matters(levels))))
    assert text.startswith("No variant beats the reference (")
    assert "worse: srem.size=37 px (128 at 224)" in text


def test_leaving_parts_out_shows_which_matter(make_run: Callable[..., Path]):
    run = make_run(design="leave_one_out", effect=lambda levels: -0.05 if levels["srem.regions"] == 0 else 0.0)
    assert read_answer(run).startswith("These parts matter: without SREM " + MINUS)
    assert "undecided" in read_answer(run)


def test_cells_without_a_result_are_counted(make_run: Callable[..., Path]):
    run = make_run(
        effect=size_matters,
        failing=lambda variant, seed: "out of memory" if variant == "srem.size=37" else None,
        absent=lambda variant, seed: variant == "srem.regions=10" and seed == 4,
    )
    text = read_answer(run)
    assert "no finished cell: srem.size=37 px (128 at 224)" in text
    assert "(5 failed, 1 not run of 40 cells)." in text


@pytest.mark.parametrize(
    ("options", "start"),
    [
        ({"seeds": 1}, "No answer yet: 1 seed: an interval needs three; the highest"),
        ({"seeds": 2}, "No answer yet: 2 seeds: an interval needs three; the highest"),
        ({"absent": lambda variant, seed: True}, "No answer: no cell has finished"),
        ({"failing": lambda variant, seed: "boom"}, "No answer: no cell has finished"),
        ({"absent": lambda variant, seed: variant == "reference"}, "No answer: the reference"),
    ],
)
def test_no_answer_without_numbers_to_compare(make_run: Callable[..., Path], options: dict, start: str):
    assert read_answer(make_run(**options)).startswith(start)


def test_the_best_of_one_seed_is_named_but_not_decided(make_run: Callable[..., Path]):
    text = read_answer(make_run(seeds=1, effect=size_matters))
    assert "the highest mAP so far is" in text
    assert "srem.size=18 px" in text


def test_intervals_are_summarized_from_the_narrowest_to_the_widest(make_run: Callable[..., Path]):
    run = make_run(seeds=3)
    spread = {"srem.regions=100": 0.1, "srem.regions=150": 0.01, "srem.regions=0": 0.0001}
    study = results.read_study(run)
    for variant, width in spread.items():
        cells = {cell.cell for cell in study.cells if cell.variant == variant}
        for row in results.read_cells(run / "cells", cells).values():
            results.write_cell(run / "cells", row | {"map": 0.6 + width * row["seed"]})
    text = read_answer(run)
    differences = report.REPORTS["ablation"].view(study, results.load(run)).variants
    widths = [
        (variant.compared["delta_high"] - variant.compared["delta_low"]) / 2
        for variant in differences
        if variant.verdict == "undecided"
    ]
    if "undecided" in text:
        named = text.partition("with intervals of ")[2].partition(":")[0]
        low, high = (float(word) for word in named.replace("\N{PLUS-MINUS SIGN}", "").split(" to "))
        assert (low, high) == pytest.approx((min(widths), max(widths)), abs=6e-4)
    else:
        named = text.partition("the widest interval reaches \N{PLUS-MINUS SIGN}")[2].partition(",")[0]
        assert float(named) == pytest.approx(max(widths), abs=6e-4)


def test_a_part_of_a_study_says_how_many_of_its_comparisons_it_has(make_run: Callable[..., Path]):
    run = make_run(effect=size_matters, comparisons=23)
    text = read_answer(run)
    assert "7 of the study's 23 comparisons" in text
    page = report.write(run).read_text()
    assert "7 of the study's 23 comparisons" in html.unescape(page)
    assert "7 of the study's 23 comparisons" in (run / "tables" / "variants.md").read_text()
    rows = results.load(run)
    corrected = {row["variant"]: row["p_holm"] for row in compare(rows, "map", "reference").to_pylist()}
    own = {row["variant"]: row["p"] for row in compare(rows, "map", "reference", comparisons=0).to_pylist()}
    smallest = min(own, key=lambda name: own[name] if own[name] is not None else 2)
    assert corrected[smallest] == pytest.approx(min(1.0, 23 * own[smallest]))
    # A whole study, and an older record, speak of no part.
    for number in (7, None):
        assert "of the study's" not in read_answer(make_run(f"whole{number}", comparisons=number))


def test_equal_differences_are_no_verdict_and_the_answer_says_why(make_run: Callable[..., Path]):
    run = make_run(seeds=3, noise=0.0, effect=size_matters)
    text = read_answer(run)
    assert text.startswith("No answer yet: ")
    assert "the same difference with all 3 seeds" in text
    assert "beats" not in text
    assert (
        "\N{BLACK UP-POINTING TRIANGLE}"
        not in report.write(run).read_text().partition("<table")[2].partition("</table")[0]
    )


def test_variants_without_an_interval_are_named_beside_others(make_run: Callable[..., Path]):
    run = make_run(effect=size_matters)
    study = results.read_study(run)
    reference = {
        row["seed"]: row["map"]
        for row in results.read_cells(
            run / "cells", [cell.cell for cell in study.cells if cell.variant == "reference"]
        ).values()
    }
    cells = [cell.cell for cell in study.cells if cell.variant == "srem.regions=100"]
    for row in results.read_cells(run / "cells", cells).values():
        results.write_cell(run / "cells", row | {"map": reference[row["seed"]]})
    text = read_answer(run)
    assert "no interval (the same value as the reference with all 5 seeds): srem.regions=100" in text
