"""A search's report shows the planted gain and every config, and works for incomplete searches."""

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

from dashboards.outcome import message
from dashboards.report import answer, terminal, write
from dashboards.search import curves as search_curves
from dashboards.search import figures, importance, page, parallel
from dashboards.search.view import SearchView, search_view
from raysearch.core import UserError
from raysearch.runs import StudyRecord, results

from ...study_json import read_study_json, write_study_json

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&<b>"
Make = Callable[..., Path]


def read_view(run: Path) -> SearchView:
    return search_view(results.read_study(run), results.load(run))


def answer_text(run: Path) -> str:
    return answer(results.read_study(run), results.load(run))


def test_the_answer_is_the_planted_gain_on_fresh_seeds(make_search: Make):
    text = answer_text(make_search(gain=0.03))
    lead = re.fullmatch(
        r"The best config \((.*?)\) beats the reference by (\S+) \[(\S+), (\S+)\] mAP on 5 fresh .*", text
    )
    assert lead
    assert float(lead[3]) < 0.03 < float(lead[4])
    best = read_view(make_search("again")).best("")
    assert best is not None
    assert f"train.lr={best.settings['train.lr']:.4g}" in lead[1]
    assert text.endswith("Tried: 40 configs (8 stopped early, 3 failed); early stopping saved 20 % of the epochs.")


def test_undecided_and_worse_are_reported(make_search: Make):
    undecided = answer_text(make_search("none", gain=0.0))
    assert re.search(r"does not differ significantly from the reference: \S+ \[", undecided)
    worse = answer_text(make_search("less", gain=-0.03))
    assert "is significantly worse than the reference: \N{MINUS SIGN}0.0" in worse


def test_every_group_has_a_sentence_and_holm_counts_all_groups(make_search: Make):
    run = make_search(groups=(12, 24, 48), gain=0.03)
    text = answer_text(run)
    for bits in (12, 24, 48):
        assert f"hash.bits={bits}: the best config (" in text
    evaluations = read_view(run).evaluations
    assert [evaluation.group for evaluation in evaluations] == ["hash.bits=12", "hash.bits=24", "hash.bits=48"]
    smallest = min(evaluations, key=lambda evaluation: evaluation.best["p"])
    assert smallest.best["p_holm"] == pytest.approx(3 * smallest.best["p"])


def test_without_judging_cells_there_is_no_claim(make_search: Make):
    run = make_search(judge_seeds=0)
    assert "there is no final evaluation on fresh seeds, so no claim can be made" in answer_text(run)
    assert read_view(run).evaluations == ()
    write(run)
    assert not (run / "tables" / "judged.csv").exists()
    single = make_search("one", judge_seeds=1)
    assert "is not decided yet" in answer_text(single)


def test_tuning_seeds_never_judge(make_search: Make):
    """Changing every tuning value leaves the final evaluation unchanged, whatever the name of a tuning config."""
    run = make_search()
    before = read_view(run).evaluations
    study = results.read_study(run)
    table = results.load(run)
    tuning = pc.equal(table["stage"], "search")
    raised = pc.if_else(tuning, pc.add(table["map"], 0.3), table["map"])
    moved = table.set_column(table.column_names.index("map"), "map", raised)
    assert search_view(study, moved).evaluations == before
    rows = moved.to_pylist()
    rows[0] |= {"variant": "best", "seed": 1}
    assert search_view(study, pa.Table.from_pylist(rows)).evaluations == before


def test_of_configs_with_one_equal_metric_the_better_one_is_on_the_front(make_search: Make):
    run = make_search(trials=4, metrics=("map_validation", "epoch_seconds"))
    rows = results.load(run).to_pylist()[:3]
    for row, seconds in zip(rows, (5.0, 4.0, 4.0), strict=True):
        row |= {"map_validation": 0.9, "epoch_seconds": seconds, "status": "finished"}
    shown = search_view(results.read_study(run), pa.Table.from_pylist(rows))
    assert [config.number for config in shown.fronts[""]] == [1, 2]


def test_the_front_is_what_no_config_dominates(make_search: Make):
    run = read_view(make_search(trials=60, metrics=("map_validation", "epoch_seconds")))
    finished = [config for config in run.configs if config.status == "finished"]
    values = {config.name: (config.values["map_validation"], -config.values["epoch_seconds"]) for config in finished}  # type: ignore[operator]
    expected = {
        name
        for name, mine in values.items()
        if not any(other != mine and all(o >= v for o, v in zip(other, mine, strict=True)) for other in values.values())
    }
    front = run.fronts[""]
    assert {config.name for config in front} == expected
    best_first = sorted((values[name][0] for name in expected), reverse=True)
    assert [config.values["map_validation"] for config in front] == best_first
    figure = figures.draw_front(run, "")
    assert figure is not None
    assert len(figure.data[1].x) == len(expected)
    assert figures.draw_front(read_view(make_search("single")), "") is None


def test_an_interrupted_search_chooses_the_best_finished_config(make_search: Make):
    run = read_view(make_search(best=None, epochs=None))
    best = run.best("")
    assert best is not None
    finished = [config.values["map_validation"] for config in run.configs if config.status == "finished"]
    assert best.values["map_validation"] == max(finished)  # type: ignore[type-var]
    assert "early stopping saved" not in answer(run.study, pa.Table.from_pylist(run.rows))


def test_importances_find_the_planted_parameter(make_search: Make):
    run = read_view(make_search(trials=100))
    shares = importance.parameter_importances(run, "map_validation", "")
    assert max(shares, key=shares.__getitem__) == "train.lr"
    assert shares["train.lr"] > 0.5
    assert sum(shares.values()) == pytest.approx(1)
    assert "esrl.erased" not in shares  # some configs do not have it
    assert importance.parameter_importances(read_view(make_search("few", trials=7)), "map_validation", "") == {}


def test_history_marks_stopped_configs_and_never_counts_one_as_the_best(make_search: Make):
    path = make_search()
    rows = results.load(path).to_pylist()
    rows = [row | ({"map_validation": 0.99} if row["status"] == "stopped" else {}) for row in rows]
    run = search_view(results.read_study(path), pa.Table.from_pylist(rows))
    figure = figures.draw_history(run, "map_validation")
    by_symbol = {trace.marker.symbol: trace for trace in figure.data if trace.mode == "markers"}
    assert len(by_symbol["x-thin-open"].x) == run.count("stopped") == 8
    assert len(by_symbol["circle"].x) == run.count("finished")
    steps = figure.data[-1].y
    assert list(steps) == sorted(steps)
    assert steps[-1] == max(by_symbol["circle"].y)
    curves = search_curves.draw_curves(run, "")
    assert curves is not None
    crosses = next(trace for trace in curves.data if trace.mode == "markers")
    assert set(crosses.x) == {3}


def test_parallel_coordinates_put_missing_settings_below_the_axis(make_search: Make):
    run = read_view(make_search())
    axis = parallel.build_axis("esrl.erased", [0.2, None, 1.0], log=False)
    assert axis.heights == [0.0, -0.2, 1.0]
    assert axis.ticks[0] == (-0.2, "not set")
    names = parallel.build_axis("srem.mask_pass", ["separate", "anchor", "separate"], log=False)
    assert names.heights == [1.0, 0.0, 1.0]
    assert parallel.build_axis("x", [5, 5], log=False).heights == [0.0, 0.0]
    figure = parallel.draw_parallel(run)
    assert figure is not None
    lines = sum(sum(x is None for x in trace.x) for trace in figure.data)
    assert lines == run.count("finished") + run.count("stopped") + 1  # the chosen config is drawn again


def test_slices_leave_out_configs_without_the_parameter(make_search: Make):
    run = read_view(make_search())
    members = [config for config in run.configs if "esrl.erased" in config.settings and config.status != "failed"]
    traces = figures.draw_slice(run, "esrl.erased", "map_validation").data
    assert sum(len(trace.x) for trace in traces) == len(members)
    assert figures.draw_slice(run, "train.lr", "map_validation").layout.xaxis.type == "log"
    assert figures.draw_slice(run, "srem.mask_pass", "map_validation").layout.xaxis.type == "category"


def test_csv_holds_every_config(make_search: Make):
    run = make_search(groups=(12, 24))
    write(run)
    rows = list(csv.DictReader((run / "tables" / "configs.csv").open()))
    shown = read_view(run)
    assert [row["config"] for row in rows] == [config.name for config in shown.configs]
    assert {row["status"] for row in rows} == {"finished", "stopped", "failed"}
    assert sum(row["chosen"] == "True" for row in rows) == 2
    for row, config in zip(rows, shown.configs, strict=True):
        assert float(row["train.lr"]) == config.settings["train.lr"]
        assert (row["esrl.erased"] == "") == ("esrl.erased" not in config.settings)
        assert (float(row["map_validation"]) if row["map_validation"] else None) == config.values["map_validation"]
    judged = list(csv.DictReader((run / "tables" / "judged.csv").open()))
    assert [row["group"] for row in judged] == ["hash.bits=12", "hash.bits=24"]
    assert all(row["decided"] == "True" for row in judged)


def test_the_terminal_shows_the_best_and_counts_the_rest(make_search: Make):
    run = make_search()
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(terminal(results.read_study(run), results.load(run)))
    text = console.export_text()
    best = read_view(run).best("")
    assert best is not None
    assert f"│ {best.number}: train.lr=" in text
    assert "... and 20 more in tables/configs.csv" in text


def test_seeds_of_a_config_are_averaged_unless_one_is_missing(make_search: Make):
    study, table = two_seeds(make_search())
    both = search_view(study, pa.Table.from_pylist(table)).configs[0]
    assert both.values["map_validation"] == pytest.approx((0.5 + 0.7) / 2)
    assert both.status == "finished"
    assert search_view(study, pa.Table.from_pylist(table[:1])).configs[0].status == "unfinished"
    table[1] |= {"status": "failed", "map_validation": None}
    failed = search_view(study, pa.Table.from_pylist(table)).configs[0]
    assert (failed.status, failed.values["map_validation"]) == ("failed", None)


def two_seeds(run: Path) -> tuple[StudyRecord, list[dict[str, Any]]]:
    """Return the first config alone, with two tuning seeds."""
    study = read_study_json(run)
    row = results.load(run).to_pylist()[0]
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
def test_an_incomplete_search_has_a_report(make_search: Make, changes: dict[str, Any]):
    run = make_search(**changes)
    assert "Tried: " in answer_text(run)
    assert "Best configs" in write(run).read_text()


def test_a_search_without_a_single_result(make_search: Make):
    run = make_search()
    for cell in (run / "cells").iterdir():
        cell.unlink()
    assert answer_text(run).startswith("No answer: no config has been tried yet")
    write(run)


def test_cells_of_several_metric_definitions_are_refused(make_search: Make):
    run = make_search()
    cell = read_study_json(run)["cells"][-1]["cell"]
    record = results.read_cells(run / "cells", [cell])[cell]
    results.write_cell(run / "cells", record | {"metric_ids": json.dumps({"map": "map@1000/test"})})
    with pytest.raises(UserError, match="several definitions"):
        write(run)


def test_no_text_of_a_search_becomes_markup(make_search: Make, parsed: Callable[[str], Any]):
    path = make_search(groups=(12, 24), metrics=("map_validation", "epoch_seconds"))
    harmless = parsed(page.build_page(read_view(path)))
    text = (path / "study.json").read_text()
    study = json.loads(text.replace("srem.mask_pass", "srem.mask_pass" + "EVIL").replace("separate", "separateEVIL"))
    study = json.loads(json.dumps(study).replace("EVIL", json.dumps(EVIL)[1:-1]))
    study |= {key: EVIL for key in ("study", "question", "profile_reason", "command", "sampler", "scheduler")}
    write_study_json(path, study)
    for file in (path / "cells").glob("search*.parquet"):
        record = results.read_cells(path / "cells", [file.stem])[file.stem]
        results.write_cell(path / "cells", record | ({"error": EVIL} if record["error"] else {}))
    seen = parsed(page.build_page(read_view(path)))
    assert seen.scripts == harmless.scripts
    assert [tag for tag, _ in seen.tags if tag != "wbr"] == [tag for tag, _ in harmless.tags if tag != "wbr"]
    assert not any(name.startswith("on") for _, attributes in seen.tags for name in attributes)
    assert EVIL in seen.text
    for figure in seen.data.values():
        assert "<img" not in json.dumps(figure)


def test_ten_thousand_configs_are_reported_within_bounds(make_search: Make):
    run = make_search(trials=30)
    study = read_study_json(run)
    table = results.load(run).to_pylist()
    rows = []
    variants = {variant["name"]: variant for variant in study["variants"]}
    study["cells"] = []
    study["variants"] = []
    for number in range(10_000):
        row = table[number % 30]
        name = f"{number}:{row['variant'].partition(':')[2]}"
        value = None if row["map_validation"] is None else row["map_validation"] + 1e-6 * (number * 7919 % 9973)
        rows.append(row | {"variant": name, "cell": str(number), "map_validation": value})
        study["cells"].append({"cell": str(number), "variant": name, "seed": 0, "stage": "search"})
        study["variants"].append(variants[row["variant"]] | {"name": name})
    started = time.process_time()
    shown = search_view(StudyRecord.model_validate(study | {"best": []}), pa.Table.from_pylist(rows))
    text = page.build_page(shown)
    files = page.table_files(shown)
    assert time.process_time() - started < 20
    assert len(text) < 10e6
    assert files["configs.csv"].count("\n") == 10_001
    best = shown.best("")
    assert best is not None
    assert f"trial {best.number}" in text


def test_the_page_names_the_runs_that_cells_come_from(make_search: Make):
    run = make_search(adopted=7, adopted_from={"/runs/other": 5, "/runs/third": 2})
    page_text = write(run).read_text()
    assert "7 reused from /runs/other (5) and /runs/third (2)" in page_text
    assert "reused from" not in write(make_search("alone", adopted=0)).read_text()


def test_the_page_and_the_message_list_what_was_learned(make_search: Make):
    learned = {"configs": 3, "first": 1, "runs": {"/runs/<b>": 4}, "left_out": {"outside the space": 5}}
    run = make_search(learned=[learned])
    page = write(run).read_text()
    assert "learned from 3 configs, 4 cells of /runs/&lt;b&gt;; 1 of them is tried first" in page
    assert "left out: 5 cells outside the space" in page
    (entry,) = message.outcome(run, str(run)).learned
    assert (entry.configs, entry.runs, entry.left_out) == (3, {"/runs/<b>": 4}, {"outside the space": 5})
    assert "learned from" not in write(make_search("alone")).read_text()
