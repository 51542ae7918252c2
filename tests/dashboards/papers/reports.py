"""A report of each kind with figures: an ablation, crossed factors, an adaptive study, and searches."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dashboards.report
from dashboards.comparison import page as comparison_page
from dashboards.html import EmbeddedFigure
from raysearch.runs import results

from .. import written
from ..adaptive_runs import write_adaptive
from ..conftest import ablation, write_run, write_search

HOSTILE = '50% & <b>"wide"</b> _x_ \\newpage $y$ #1 {z} \u6f22 \u25b2 \xe9'
NAMES = ("ablation", "crossed", "adaptive", "search", "groups", "hostile", "many")


def effect(levels: Mapping[str, Any]) -> float:
    return -0.03 * (levels["srem.regions"] == 0) + 0.015 * (levels["srem.size"] == 64)


def write_report_run(name: str, folder: Path) -> Path:
    """Write the run of a report."""
    hostile = {"reference": {0: 0.6, 1: 0.62, 2: 0.61}, HOSTILE: {0: 0.7, 1: 0.722, 2: 0.711}}
    labels = [f"model.layer_{index}=conv, train.lr={index / 1000}" for index in range(1, 70)]
    many = {label: {seed: 0.6 + 0.002 * ((7 * index + 3 * seed) % 11) for seed in range(3)}
            for index, label in enumerate(["reference", *labels])}  # fmt: skip
    writers: dict[str, Callable[[Path], Path]] = {
        "ablation": lambda path: write_run(path, ablation(), effect),
        "crossed": lambda path: write_run(path, ablation("full"), effect),
        "adaptive": lambda path: write_adaptive(path, margin=0.01, effect=effect),
        "search": write_search,
        "groups": lambda path: write_search(path, 20, (16, 32, 48), ("map_validation", "epoch_seconds")),
        "hostile": lambda path: written.write(path, hostile),
        "many": lambda path: written.write(path, many),
    }
    return writers[name](folder / name)


def figures_of(run: Path) -> dict[str, EmbeddedFigure]:
    """Return the figures of the report of a run, by name."""
    figures = dashboards.report.figures(results.read_study(run), results.load(run))
    return {figure.name: figure for figure in figures}


def compared_figures(folder: Path) -> dict[str, EmbeddedFigure]:
    """Return the figures of a comparison of three runs, by name."""
    runs = [
        written.write(folder / name, {"a": {seed: 0.6 + at * 0.01 + seed % 3 * 0.002 for seed in range(4)}})
        for at, name in enumerate(("first", "second", "third"))
    ]
    comparison = comparison_page.read_comparison(runs)
    return {figure.name: figure for figure in comparison_page.figures(comparison)}
