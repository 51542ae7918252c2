"""Contours hold the values of the configs at their places, and nothing where none was tried."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dashboards.search import contours, importance, page
from dashboards.search.view import SearchView, search_view
from raysearch.runs import results


def read(run: Path) -> SearchView:
    return search_view(results.read_study(run), results.load(run))


def test_the_grid_is_what_was_tried(make_search: Callable[..., Path]) -> None:
    run = read(make_search())
    figure = contours.contour(run, "", "train.lr", "srem.regions")
    assert figure is not None
    surface, places, _ = figure.data
    expected: dict[tuple[float, int], list[float]] = {}
    for row in run.rows:
        if row["stage"] == "search" and row["status"] == "finished":
            config = next(one for one in run.configs if one.name == row["variant"])
            at = (config.settings["train.lr"], config.settings["srem.regions"])
            expected.setdefault(at, []).append(row["map_validation"])
    found = {
        (x, y): surface.z[i][j]
        for i, y in enumerate(surface.y)
        for j, x in enumerate(surface.x)
        if surface.z[i][j] is not None
    }
    assert found == pytest.approx({at: sum(values) / len(values) for at, values in expected.items()})
    assert set(zip(places.x, places.y, strict=True)) == set(expected)
    assert list(surface.x) == sorted(surface.x)
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.yaxis.type == "linear"


def test_the_pairs_are_of_the_numbers_that_decided_most(make_search: Callable[..., Path]) -> None:
    run = read(make_search())
    shares = importance.importances(run, "map_validation", "")
    assert max(shares, key=lambda path: shares[path]) == "train.lr"
    pairs = contours.pairs(run, "")
    # the categorical one is left out, and the one that not every config has comes last
    assert pairs == [("train.lr", "srem.regions"), ("train.lr", "esrl.erased"), ("srem.regions", "esrl.erased")]
    text = page.page(run)
    assert text.count('id="plot-contour-') == 3


def test_few_configs_have_no_surface(make_search: Callable[..., Path]) -> None:
    run = read(make_search(trials=6))
    assert contours.contour(run, "", "train.lr", "srem.regions") is None
    assert "plot-contour" not in page.page(run)


def test_yellow_is_good_whichever_way_the_metric_goes(make_search: Callable[..., Path]) -> None:
    up = contours.contour(read(make_search()), "", "train.lr", "srem.regions")
    down = contours.contour(read(make_search("down", modes=["min"])), "", "train.lr", "srem.regions")
    assert up is not None
    assert down is not None
    assert up.data[0].colorscale == down.data[0].colorscale[::-1] or (
        [colour for _, colour in up.data[0].colorscale] == [colour for _, colour in down.data[0].colorscale][::-1]
    )
