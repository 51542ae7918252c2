"""Figures of a crossed design beside loops over its cells."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dashboards.ablation import factors, figures
from dashboards.ablation.page import page
from dashboards.ablation.view import View, view
from raysearch.runs import results
from raysearch.studies.design import Ablation, ablation_plan, factor

from ...study_json import read_study_json
from ..conftest import write_run


def read(run: Path) -> View:
    return view(results.read_study(run), results.load(run))


def values(run: Path, table: Any) -> dict[tuple[int, int, int], float]:
    """(regions, size as declared, seed) -> mAP, straight from study.json and the table."""
    declared = {one["name"]: one["declared"] for one in read_study_json(run)["variants"]}
    found = {}
    for row in table.to_pylist():
        if row["status"] == "finished":
            levels = declared[row["variant"]]
            found[levels["srem.regions"], levels["srem.size"], row["seed"]] = row["map"]
    return found


def effect(levels: Mapping[str, Any]) -> float:
    return 0.02 * (levels["srem.size"] == 64) - 0.03 * (levels["srem.regions"] == 100)


def test_main_effects_and_interactions_are_the_means_of_loops(make_run: Callable[..., Path]) -> None:
    path = make_run(design="full", effect=effect)
    run, cells = read(path), values(path, results.load(path))
    drawn = factors.main_effect(run, "srem.size")
    assert drawn is not None
    (line,) = drawn[0].data
    assert list(drawn[0].layout.xaxis.ticktext) == ["16", "32", "64"]
    for x, y, above in zip(line.x, line.y, line.error_y.array, strict=True):
        size = (16, 32, 64)[int(x)]
        blocks = []
        for seed in range(5):
            total = 0.0
            for regions in (10, 50, 100):
                total += cells[regions, size, seed]
            blocks.append(total / 3)
        mean = sum(blocks) / 5
        spread = (sum((block - mean) ** 2 for block in blocks) / 4) ** 0.5
        assert y == pytest.approx(mean)
        assert above == pytest.approx(2.776445 * spread / 5**0.5)
    crossed = factors.interaction(run, "srem.regions", "srem.size")
    assert crossed is not None
    assert [trace.name for trace in crossed[0].data] == ["srem.size=16", "srem.size=32", "srem.size=64"]
    for size, trace in zip((16, 32, 64), crossed[0].data, strict=True):
        expected = [sum(cells[regions, size, seed] for seed in range(5)) / 5 for regions in (10, 50, 100)]
        assert list(trace.y) == pytest.approx(expected)
        assert [round(x) for x in trace.x] == [0, 1, 2], "lines stand beside each other, and at their level"


def test_a_config_of_several_settings_counts_in_each(tmp_path: Path) -> None:
    crossed = [factor("srem.regions", 0, 50), factor("srem.size", 16, 32)]
    asked = Ablation("?", "retrieval", {"srem.regions": 50, "srem.size": 32}, crossed, design="full")
    run = read(write_run(tmp_path / "run", asked))
    assert len(run.variants) == 3
    bare = run.named["srem.regions=0, srem.size=5"]
    assert bare.places(run.factors) == [(0, 16), (0, 32)]
    cells = factors.cells(run)
    assert cells[0, 0] == cells[0, 1] == bare.values
    heat = figures.heat_map(run)
    assert heat is not None
    assert list(heat.data[0].z[0]) == [bare.compared["mean"]] * 2
    drawn = factors.main_effect(run, "srem.regions")
    assert drawn is not None
    assert (drawn[1].settings, drawn[1].left_out) == (2, 0)


def test_every_pair_of_factors_has_a_small_figure_up_to_a_dozen(tmp_path: Path) -> None:
    levels = {"srem.regions": (10, 50), "srem.size": (16, 32), "hash.bits": (12, 24), "adsh.gamma": (100.0, 200.0)}
    names = [factor(name, *own) for name, own in levels.items()]
    reference = {name: own[1] for name, own in levels.items()}
    asked = Ablation("?", "retrieval", reference, names, design="full", seeds=3)
    assert len(ablation_plan.plan_ablation("s", asked, "laptop", "d" * 64).variants) == 16
    run = read(write_run(tmp_path / "run", asked, seeds=3))
    assert len(factors.crossed_pairs(run)) == 6
    text = page(run)
    assert text.count('id="plot-interaction-') == 6
    assert text.count('id="plot-main-') == 4
    assert "Over 3 seeds and 4 settings of the other factors." in text
    assert "Over 3 seeds and 8 settings of the other factors." in text


def test_no_other_design_has_main_effects(make_run: Callable[..., Path]) -> None:
    assert factors.crossed_factors(read(make_run())) == []
    assert "plot-main-" not in page(read(make_run()))


def test_a_failed_seed_is_left_out_and_said(make_run: Callable[..., Path]) -> None:
    failing = lambda variant, seed: "boom" if variant == "srem.size=5" and seed == 4 else None  # noqa: E731
    run = read(make_run(design="full", failing=failing))
    drawn = factors.main_effect(run, "srem.regions")
    assert drawn is not None
    assert drawn[1].seeds == (0, 1, 2, 3)
    assert "Over 4 seeds" in page(run)
