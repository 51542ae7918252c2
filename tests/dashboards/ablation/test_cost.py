"""What a study cost, on the page and in the tables."""

import csv
import io
from pathlib import Path

import pytest

from dashboards.ablation import cost, effects, figures, tables
from dashboards.ablation import page as ablation_page
from dashboards.ablation.view import view
from raysearch.runs import results
from raysearch.studies.design import Ablation, factor

from ..conftest import ablation, write_run

COST = {"dollars": 12.5, "node_hours": {"g6.2xlarge spot": 11.0, "m7i.xlarge on-demand": 8.5}}


def test_variants_share_the_bill_by_their_seconds(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "run", ablation(), cost=COST)
    run = view(results.read_study(directory), results.load(directory))
    seconds: dict[str, float] = {}
    for row in results.load(directory).to_pylist():
        seconds[row["variant"]] = seconds.get(row["variant"], 0.0) + row["seconds"]
    paid = cost.cost_by_variant(run)
    assert sum(paid.values()) == pytest.approx(12.5)
    for name, own in seconds.items():
        assert paid[name] == pytest.approx(12.5 * own / sum(seconds.values()))
    written = {row["variant"]: row["dollars"] for row in csv.DictReader(io.StringIO(tables.csv_table(run).to_csv()))}
    assert {name: pytest.approx(float(text)) for name, text in written.items()} == paid
    page = ablation_page.page(run)
    assert "$12.50" in page
    assert "g6.2xlarge spot 11" in page


def test_without_a_price_there_is_no_column(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "run", ablation())
    run = view(results.read_study(directory), results.load(directory))
    assert cost.cost_by_variant(run) == {}
    assert "Machines" not in ablation_page.page(run)


def test_labels_of_many_rows_do_not_cover_each_other(tmp_path: Path) -> None:
    levels = tuple(range(10, 80, 10))
    crossed = [factor("srem.regions", *levels), factor("srem.size", *levels)]
    reference = {"srem.regions": 10, "srem.size": 10}
    study = Ablation("Which?", "retrieval", reference, crossed, design="full")
    directory = write_run(tmp_path / "run", study, seeds=1)
    run = view(results.read_study(directory), results.load(directory))
    for figure in (figures.cost(run), effects.effects(run)):
        assert figure is not None
        labels = figure.layout.yaxis.ticktext
        assert len(labels) >= 48
        lines = max(label.count("<br>") for label in labels) + 1
        assert lines > 1
        assert figure.layout.height / len(labels) >= 15 * lines
