"""Differences on the same episodes against a plain second writing."""

import json
import math
from typing import Any

import numpy as np
import pytest

from raysearch.studies.analysis.paired_episodes import compare

QUERIES = 15


def row(variant: str, seed: int, right: list[int], status: str = "finished") -> dict[str, Any]:
    narrow = {"accuracy": sum(right) / max(1, len(right)) / QUERIES, "right_by_episode": json.dumps(right)}
    return {"variant": variant, "seed": seed, "status": status} | (narrow if status == "finished" else {})


def drawn(seed: int, better: int = 0) -> list[int]:
    hard = np.random.default_rng(7).integers(0, 8, 50)  # the same episodes are hard for everybody
    return (hard + better + np.random.default_rng(seed).integers(0, 3, 50)).tolist()


def test_the_difference_is_the_mean_over_seeds_and_episodes_with_an_interval_over_episodes() -> None:
    rows = [
        row("a", 0, drawn(1)),
        row("a", 1, drawn(2)),
        row("b", 0, drawn(3, better=2)),
        row("b", 1, drawn(4, better=2)),
    ]
    (differences,) = compare(rows, "a").to_pylist()
    each = []
    for episode in range(50):
        by_seed = [(drawn(3 + s, better=2)[episode] - drawn(1 + s)[episode]) / QUERIES for s in (0, 1)]
        each.append(sum(by_seed) / 2)
    mean = sum(each) / 50
    half = 1.96 * math.sqrt(sum((value - mean) ** 2 for value in each) / 49) / math.sqrt(50)
    assert (differences["variant"], differences["seeds"], differences["episodes"]) == ("b", 2, 50)
    assert [differences["delta"], differences["delta_low"], differences["delta_high"]] == pytest.approx(
        [mean, mean - half, mean + half]
    )
    # Pairing takes out how hard an episode is.
    apart = [np.array(drawn(1)) / QUERIES, np.array(drawn(3, better=2)) / QUERIES]
    unpaired = 1.96 * math.sqrt(sum(values.var(ddof=1) for values in apart) / 50)
    assert half < unpaired


def test_only_seeds_that_both_finished_count_and_each_variant_has_its_own_reference() -> None:
    rows = [row("a", 0, drawn(1)), row("b", 0, drawn(2)), row("b", 1, drawn(3)), row("c", 0, [], "failed")]
    rows += [row("x", 0, drawn(4)), row("y", 0, drawn(5))]
    differences = compare(rows, {"a": "a", "b": "a", "c": "a", "x": "x", "y": "x"}).to_pylist()
    assert [(row["variant"], row["seeds"]) for row in differences] == [("b", 1), ("y", 1)]


@pytest.mark.parametrize("rows", [[], [{"variant": "a", "seed": 0, "status": "finished", "map": 0.5}]])
def test_without_episodes_there_is_nothing_to_compare(rows: list[dict[str, Any]]) -> None:
    assert compare(rows, "a").num_rows == 0
