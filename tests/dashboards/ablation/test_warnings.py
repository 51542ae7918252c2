"""A variant that did not learn is named in the answer, with what gives it away."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dashboards import report
from raysearch.runs import results

REFERENCE = "reference"
Change = Callable[[dict[str, Any]], Mapping[str, Any]]


def change_cells(run: Path, variants: set[str], change: Change) -> None:
    study = results.read_study(run)
    chosen = {cell.cell for cell in study.cells if cell.variant in variants}
    for row in results.read_cells(run / "cells", chosen).values():
        results.write_cell(run / "cells", row | dict(change(dict(row))))


def answer(run: Path) -> str:
    return report.answer(results.read_study(run), results.load(run))


def warned(run: Path) -> list[str]:
    return [part.strip() for part in answer(run).split("Warning: ")[1:]]


def test_a_study_that_learned_has_no_warning(make_run: Callable[..., Path]) -> None:
    assert warned(make_run()) == []


def test_a_variant_at_chance_is_named_with_both_numbers(make_run: Callable[..., Path]) -> None:
    run = make_run(chance=0.1)
    change_cells(run, {"srem.regions=100"}, lambda row: {"map": 0.118 + 0.001 * row["seed"]})
    (text,) = warned(run)
    assert text == "srem.regions=100 (0.120): mAP at chance level (0.100)."
    assert "at chance level" in (report.write(run)).read_text()


def test_a_reference_at_chance_is_named_too(make_run: Callable[..., Path]) -> None:
    run = make_run(chance=0.61)
    (text,) = warned(run)
    assert text.startswith("the reference (0.5")
    assert "more" in text, "the others are at the same level"


@pytest.mark.parametrize("metric", ["epoch_seconds", "map_best_ties"])
def test_chance_is_not_compared_with_another_metric(make_run: Callable[..., Path], metric: str) -> None:
    run = make_run(chance=0.7, metric=metric)
    change_cells(run, {REFERENCE, "srem.regions=100"}, lambda row: {metric: 0.3 + 0.01 * row["seed"]})
    assert not any("chance" in text for text in warned(run))


def test_one_code_for_all_images_is_named(make_run: Callable[..., Path]) -> None:
    run = make_run()
    change_cells(run, {"srem.regions=10"}, lambda row: {"class_codes": 1.0, "codes_per_class": 1.0})
    assert warned(run) == ["srem.regions=10: all images have the same code."]


def test_ties_that_decide_the_value_are_named_with_their_bounds(make_run: Callable[..., Path]) -> None:
    run = make_run()
    change_cells(run, {"srem.regions=10"}, lambda row: {"map_worst_ties": 0.05, "map_best_ties": 1.0})
    (text,) = warned(run)
    assert text.startswith("srem.regions=10 (0.050 to 1.000): most images have the same code")


def test_a_variant_worse_than_its_warm_up_is_named(make_run: Callable[..., Path]) -> None:
    run = make_run()

    def spoil(row: dict[str, Any]) -> dict[str, Any]:
        steps = [{"phase": "warmup", "map_validation": 0.6}, {"phase": "train", "map_validation": 0.4}]
        return {"history": json.dumps(steps)}

    change_cells(run, {"srem.regions=150"}, spoil)
    (text,) = warned(run)
    assert text == "srem.regions=150 (by 0.200): mAP on the validation part fell below that of the warm-up."


def test_numbers_that_are_missing_or_no_numbers_give_no_warning(make_run: Callable[..., Path]) -> None:
    run = make_run(chance=None)
    steps = [{"phase": "warmup", "map_validation": "high"}, {"phase": "train", "map_validation": None}, {"phase": 3}]
    nothing = {"map_best_ties": float("nan"), "map_worst_ties": 0.0, "class_codes": None, "history": json.dumps(steps)}
    change_cells(run, {"srem.regions=10"}, lambda row: nothing)
    assert warned(run) == []
    assert "nan" not in answer(run).lower()


def test_many_variants_are_counted_not_listed(make_run: Callable[..., Path]) -> None:
    run = make_run(chance=0.9)
    (text,) = warned(run)
    assert text.count("srem") < 8
    assert "more" in text


def test_a_seed_that_gained_since_the_warm_up_is_no_warning(make_run: Callable[..., Path]) -> None:
    run = make_run(seeds=3)

    def mixed(row: dict[str, Any]) -> dict[str, Any]:
        end = 0.65 if row["seed"] == 0 else 0.2
        return {
            "history": json.dumps(
                [{"phase": "warmup", "map_validation": 0.6}, {"phase": "train", "map_validation": end}]
            )
        }

    change_cells(run, {"srem.regions=150"}, mixed)
    assert warned(run) == []
