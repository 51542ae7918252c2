"""Explanations of searches with a planted answer, without Ray: the path, its claims, shared cells, continuation."""

import json
import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dashboards.report import answer, write
from raysearch.core import UserError
from raysearch.engine.drivers.explanation import request as explain_request
from raysearch.engine.drivers.sweep_request import SweepRequest
from raysearch.engine.options import Options
from raysearch.runs import results
from raysearch.studies.design import factor

from ..without_cluster import explain, run_search
from .planted_search import BEST, EFFECTS, REFERENCE, make_search, planted, value_at, view_of


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run of an explanation in which three settings of eight matter."""
    run = tmp_path_factory.mktemp("planted") / "search"
    score = planted(EFFECTS)
    run_search(run, make_search(), score)
    complete, _ = explain(run, score, margin=0.01)
    assert complete
    return run.with_name("search-explained")


def test_the_path_names_what_was_planted(explained: Path) -> None:
    view = view_of(explained)
    (path,) = view.paths
    assert [change.name for change in path.changes][:3] == ["adsh.gamma", "train.lr", "train.batch"]
    for change in path.changes:
        for row in (change.step, change.left_out):
            assert row["seeds"] == 5
            if change.name in EFFECTS:
                assert row["verdict"] == "better"
                assert 0 < row["delta_low"] < EFFECTS[change.name] < row["delta_high"]
            else:
                assert row["verdict"] in ("undecided", "within margin")
                assert row["delta_low"] < 0 < row["delta_high"]
    text = answer(results.read_study(explained), results.load(explained))
    assert text.startswith("adsh.gamma (+0.0")
    assert "earn the gain of +0.1" in text


def test_the_path_ends_at_the_best_config(explained: Path) -> None:
    """The steps add up to what the search measured on the same seeds: the judging cells are those of the search."""
    (path,) = view_of(explained).paths
    search = results.load(explained.with_name("search")).to_pylist()
    judged = {
        name: [row["map"] for row in search if row["variant"] == name and row["stage"] == "judge"]
        for name in ("reference", "best")
    }
    means = {name: sum(values) / len(values) for name, values in judged.items()}
    assert path.reference_mean == pytest.approx(means["reference"])
    gained = sum(change.step["delta"] for change in path.changes)
    assert path.reference_mean + gained == pytest.approx(means["best"])
    assert path.whole["delta"] == pytest.approx(gained)


def test_cells_are_shared_and_none_is_twice(explained: Path) -> None:
    record = results.read_study(explained)
    assert record.adopted == 10
    assert record.explanation is not None
    judging = {cell.seed for cell in record.cells if cell.stage == "judge"}
    choosing = {cell.seed for cell in record.cells if cell.stage == "choose"}
    assert judging == {1, 2, 3, 4, 5}
    assert choosing == {6, 7, 8} == set(record.explanation.choosing_seeds)
    # All pairs of a step and a later change, with the reference; and the path with each change left out.
    assert len({cell.cell for cell in record.cells if cell.stage == "choose"}) == 3 * (1 + 8 * 9 // 2 - 1)
    assert len({cell.cell for cell in record.cells if cell.stage == "judge"}) == 5 * (9 + 7)


def test_a_killed_explanation_goes_on(explained: Path, tmp_path: Path) -> None:
    run = tmp_path / "search"
    score = planted(EFFECTS)
    run_search(run, make_search(), score)
    ran = []
    complete = False
    for most in (0, 5, 40, 70, 500):
        assert not complete
        complete, jobs = explain(run, score, most, margin=0.01)
        ran += [job.cell for job in jobs]
        if (run.with_name("search-explained") / "study.json").exists():
            write(run.with_name("search-explained"))
    assert complete
    assert len(ran) == len(set(ran))
    again = run.with_name("search-explained")
    assert _table(again) == _table(explained)
    complete, jobs = explain(run, score, margin=0.01)
    assert complete
    assert not jobs


def _table(run: Path) -> str:
    write(run)
    return (run / "tables" / "changes.csv").read_text()


def test_few_changes_have_exact_shapley_values(tmp_path: Path) -> None:
    paths = ["train.lr", "adsh.gamma", "train.batch"]
    run = tmp_path / "search"

    def _score(config: Mapping[str, Any], seed: int) -> float:
        made = {path for path in paths if value_at(config, path) == BEST[path]}
        value = 0.3 + 0.1 * ({"train.lr", "adsh.gamma"} <= made) + 0.02 * ("train.batch" in made)
        return value + 0.001 * random.Random(f"{seed} {sorted(made)}").random()

    run_search(run, make_search(paths), _score)
    explain(run, _score)
    (path,) = view_of(run.with_name("search-explained")).paths
    shapley = {change.name: change.shapley for change in path.changes}
    assert all(value is not None for value in shapley.values())
    for name, expected in {"train.lr": 0.05, "adsh.gamma": 0.05, "train.batch": 0.02}.items():
        value = shapley[name]
        assert value is not None
        assert value.mean == pytest.approx(expected, abs=0.001)
        assert value.low is not None
        assert value.high is not None
        assert value.low < value.mean < value.high
    assert sum(value.mean for value in shapley.values() if value) == pytest.approx(path.whole["delta"])
    # Neither of the two gains without the other: the last of them to be taken has all of their gain.
    last = max(change.position for change in path.changes if change.name != "train.batch")
    assert path.changes[last - 1].step["delta"] == pytest.approx(0.1, abs=0.002)


def test_a_conditional_setting_travels_with_the_one_that_it_needs(tmp_path: Path) -> None:
    def _space(trial: Any) -> dict[str, Any]:
        settings = {"srem.regions": trial.suggest_categorical("srem.regions", [0, 30])}
        if settings["srem.regions"] > 20:
            settings["esrl.erased"] = trial.suggest_categorical("esrl.erased", [0.5, 0.7])
        return settings

    def _score(config: Mapping[str, Any], seed: int) -> float:
        gain = 0.1 if config["srem"]["regions"] == 30 and config["esrl"]["erased"] in (0.5, 0.7) else 0.0
        return 0.5 + gain + 0.001 * random.Random(f"{seed} {gain}").random()

    search = make_search([], space=_space, reference={"srem.regions": 0}, starts=[], trials=3, judge_seeds=3)
    run = tmp_path / "search"
    run_search(run, search, _score)
    explain(run, _score)
    (path,) = view_of(run.with_name("search-explained")).paths
    assert [change.name for change in path.changes] == ["srem.regions + esrl.erased"]
    assert path.changes[0].step["delta"] == pytest.approx(0.1, abs=0.002)


def test_each_group_has_a_path_and_all_share_the_level(tmp_path: Path) -> None:
    run = tmp_path / "search"
    paths = ["train.lr", "adsh.gamma"]
    score = planted({"adsh.gamma": 0.05})
    run_search(run, make_search(paths, group=factor("hash.bits", 12, 24)), score)
    explain(run, score)
    view = view_of(run.with_name("search-explained"))
    assert [path.group for path in view.paths] == ["hash.bits=12", "hash.bits=24"]
    assert view.comparisons == 2 * 3
    for path in view.paths:
        assert path.changes[0].name == "adsh.gamma"
        step = path.changes[0].step
        assert step["p_holm"] == pytest.approx(min(1, 6 * step["p"])) or step["p_holm"] >= step["p"]
    text = answer(
        results.read_study(run.with_name("search-explained")), results.load(run.with_name("search-explained"))
    )
    assert "hash.bits=12: adsh.gamma" in text


def test_failed_cells_are_holes(tmp_path: Path) -> None:
    run = tmp_path / "search"
    paths = ["train.lr", "adsh.gamma", "train.batch"]
    score = planted({"adsh.gamma": 0.05})

    def _failing(config: Mapping[str, Any], seed: int) -> float | None:
        made = {path for path in paths if value_at(config, path) == BEST[path]}
        return None if made == {"train.lr"} or (made == {"adsh.gamma"} and seed == 2) else score(config, seed)

    run_search(run, make_search(paths), score)
    complete, _ = explain(run, _failing)
    assert complete
    view = view_of(run.with_name("search-explained"))
    assert view.is_complete
    (path,) = view.paths
    assert path.changes[0].name == "adsh.gamma"
    assert path.changes[0].step["seeds"] == 4
    assert not view.has_shapley, "a combination has no result"
    _, jobs = explain(run, score, options=Options(retry_failed=True))
    assert {job.seed for job in jobs} >= {2}


def test_more_seeds_later_keep_the_path_and_are_labeled(tmp_path: Path) -> None:
    run = tmp_path / "search"
    score = planted(EFFECTS)
    run_search(run, make_search(["train.lr", "adsh.gamma"]), score)
    explain(run, score)
    explained = run.with_name("search-explained")
    before = [change.name for change in view_of(explained).changes]
    _, jobs = explain(run, score, seeds=7)
    assert {job.seed for job in jobs} == {9, 10}
    assert [change.name for change in view_of(explained).changes] == before
    assert results.read_study(explained).looked == [5]
    assert "the seeds were raised after a look at 5" in answer(results.read_study(explained), results.load(explained))


def test_wrong_requests_are_refused(tmp_path: Path) -> None:
    run = tmp_path / "search"
    score = planted({})
    run_search(run, make_search(starts=[REFERENCE]), score)
    with pytest.raises(UserError, match="is the reference itself"):
        explain(run, score)
    with pytest.raises(UserError, match="--profile is decided by the search"):
        explain(run, score, profile="paper")
    with pytest.raises(UserError, match="not a run directory"):
        explain_request.check(SweepRequest(""), str(tmp_path / "none"))
    unjudged = tmp_path / "unjudged"
    run_search(unjudged, make_search(judge_seeds=0), score)
    with pytest.raises(UserError, match="has not judged its best config"):
        explain(unjudged, score)


def test_a_better_config_by_a_lower_metric(tmp_path: Path) -> None:
    """A metric that chooses by its minimum: the order follows it, and the judged metric has its own direction."""
    run = tmp_path / "search"
    paths = ["train.lr", "adsh.gamma"]
    score = planted({"adsh.gamma": 0.05, "train.lr": 0.02})
    run_search(run, make_search(paths, mode="min"), score)
    explain(run, score)
    view = view_of(run.with_name("search-explained"))
    assert [change.name for change in view.changes] == ["train.lr", "adsh.gamma"]
    assert all(change.step["delta"] > 0 for change in view.changes)


def test_the_page_and_the_tables(explained: Path) -> None:
    write(explained)
    page = (explained / "report.html").read_text()
    assert "plot-path-0" in page
    assert "adsh.gamma 200 \N{RIGHTWARDS ARROW} 100" in page
    content = json.loads((explained / "tables" / "changes.json").read_text())
    assert content["complete"]
    assert len(content["changes"]) == 8
    assert math.isclose(
        content["paths"][0]["difference"]["delta"], sum(change["delta"] for change in content["changes"]), abs_tol=1e-9
    )
    latex = (explained / "tables" / "changes.tex").read_text()
    assert r"\begin{tabular}" in latex
