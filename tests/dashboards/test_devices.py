"""Cells on different kinds of devices: a warning with counts, and times that are compared on one of them alone."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dashboards import report
from dashboards.comparison import page as comparison_page
from dashboards.comparison.view import read_comparison
from dashboards.search.view import SearchView, search_view
from raysearch.runs import results

L4 = "NVIDIA L4"
A10G = "NVIDIA A10G"
Make = Callable[..., Path]
Change = Callable[[Mapping[str, Any], str], Mapping[str, Any]]  # a cell's row and its variant -> columns to change


def change_cells(run: Path, change: Change) -> None:
    variants = {cell.cell: cell.variant for cell in results.read_study(run).cells}
    for cell, row in results.read_cells(run / "cells", variants).items():
        results.write_cell(run / "cells", row | dict(change(row, variants[cell])))


def compute_on(run: Path, device_of: Callable[[Mapping[str, Any], str], str]) -> None:
    """Set the device of each cell, and times as the device gives them: an A10G takes twice as long as an L4."""

    def _change(row: Mapping[str, Any], variant: str) -> dict[str, Any]:
        device = device_of(row, variant)
        slower = 2 if device == A10G else 1
        times = {name: row[name] * slower for name in ("seconds", "epoch_seconds") if row.get(name) is not None}
        return {**times, "gpu_seconds": times.get("seconds", 0.0), "device": device}

    change_cells(run, _change)


def rename_cells(run: Path) -> None:
    """Give the cells other names, as another precision does."""
    study = results.read_study(run)
    for cell in study.cells:
        row = results.read_cells(run / "cells", [cell.cell])[cell.cell]
        cell.cell = f"b{cell.cell[1:]}"
        results.write_cell(run / "cells", row | {"cell": cell.cell})
    results.write_study(run, study)


def answer(run: Path) -> str:
    return report.answer(results.read_study(run), results.load(run))


def read_search(run: Path) -> SearchView:
    return search_view(results.read_study(run), results.load(run))


def test_the_answer_warns_with_the_counts_everywhere(make_run: Make) -> None:
    run = make_run()
    assert "Warning" not in answer(run)
    compute_on(run, lambda row, variant: A10G if variant == "reference" and row["seed"] == 3 else L4)
    warning = "Warning: cells that are compared ran on different kinds of devices: 39 on NVIDIA L4, 1 on NVIDIA A10G."
    assert warning in answer(run)
    page = report.write(run).read_text()
    assert warning.removeprefix("Warning: c") in page
    assert "39 cells on NVIDIA L4, 1 cell on NVIDIA A10G" in page
    assert "39 on NVIDIA L4" in page
    assert warning in report.live_state(results.read_study(run), results.load(run))["answer"]


def test_cells_that_are_not_compared_may_differ(make_run: Make) -> None:
    run = make_run()
    compute_on(run, lambda row, variant: L4)
    assert "Warning" not in answer(run)


def test_mean_times_are_of_one_device(make_run: Make) -> None:
    run = make_run()
    view = report.report_kind(results.read_study(run)).view(results.read_study(run), results.load(run))
    before = view.reference.seconds
    compute_on(run, lambda row, variant: A10G if row["seed"] in (0, 1) else L4)
    study = results.read_study(run)
    view = report.report_kind(study).view(study, results.load(run))
    seconds = [row["seconds"] for row in view.reference.rows if row["device"] == L4]
    assert len(seconds) == 3
    assert view.reference.seconds == pytest.approx(sum(seconds) / 3)
    assert view.reference.seconds < 1.3 * before
    assert view.times_note == "Means are of cells on NVIDIA L4, without 16 on others."
    assert view.times_note in report.write(run).read_text()


def test_a_time_as_the_metric_is_compared_on_one_device(make_run: Make) -> None:
    run = make_run(metric="seconds", mode="min")
    compute_on(run, lambda row, variant: A10G if variant == "reference" and row["seed"] == 3 else L4)
    study = results.read_study(run)
    view = report.report_kind(study).view(study, results.load(run))
    assert sorted(view.reference.values) == [0, 1, 2, 4]
    assert {variant.compared["seeds"] for variant in view.variants} == {4, 5}
    assert view.reference.compared["failed"] == 0
    assert "seconds is compared within one kind of device, which leaves out 1 cell: 39 on NVIDIA L4" in answer(run)


def test_a_search_compares_times_on_one_device(make_search: Make) -> None:
    metrics = ("map_validation", "epoch_seconds")
    run = make_search(metrics=metrics, scheduler=None)
    compute_on(run, lambda row, variant: A10G)
    alike = read_search(run)
    assert alike.devices_notes == []
    # The fastest config on paper ran on the faster device.
    fastest = min(alike.fronts[""], key=lambda config: config.values["epoch_seconds"] or 0.0)
    compute_on(run, lambda row, variant: L4 if variant == fastest.name else A10G)
    mixed = read_search(run)
    (config,) = (config for config in mixed.configs if config.name == fastest.name)
    assert config.values["epoch_seconds"] is None
    assert config.values["map_validation"] is not None
    assert fastest.name not in {config.name for config in mixed.fronts[""]}
    assert len(mixed.devices_notes) == 1
    assert "1 on NVIDIA L4; epoch_seconds is compared on NVIDIA A10G alone" in answer(run)
    assert "1 config without a value that can be compared left out." in report.write(run).read_text()


def test_a_search_keeps_to_the_device_that_its_driver_chose(make_search: Make) -> None:
    run = make_search(metrics=("map_validation", "epoch_seconds"), scheduler=None)
    compute_on(run, lambda row, variant: L4 if variant.startswith("0:") else A10G)
    study = results.read_study(run)
    study.best[0].timed_on = L4
    results.write_study(run, study)
    timed = [config.name for config in read_search(run).configs if config.values["epoch_seconds"] is not None]
    assert len(timed) == 1
    assert timed[0].startswith("0:")


def test_the_final_evaluation_of_a_search_warns_too(make_search: Make) -> None:
    run = make_search()
    compute_on(run, lambda row, variant: A10G if variant == "best" else L4)
    (note,) = read_search(run).devices_notes
    assert note == "cells that are compared ran on different kinds of devices: 5 on NVIDIA A10G, 5 on NVIDIA L4"
    assert f"Warning: {note}." in answer(run)


def test_a_comparison_of_runs_warns(make_run: Make) -> None:
    here = make_run("here")
    there = make_run("there", noise=0.01)
    compute_on(there, lambda row, variant: L4)
    rename_cells(there)
    comparison = read_comparison([here, there])
    text = comparison_page.answer_sentence(comparison)
    assert text.endswith("ran on different kinds of devices: 40 on NVIDIA L4, 40 on CPU.")
    assert "ran on different kinds of devices" in comparison_page.build_page(comparison)


def test_runs_on_different_devices_have_no_difference_in_time(make_run: Make) -> None:
    runs = [make_run(name, metric="seconds", mode="min", noise=noise) for name, noise in (("a", 0.01), ("b", 0.02))]
    for run, device in zip(runs, (L4, A10G), strict=True):
        compute_on(run, lambda row, variant, device=device: device)
    rename_cells(runs[1])
    comparison = read_comparison(runs)
    assert {match.verdict for match in comparison.matches} <= {"no result", "no interval"}
    assert "seconds is compared within one kind of device, which leaves out 40 cells" in comparison.devices_note
