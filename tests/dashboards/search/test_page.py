"""A search's report says what was planted, names every config, and survives whatever a search may lack."""

import csv
import io
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from rich.console import Console

from dashboards.ablation import tables
from dashboards.report import answer, write
from dashboards.search import curves as search_curves
from dashboards.search import figures, importance, page, parallel, space
from dashboards.search.view import SearchView, search_view
from raysearch.core.errors import UserError
from raysearch.runs import results
from raysearch.runs.study_record import StudyRecord

from ...study_json import read_study_json, write_study_json

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&<b>"
Make = Callable[..., Path]


def read(run: Path) -> SearchView:
    return search_view(results.read_study(run), results.load(run))


def said(run: Path) -> str:
    return answer(results.read_study(run), results.load(run))


def test_the_answer_is_the_planted_gain_on_fresh_seeds(make_search: Make):
    text = said(make_search(gain=0.03))
    lead = re.fullmatch(
        r"The best config \((.*?)\) beats the reference by (\S+) \[(\S+), (\S+)\] mAP on 5 fresh .*", text
    )
    assert lead
    low, high = float(lead[3]), float(lead[4])
    assert low < 0.03 < high
    best = read(make_search("again")).best("")
    assert best is not None
    assert f"train.lr={best.settings['train.lr']:.4g}" in lead[1]
    assert text.endswith("Tried: 40 configs (8 stopped early, 3 failed); early stopping saved 20 % of the epochs.")


def test_undecided_and_worse_are_said(make_search: Make):
    assert re.search("cannot be told from the reference: .*, undecided", said(make_search("none", gain=0.0)))
    assert "is decided worse than the reference: \N{MINUS SIGN}0.0" in said(make_search("less", gain=-0.03))


def test_every_group_has_its_sentence_and_holm_counts_them_all(make_search: Make):
    run = make_search(groups=(12, 24, 48), gain=0.03)
    text = said(run)
    for bits in (12, 24, 48):
        assert f"hash.bits={bits}: the best config (" in text
    judged = read(run).judged
    assert [one.group for one in judged] == ["hash.bits=12", "hash.bits=24", "hash.bits=48"]
    smallest = min(judged, key=lambda one: one.best["p"])
    assert smallest.best["p_holm"] == pytest.approx(3 * smallest.best["p"])


def test_without_judging_cells_there_is_no_claim(make_search: Make):
    run = make_search(judge_seeds=0)
    assert "was not judged against the reference on fresh seeds, so this is no claim" in said(run)
    assert read(run).judged == ()
    write(run)
    assert not (run / "tables" / "judged.csv").exists()
    one = make_search("one", judge_seeds=1)
    assert "is not decided yet" in said(one)


def test_tuning_seeds_never_judge(make_search: Make):
    """Moving every number that tuned leaves the comparison as it is, whatever a tuning config is called."""
    run = make_search()
    before = read(run).judged
    study, table = results.read_study(run), results.load(run)
    tuning = pc.equal(table["stage"], "search")
    raised = pc.if_else(tuning, pc.add(table["map"], 0.3), table["map"])
    moved = table.set_column(table.column_names.index("map"), "map", raised)
    assert search_view(study, moved).judged == before
    rows = moved.to_pylist()
    rows[0] |= {"variant": "best", "seed": 1}
    assert search_view(study, pa.Table.from_pylist(rows)).judged == before


def test_of_configs_that_are_equal_in_one_metric_the_better_in_the_other_is_on_the_front(make_search: Make):
    run = make_search(trials=4, metrics=("map_validation", "epoch_seconds"))
    rows = results.load(run).to_pylist()[:3]
    for row, seconds in zip(rows, (5.0, 4.0, 4.0), strict=True):
        row |= {"map_validation": 0.9, "epoch_seconds": seconds, "status": "finished"}
    shown = search_view(results.read_study(run), pa.Table.from_pylist(rows))
    assert [one.number for one in shown.fronts[""]] == [1, 2]


def test_the_front_is_what_no_config_beats(make_search: Make):
    run = read(make_search(trials=60, metrics=("map_validation", "epoch_seconds")))
    finished = [one for one in run.configs if one.status == "finished"]
    values = {one.name: (one.values["map_validation"], -one.values["epoch_seconds"]) for one in finished}  # type: ignore[operator]
    plain = {
        name for name, own in values.items()
        if not any(other != own and all(o >= v for o, v in zip(other, own, strict=True)) for other in values.values())
    }  # fmt: skip
    front = run.fronts[""]
    assert {one.name for one in front} == plain
    assert [one.values["map_validation"] for one in front] == sorted((values[name][0] for name in plain), reverse=True)
    figure = figures.front(run, "")
    assert figure is not None
    assert len(figure.data[1].x) == len(plain)
    assert figures.front(read(make_search("single")), "") is None


def test_an_interrupted_search_chooses_the_best_finished_config(make_search: Make):
    run = read(make_search(best=None, epochs=None))
    best = run.best("")
    assert best is not None
    finished = [one.values["map_validation"] for one in run.configs if one.status == "finished"]
    assert best.values["map_validation"] == max(finished)  # type: ignore[type-var]
    assert "early stopping saved" not in answer(run.study, pa.Table.from_pylist(run.rows))


def test_importances_find_what_the_values_were_made_from(make_search: Make):
    run = read(make_search(trials=100))
    shares = importance.importances(run, "map_validation", "")
    assert max(shares, key=shares.__getitem__) == "train.lr"
    assert shares["train.lr"] > 0.5
    assert sum(shares.values()) == pytest.approx(1)
    assert "esrl.erased" not in shares  # not every config has it
    assert importance.importances(read(make_search("few", trials=7)), "map_validation", "") == {}


def test_history_marks_the_stopped_and_never_takes_one_for_the_best(make_search: Make):
    path = make_search()
    rows = results.load(path).to_pylist()
    rows = [row | ({"map_validation": 0.99} if row["status"] == "stopped" else {}) for row in rows]
    run = search_view(results.read_study(path), pa.Table.from_pylist(rows))
    figure = figures.history(run, "map_validation")
    by_symbol = {trace.marker.symbol: trace for trace in figure.data if trace.mode == "markers"}
    assert len(by_symbol["x-thin-open"].x) == run.count("stopped") == 8
    assert len(by_symbol["circle"].x) == run.count("finished")
    steps = figure.data[-1].y
    assert list(steps) == sorted(steps)
    assert steps[-1] == max(by_symbol["circle"].y)
    curves = search_curves.curves(run, "")
    assert curves is not None
    crosses = next(trace for trace in curves.data if trace.mode == "markers")
    assert set(crosses.x) == {3}


def test_parallel_coordinates_put_absent_settings_below_the_axis(make_search: Make):
    run = read(make_search())
    axis = parallel.axis("esrl.erased", [0.2, None, 1.0], log=False)
    assert axis.heights == [0.0, -0.2, 1.0]
    assert axis.ticks[0] == (-0.2, "not set")
    names = parallel.axis("srem.mask_pass", ["separate", "anchor", "separate"], log=False)
    assert names.heights == [1.0, 0.0, 1.0]
    assert parallel.axis("x", [5, 5], log=False).heights == [0.0, 0.0]
    figure = parallel.parallel(run)
    assert figure is not None
    lines = sum(sum(x is None for x in trace.x) for trace in figure.data)
    assert lines == run.count("finished") + run.count("stopped") + 1  # the chosen one is drawn once more


def test_slices_leave_out_configs_without_the_parameter(make_search: Make):
    run = read(make_search())
    with_it = [one for one in run.configs if "esrl.erased" in one.settings and one.status != "failed"]
    assert sum(len(trace.x) for trace in space.slice_of(run, "esrl.erased", "map_validation").data) == len(with_it)
    assert space.slice_of(run, "train.lr", "map_validation").layout.xaxis.type == "log"
    assert space.slice_of(run, "srem.mask_pass", "map_validation").layout.xaxis.type == "category"


def test_csv_holds_every_config(make_search: Make):
    run = make_search(groups=(12, 24))
    write(run)
    rows = list(csv.DictReader((run / "tables" / "configs.csv").open()))
    shown = read(run)
    assert [row["config"] for row in rows] == [one.name for one in shown.configs]
    assert {row["status"] for row in rows} == {"finished", "stopped", "failed"}
    assert sum(row["chosen"] == "True" for row in rows) == 2
    for row, one in zip(rows, shown.configs, strict=True):
        assert float(row["train.lr"]) == one.settings["train.lr"]
        assert (row["esrl.erased"] == "") == ("esrl.erased" not in one.settings)
        assert (float(row["map_validation"]) if row["map_validation"] else None) == one.values["map_validation"]
    judged = list(csv.DictReader((run / "tables" / "judged.csv").open()))
    assert [row["group"] for row in judged] == ["hash.bits=12", "hash.bits=24"]
    assert all(row["decided"] == "True" for row in judged)


def test_the_terminal_shows_the_best_and_counts_the_rest(make_search: Make):
    run = make_search()
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(tables.terminal(results.read_study(run), results.load(run)))
    text = console.export_text()
    best = read(run).best("")
    assert best is not None
    assert f"│ {best.number}: train.lr=" in text
    assert "... and 20 more in tables/configs.csv" in text


def test_seeds_of_a_config_are_averaged_and_a_missing_one_is_no_result(make_search: Make):
    study, table = two_seeds(make_search())
    both = search_view(study, pa.Table.from_pylist(table)).configs[0]
    assert both.values["map_validation"] == pytest.approx((0.5 + 0.7) / 2)
    assert both.status == "finished"
    assert search_view(study, pa.Table.from_pylist(table[:1])).configs[0].status == "unfinished"
    table[1] |= {"status": "failed", "map_validation": None}
    failed = search_view(study, pa.Table.from_pylist(table)).configs[0]
    assert (failed.status, failed.values["map_validation"]) == ("failed", None)


def two_seeds(run: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The first config alone, with two tuning seeds."""
    study, row = read_study_json(run), results.load(run).to_pylist()[0]
    rows = [row | {"seed": seed, "cell": str(seed), "map_validation": value} for seed, value in ((0, 0.5), (1, 0.7))]
    study["cells"] = [
        {"cell": str(seed), "variant": row["variant"], "seed": seed, "stage": "search"} for seed in (0, 1)
    ]
    return StudyRecord.model_validate(study | {"best": []}), rows


@pytest.mark.parametrize(
    "changes",
    [
        {"trials": 1, "judge_seeds": 0},
        {"trials": 13, "space": None, "group": None, "variants": [], "factors": []},
        {"metrics": ("map_validation", "epoch_seconds", "map"), "data": None, "command": None, "epochs": None},
        {"groups": (12,), "sampler": None, "scheduler": None, "budget": 99, "wall_seconds": None},
    ],
    ids=["one config", "an unknown space", "three metrics", "one group"],
)
def test_a_poor_search_still_has_its_report(make_search: Make, changes: dict[str, Any]):
    run = make_search(**changes)
    assert "Tried: " in said(run)
    assert "Best configs" in write(run).read_text()


def test_a_search_without_a_single_result(make_search: Make):
    run = make_search()
    for cell in (run / "cells").iterdir():
        cell.unlink()
    assert said(run).startswith("No answer: no config has been tried yet")
    write(run)


def test_cells_of_several_definitions_are_not_judged(make_search: Make):
    run = make_search()
    cell = read_study_json(run)["cells"][-1]["cell"]
    record = results.read_cells(run / "cells", [cell])[cell]
    results.write_cell(run / "cells", record | {"metric_ids": json.dumps({"map": "map@1000/test"})})
    with pytest.raises(UserError, match="several definitions"):
        write(run)


def test_nothing_that_a_search_says_becomes_markup(make_search: Make, parsed: Callable[[str], Any]):
    path = make_search(groups=(12, 24), metrics=("map_validation", "epoch_seconds"))
    harmless = parsed(page.page(read(path)))
    text = (path / "study.json").read_text()
    study = json.loads(text.replace("srem.mask_pass", "srem.mask_pass" + "EVIL").replace("separate", "separateEVIL"))
    study = json.loads(json.dumps(study).replace("EVIL", json.dumps(EVIL)[1:-1]))
    study |= {key: EVIL for key in ("study", "question", "profile_reason", "command", "sampler", "scheduler")}
    write_study_json(path, study)
    for file in (path / "cells").glob("search*.parquet"):
        record = results.read_cells(path / "cells", [file.stem])[file.stem]
        results.write_cell(path / "cells", record | ({"error": EVIL} if record["error"] else {}))
    seen = parsed(page.page(read(path)))
    assert seen.scripts == harmless.scripts
    assert [tag for tag, _ in seen.tags if tag != "wbr"] == [tag for tag, _ in harmless.tags if tag != "wbr"]
    assert not any(name.startswith("on") for _, attributes in seen.tags for name in attributes)
    assert EVIL in seen.text
    for figure in seen.data.values():
        assert "<img" not in json.dumps(figure)


def test_ten_thousand_configs_are_reported_in_bounds(make_search: Make):
    run = make_search(trials=30)
    study, table = read_study_json(run), results.load(run).to_pylist()
    rows, plans = [], {one["name"]: one for one in study["variants"]}
    study["cells"], study["variants"] = [], []
    for number in range(10_000):
        row = table[number % 30]
        name = f"{number}:{row['variant'].partition(':')[2]}"
        value = None if row["map_validation"] is None else row["map_validation"] + 1e-6 * (number * 7919 % 9973)
        rows.append(row | {"variant": name, "cell": str(number), "map_validation": value})
        study["cells"].append({"cell": str(number), "variant": name, "seed": 0, "stage": "search"})
        study["variants"].append(plans[row["variant"]] | {"name": name})
    started = time.process_time()
    shown = search_view(StudyRecord.model_validate(study | {"best": []}), pa.Table.from_pylist(rows))
    text, files = page.page(shown), page.files(shown)
    assert time.process_time() - started < 20
    assert len(text) < 10e6
    assert files["configs.csv"].count("\n") == 10_001
    best = shown.best("")
    assert best is not None
    assert f"trial {best.number}" in text
