"""Skewed differences are warned of, with the sign-flip test beside; others leave no word of it."""

import csv
import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dashboards.ablation.page import page
from dashboards.ablation.view import View, view
from dashboards.report import answer, write
from raysearch.runs import results

from ..adaptive_runs import write_adaptive


def read(run: Path) -> View:
    return view(results.read_study(run), results.load(run))


def skew(run: Path, variant: str, by: float = 0.3) -> Path:
    """Move one seed of a variant far from the others."""
    cells = [cell.cell for cell in results.read_study(run).cells if cell.variant == variant and cell.seed == 2]
    for row in results.read_cells(run / "cells", cells).values():
        results.write_cell(run / "cells", row | {"map": row["map"] + by})
    return run


def flips(differences: list[float]) -> float:
    """The sign-flip p-value by its definition."""
    measured = abs(math.fsum(differences))
    signs = itertools.product((1, -1), repeat=len(differences))
    sums = [abs(math.fsum(sign * value for sign, value in zip(row, differences, strict=True))) for row in signs]
    return sum(total >= measured - 1e-12 for total in sums) / len(sums)


def test_a_skewed_comparison_is_warned_of_with_the_test_beside(
    make_run: Callable[..., Path], parsed: Callable[[str], Any]
):
    effect = lambda levels: 0.02 * (levels["srem.size"] == 64)  # noqa: E731
    run = skew(make_run(seeds=10, effect=effect), "srem.size=18")
    seen = read(run)
    assert list(seen.skewed) == ["srem.size=18"]
    test = seen.skewed["srem.size=18"]
    differences = list(seen.differences(seen.named["srem.size=18"]).values())
    assert test.sign_flip_p == pytest.approx(min(1.0, 7 * flips(differences)))
    assert test.sign_flip_p == pytest.approx(7 * 2**-9), "all ten differences are positive"
    text = answer(results.read_study(run), results.load(run))
    assert (
        "Warning: skewed differences, for which the t-test may be wrong: srem.size=18 px (64 at 224) (skewness " in text
    )
    assert "sign-flip test p = 0.014)" in text
    shown = parsed(page(seen))
    heading = next(row for row in shown.cells if row[0] == "Variant" and "p (sign flips)" in row)
    assert shown.row("srem.size=18")[heading.index("p (sign flips)")].startswith("0.014skewness +2.")
    assert shown.row("srem.size=37")[heading.index("p (sign flips)")] == ""
    write(run)
    rows = {row["variant"]: row for row in csv.DictReader((run / "tables" / "variants.csv").open())}
    assert float(rows["srem.size=18"]["sign_flip_p"]) == test.sign_flip_p
    assert rows["srem.size=37"]["skewness"] == ""
    notes = json.loads((run / "tables" / "variants.json").read_text())["notes"]
    assert any(note.startswith("skewed differences") for note in notes)


def test_too_few_seeds_for_flips_are_named(make_run: Callable[..., Path]):
    run = skew(make_run(seeds=5), "srem.regions=0")
    assert read(run).skewed["srem.regions=0"].sign_flip_p is None
    assert "too few seeds for the sign-flip test" in answer(results.read_study(run), results.load(run))


def test_a_look_shares_the_level_of_the_sign_flip_test(tmp_path: Path):
    run = skew(write_adaptive(tmp_path / "run", looks=(3, 12)), "srem.regions=0")
    seen = read(run)
    differences = list(seen.differences(seen.named["srem.regions=0"]).values())
    family = math.ceil(7 / (1 - (3 / 12) ** 2))
    assert seen.skewed["srem.regions=0"].sign_flip_p == pytest.approx(min(1.0, family * flips(differences)))


def test_differences_that_are_not_skewed_leave_no_word(make_run: Callable[..., Path]):
    run = make_run(seeds=4, noise=0.02)
    values = {0: 0.0, 1: 0.01, 2: 0.02, 3: 0.03}
    for row in results.read_cells(run / "cells", [cell.cell for cell in results.read_study(run).cells]).values():
        shift = 0.001 * (-1) ** row["seed"] * (int(row["cell"][:4], 16) % 7)
        results.write_cell(run / "cells", row | {"map": 0.5 + values[row["seed"]] + shift})
    seen = read(run)
    assert not seen.skewed
    text = page(seen) + answer(results.read_study(run), results.load(run))
    assert "skew" not in text.partition("<main")[2].partition("</main")[0]
    write(run)
    assert "sign_flip" not in (run / "tables" / "variants.csv").read_text()
