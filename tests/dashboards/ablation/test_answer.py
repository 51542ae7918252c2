"""The answer says what was planted, and nothing where nothing was."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dashboards.report import answer
from raysearch.runs import results

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
    assert text.endswith("(5 failed, 1 not run of 40 cells).")


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
