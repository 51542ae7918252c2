"""Adaptive studies: the rule against a plain second writing, and what may not change a verdict."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from raysearch.core import UserError
from raysearch.studies import statistics
from raysearch.studies.analysis import FAMILY
from raysearch.studies.analysis import looks as look_rule

LOOKS = (3, 5, 8, 12, 20)
SHOWN = ("look", "delta", "delta_low", "delta_high", "p", "decided", "verdict")


def draw_study(seed: int, effects: tuple[float, ...] = (0.0, 0.004, 0.012, -0.03), failing: float = 0.05) -> list[dict]:
    """Return the cells of a study of 20 seeds, a row each; the reference is called r."""
    rng = np.random.default_rng(seed)
    levels = rng.normal(0, 0.03, LOOKS[-1])
    return [
        {
            "variant": name,
            "seed": position,
            "status": "failed" if failed else "finished",
            "map": None if failed else 0.6 + level + effect + rng.normal(0, 0.005),
        }
        for name, effect in zip("rabcd", (0.0, *effects), strict=False)
        for position, level in enumerate(levels)
        for failed in [rng.random() < failing]
    ]


def adaptive(rows: list[dict], **rule: Any) -> dict[str, dict]:
    table = pa.Table.from_pylist(rows)
    return {row["variant"]: row for row in statistics.adaptive(table, "map", "r", LOOKS, **rule).to_pylist()}


def by_hand(rows: list[dict], margin: float) -> dict[str, dict]:
    """Return the rule's rows as the issue states it, with scipy's tests."""
    values = {(row["variant"], row["seed"]): row["map"] for row in rows if row["map"] is not None}
    names = sorted({row["variant"] for row in rows} - {"r"})
    smallest = dict.fromkeys(names, 1.0)
    sign = dict.fromkeys(names, 0.0)
    ended: dict[str, dict] = {}
    shown: dict[str, dict] = {}
    previous = 0
    for number, count in enumerate(LOOKS, start=1):
        weight = (count / 20) ** 2 - (previous / 20) ** 2
        previous = count
        for name in set(names) - set(ended):
            common = [seed for seed in range(count) if (name, seed) in values and ("r", seed) in values]
            mine, other = ([values[key, seed] for seed in common] for key in (name, "r"))
            shown[name] = {"look": number, "delta": np.mean(mine) - np.mean(other), "delta_low": None}
            shown[name]["delta_high"] = None
            if len(common) < 3:
                continue
            test = stats.ttest_rel(mine, other)
            shown[name]["delta_low"], shown[name]["delta_high"] = test.confidence_interval(1 - 0.05 * weight)
            if test.pvalue / weight < smallest[name]:
                smallest[name] = test.pvalue / weight
                sign[name] = test.statistic
        largest = 0.0
        for rank, name in enumerate(sorted(names, key=smallest.__getitem__)):
            largest = min(1.0, max(largest, smallest[name] * (len(names) - rank)))
            if name in ended:
                continue
            shown[name] |= {"p": largest, "decided": largest <= 0.05, "verdict": "undecided"}
            low, high = shown[name]["delta_low"], shown[name]["delta_high"]
            if largest <= 0.05:
                shown[name]["verdict"] = "better" if sign[name] > 0 else "worse"
            elif low is not None and -margin < low and high < margin:
                shown[name]["verdict"] = "within margin"
        ended |= {name: shown[name] for name in names if shown[name]["verdict"] != "undecided"}
    return shown


@pytest.mark.parametrize("seed", range(30))
def test_the_rule_is_what_a_plain_second_writing_says(seed: int):
    rows = draw_study(seed)
    shown = adaptive(rows, margin=0.006, comparisons=4)
    for name, expected in by_hand(rows, 0.006).items():
        row = {key: shown[name][key] for key in SHOWN} | {"p": shown[name]["p"] or 1.0}
        texts = ("look", "decided", "verdict")
        assert [row.pop(key) for key in texts] == [expected.pop(key) for key in texts]
        assert row == pytest.approx(expected, rel=1e-9)


def test_the_studies_above_show_every_verdict_and_look():
    rows = [row for seed in range(30) for row in adaptive(draw_study(seed), margin=0.006).values()]
    assert {row["verdict"] for row in rows} == {"better", "worse", "within margin", "undecided", None}
    assert {row["look"] for row in rows} == {2, 3, 4, 5}


@pytest.mark.parametrize("seed", range(5))
def test_a_single_look_is_the_comparison_of_a_fixed_study(seed: int):
    table = pa.Table.from_pylist(draw_study(seed))
    adaptive_rows = statistics.adaptive(table, "map", "r", (20,)).to_pylist()
    for row, fixed in zip(adaptive_rows, statistics.compare(table, "map", "r").to_pylist(), strict=True):
        assert row["p"] == fixed["p_holm"]
        same = ("variant", "seeds", "mean", "ci_low", "ci_high", "delta", "delta_low", "delta_high", "decided")
        assert [row[name] for name in same] == [fixed[name] for name in same]


@pytest.mark.parametrize("seed", range(5))
def test_looks_of_a_running_study_are_those_of_the_complete_study(seed: int):
    rows = draw_study(seed)
    rule = {"margin": 0.006, "seeds": range(20)}
    references = dict.fromkeys("rabcd", "r")
    complete = look_rule.path(pa.Table.from_pylist(rows), "map", references, LOOKS, **rule).to_pylist()
    # Cells of up to six seeds run at a time, and end in any order.
    order = np.argsort([row["seed"] for row in rows] + 6 * np.random.default_rng(seed).random(len(rows)))
    reached = set()
    for count in range(0, 101, 4):
        table = pa.Table.from_pylist([rows[index] for index in order[:count]], pa.Table.from_pylist(rows).schema)
        running = look_rule.path(table, "map", references, LOOKS, **rule).to_pylist()
        assert running == complete[: len(running)]
        reached.add(len(running))
    assert reached >= {0, len(complete)}
    assert len(reached) > 3


def test_a_table_that_records_its_seeds_waits_for_each_of_them():
    rows = [row for row in draw_study(0, failing=0.0) if row["seed"] in (0, 1, 3)]
    table = pa.Table.from_pylist(rows)
    assert look_rule.path(table, "map", "r", LOOKS).num_rows == 5
    recorded = table.replace_schema_metadata({look_rule.SEEDS: "[0, 1, 2, 3, 4]"})
    assert look_rule.path(recorded, "map", "r", LOOKS).num_rows == 0
    assert look_rule.path(recorded, "map", "r", LOOKS, seeds=[3, 1, 0]).num_rows == 5


@pytest.mark.parametrize(("planned", "factor"), [(None, 1), (1, 1), (7, 7)])
def test_variants_without_cells_share_the_level(planned: int | None, factor: int):
    rows = [row for row in draw_study(2, failing=0.0) if row["variant"] in "rd" and row["seed"] < 3]
    differences = [rows[3 + seed]["map"] - rows[seed]["map"] for seed in range(3)]
    sequential = stats.ttest_1samp(differences, 0).pvalue / (3 / 20) ** 2
    table = pa.Table.from_pylist(rows)
    recorded = table.replace_schema_metadata({FAMILY: str(factor)})
    by_record = statistics.adaptive(recorded, "map", "r", LOOKS).to_pylist()[1]
    for row in (adaptive(rows, comparisons=planned)["d"], by_record):
        assert row["p"] == pytest.approx(min(1.0, factor * sequential), rel=1e-9)


def test_too_few_planned_comparisons_weaken_no_correction():
    failed = {"status": "failed", "map": None}
    rows = [row | failed if row["variant"] == "a" else row for row in draw_study(2)]  # a comparison without a p-value
    assert adaptive(rows, comparisons=1) == adaptive(rows, comparisons=4)


def test_a_verdict_has_the_direction_of_the_look_with_the_smallest_p():
    differences = {
        "early": (0.0888, 0.11, 0.1312, -0.5, -0.4),  # p_1 / w_1 = 0.034, so it waits until the other is decided
        "late": (0.10, 0.02, 0.06, 0.07, 0.08),
    }
    levels = np.random.default_rng(0).normal(0, 0.03, 5)
    rows = [
        {"variant": name, "seed": seed, "status": "finished", "map": levels[seed] + difference}
        for name, values in {"r": (0.0,) * 5, **differences}.items()
        for seed, difference in enumerate(values)
    ]
    table = pa.Table.from_pylist(rows)
    early, late = statistics.adaptive(table, "map", "r", (3, 5)).to_pylist()[1:]
    assert early["delta"] < 0
    assert [(row["look"], row["verdict"]) for row in (early, late)] == [(2, "better"), (2, "better")]
    assert statistics.adaptive(table, "map", "r", (3, 5), mode="min").to_pylist()[1]["verdict"] == "worse"


def test_a_look_waits_for_a_cell_that_will_run_again():
    rows = [row | {"error": None} for row in draw_study(0, failing=0.0) if row["seed"] < 5]
    failed = {"status": "failed", "map": None}
    looks_reached = []
    for error in ("NonFiniteLoss: the loss became nan", "OSError: [Errno 28] No space left on device"):
        again = [row | failed | {"error": error} if row["seed"] == 4 and row["variant"] == "a" else row for row in rows]
        path = look_rule.path(pa.Table.from_pylist(again), "map", "r", LOOKS)
        looks_reached.append(max(path["look"].to_pylist()))
    assert looks_reached == [2, 1]


def test_each_block_of_variants_is_judged_against_its_own_reference():
    first = draw_study(3, failing=0.0)
    second = [row | {"variant": row["variant"].upper()} for row in draw_study(4, failing=0.0)]
    references = dict.fromkeys("rabcd", "r") | dict.fromkeys("RABCD", "R")
    table = pa.Table.from_pylist(first + second)
    rows = {row["variant"]: row for row in statistics.adaptive(table, "map", references, LOOKS).to_pylist()}
    for name, row in adaptive(first, comparisons=8).items():
        shared = ("delta", "delta_low", "delta_high", "level") if row["look"] == rows[name]["look"] else ()
        assert [rows[name][key] for key in shared] == [row[key] for key in shared]
    decided = [row for row in rows.values() if row["decided"]]
    assert {row["variant"].isupper() for row in decided} == {True, False}
    assert list(rows)[:2] == ["r", "R"]


def test_undecided_are_those_that_the_next_look_needs():
    rows = draw_study(1, failing=0.0)
    final = adaptive(rows)
    references = dict.fromkeys("rabcd", "r")
    for number, count in enumerate(LOOKS):
        table = pa.Table.from_pylist([row for row in rows if row["seed"] < count])
        needed = look_rule.undecided(table, "map", references, LOOKS)
        later = [name for name, row in final.items() if name != "r" and row["look"] > number + 1]
        assert sorted(needed) == sorted(later)
    empty = table.slice(0, 0).select(["variant", "seed", "status"])
    assert look_rule.undecided(empty, "map", references, LOOKS) == ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"looks": (3, 5, 5)}, "looks must rise, but 5 follows 5"),
        ({"looks": (2, 5)}, "the first look has 2"),
        ({"looks": ()}, "looks are numbers of seeds"),
        ({"looks": (3, 5.5)}, "whole number of seeds, not 5.5"),
        ({"margin": 0.0}, "margin is a difference of the metric above 0, not 0.0"),
        ({"margin": float("nan")}, "above 0, not nan"),
        ({"mode": "most"}, "mode must be max or min"),
    ],
)
def test_a_rule_that_cannot_be_is_an_error(rule: dict[str, Any], message: str):
    table = pa.Table.from_pylist(draw_study(0))
    with pytest.raises(UserError, match=message):
        statistics.adaptive(table, "map", "r", **({"looks": LOOKS} | rule))
