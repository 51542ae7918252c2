"""A contour's grid holds the values of the tried configs at their levels, and nothing elsewhere."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dashboards.search import importance, page
from dashboards.search.view import SearchView, search_view
from raysearch.runs import results


def read_view(run: Path) -> SearchView:
    return search_view(results.read_study(run), results.load(run))


def test_the_grid_is_what_was_tried(make_search: Callable[..., Path]) -> None:
    run = read_view(make_search())
    figure = importance.draw_contour(run, "", "train.lr", "srem.regions")
    assert figure is not None
    surface, markers, _ = figure.data
    expected: dict[tuple[float, int], list[float]] = {}
    for row in run.rows:
        if row["stage"] == "search" and row["status"] == "finished":
            config = next(config for config in run.configs if config.name == row["variant"])
            levels = (config.settings["train.lr"], config.settings["srem.regions"])
            expected.setdefault(levels, []).append(row["map_validation"])
    grid = {
        (x, y): surface.z[i][j]
        for i, y in enumerate(surface.y)
        for j, x in enumerate(surface.x)
        if surface.z[i][j] is not None
    }
    assert grid == pytest.approx({levels: sum(values) / len(values) for levels, values in expected.items()})
    assert set(zip(markers.x, markers.y, strict=True)) == set(expected)
    assert list(surface.x) == sorted(surface.x)
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.yaxis.type == "linear"


def test_the_pairs_are_of_the_most_important_numeric_parameters(make_search: Callable[..., Path]) -> None:
    run = read_view(make_search())
    shares = importance.parameter_importances(run, "map_validation", "")
    assert max(shares, key=lambda path: shares[path]) == "train.lr"
    pairs = importance.contour_pairs(run, "")
    # The categorical parameter is left out, and the one that some configs do not have comes last.
    assert pairs == [("train.lr", "srem.regions"), ("train.lr", "esrl.erased"), ("srem.regions", "esrl.erased")]
    text = page.build_page(run)
    assert text.count('id="plot-contour-') == 3


def test_too_few_configs_have_no_contour(make_search: Callable[..., Path]) -> None:
    run = read_view(make_search(trials=6))
    assert importance.draw_contour(run, "", "train.lr", "srem.regions") is None
    assert "plot-contour" not in page.build_page(run)


def test_yellow_is_good_whichever_way_the_metric_goes(make_search: Callable[..., Path]) -> None:
    up = importance.draw_contour(read_view(make_search()), "", "train.lr", "srem.regions")
    down = importance.draw_contour(read_view(make_search("down", modes=["min"])), "", "train.lr", "srem.regions")
    assert up is not None
    assert down is not None
    assert up.data[0].colorscale == down.data[0].colorscale[::-1] or (
        [color for _, color in up.data[0].colorscale] == [color for _, color in down.data[0].colorscale][::-1]
    )
