"""Learning curves show the loss and the held-out figure, whichever split the study's metric is of."""

import json
from dataclasses import replace

import pyarrow as pa
import pytest

from dashboards.ablation import glossary, learning_curves
from dashboards.ablation.view import View, view
from raysearch.runs import StudyRecord


def run(metric: str, histories: list[list[dict[str, float]]]) -> View:
    ids = {"map": "map@all/expected-ties/test", "map_validation": "map@all/expected-ties/validation"}
    rows = [
        {"study": "s", "variant": "reference", "seed": seed, "cell": f"cell{seed}", "status": "finished", "error": None,
         "config": "{}", "map": 0.5, "map_validation": 0.25, "seconds": 1.0, "history": json.dumps(history),
         "metric_ids": json.dumps(ids)}
        for seed, history in enumerate(histories)
    ]  # fmt: skip
    study = {
        "study": "s", "factors": ["train.lr"], "design": "one_at_a_time", "seeds": list(range(len(rows))),
        "variants": [{"name": "reference", "settings": {"train.lr": 1}}], "metric": metric,
        "cells": [{key: row[key] for key in ("cell", "variant", "seed")} for row in rows],
    }  # fmt: skip
    return view(StudyRecord.model_validate(study), pa.Table.from_pylist(rows))


@pytest.mark.parametrize("metric", ["map", "map_validation"])
def test_the_held_out_figure_is_drawn_over_the_iterations(metric: str) -> None:
    histories = [[{"iteration": 1, "loss": 3.0, "map_validation": 0.1 * seed}] for seed in range(3)]
    shown = run(metric, histories)
    assert learning_curves.panels(shown) == ["loss", "map_validation"]
    ((low, mean, high),) = learning_curves.series(shown, "reference", "map_validation")  # type: ignore[misc]
    assert (low, mean, high) == pytest.approx((0.0, 0.1, 0.2))
    figure = learning_curves.figure(
        shown,
        shown.reference,
        ["loss", "map_validation"],
        learning_curves.common_ranges(shown, ["loss", "map_validation"]),
    )
    assert "mAP on the validation part" in figure.to_json()


def test_without_a_held_out_part_the_loss_is_drawn_alone() -> None:
    assert learning_curves.panels(run("map", [[{"iteration": 1, "loss": 3.0}]] * 2)) == ["loss"]


def test_the_definition_says_which_split_the_queries_are() -> None:
    histories = [[{"iteration": 1, "loss": 3.0}]] * 2
    assert "test split, which chooses nothing" in glossary.metric(run("map", histories))
    assert "held out of train" in glossary.metric(run("map_validation", histories))


def test_the_definition_says_how_a_cut_ranking_is_normalized() -> None:
    plain = run("map", [[{"iteration": 1, "loss": 3.0}]] * 2)
    cut = replace(plain, metric_id="map@100/expected-ties/test")
    assert "divided by the smaller of 100 and the number of relevant items" in glossary.metric(cut)
    assert "divided by" not in glossary.metric(plain)


def test_a_method_that_is_fitted_in_one_step_has_no_curve() -> None:
    fitted = [[{"iteration": 1, "epochs": 0, "map_validation": 0.2}]] * 2
    assert learning_curves.shown(run("map", fitted)) == []
