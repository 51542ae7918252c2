"""Explanations judged at looks, without Ray: what stops when, shared cells, continuation, and what is refused."""

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from dashboards.ablation.judging.looks import look_cell
from dashboards.explanation.looks_section import looks_table
from dashboards.report import answer, write
from raysearch.core import Interrupt, UserError
from raysearch.data import shards
from raysearch.engine.drivers import open_driver
from raysearch.engine.drivers.explanation import request as explain_request
from raysearch.engine.drivers.sweep_request import SweepRequest
from raysearch.engine.options import Options, Run, RunContext
from raysearch.runs import Surroundings, raced_pairs, results

from ..without_cluster import Score, explain, run_search
from .planted_search import BEST, EFFECTS, make_search, planted, value_at, view_of

LOOKS = (3, 5, 8, 12)
MARGIN = 0.004
ABLATION = Path(__file__).parents[3] / "fixtures" / "earlier_version" / "ablation"
FEW = ["train.lr", "adsh.gamma", "train.batch"]


def race(search_run: Path, score: Score, most: int | None = None, **request: Any) -> tuple[bool, list[Any]]:
    given: dict[str, Any] = {"looks": ",".join(map(str, LOOKS)), "margin": MARGIN}
    return explain(search_run, score, most, **given | request)


def explained_beside(search_run: Path) -> Path:
    return search_run.with_name(f"{search_run.name}-explained")


def judged_cells(run: Path) -> Counter[str]:
    return Counter(cell.variant for cell in results.read_study(run).cells if cell.stage == "judge")


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run of a race in which three settings of eight matter."""
    run = tmp_path_factory.mktemp("raced") / "search"
    score = planted(EFFECTS)
    run_search(run, make_search(), score)
    complete, jobs = race(run, score)
    assert complete
    assert len(jobs) == len({job.cell for job in jobs})
    return explained_beside(run)


def race_naively(differences: np.ndarray, looks: Sequence[int], margin: float | None) -> list[tuple[str, int]]:
    """Return verdict and look of each comparison, as docs/adaptive_seeds.md states the rule.

    Args:
        differences: (comparisons, seeds).
        looks: numbers of seeds.
        margin: of a gain that does not matter.
    """
    ends = [("undecided", 0)] * len(differences)
    smallest = [1.0] * len(differences)
    before = 0.0
    for number, count in enumerate(looks, start=1):
        share = (count / looks[-1]) ** 2 - before
        before += share
        waiting = [index for index, (verdict, _) in enumerate(ends) if verdict == "undecided"]
        bounds = {}
        for index in waiting:
            test = stats.ttest_1samp(differences[index, :count], 0)
            smallest[index] = min(smallest[index], test.pvalue / share)
            bounds[index] = test.confidence_interval(1 - 0.05 * share)
        order = sorted(range(len(smallest)), key=lambda index: smallest[index])
        holm = {}
        largest = 0.0
        for rank, index in enumerate(order):
            largest = max(largest, (len(order) - rank) * smallest[index])
            holm[index] = largest
        for index in waiting:
            verdict = "undecided"
            if holm[index] <= 0.05:
                verdict = "better" if differences[index, :count].mean() > 0 else "worse"
            elif margin is not None and max(abs(bounds[index].low), abs(bounds[index].high)) <= margin:
                verdict = "within margin"
            ends[index] = (verdict, number)
    return ends


def test_each_comparison_ends_at_the_look_of_the_rule(raced: Path) -> None:
    record = results.read_study(raced)
    assert (record.looks, record.margin) == (list(LOOKS), MARGIN)
    assert record.explanation is not None
    configs = {variant.name: variant.config for variant in record.variants}
    seeds = [1, 2, 3, 4, 5, *range(9, 16)]  # those of the search, then fresh ones; 6 to 8 chose the order
    score = planted(EFFECTS)
    pairs = raced_pairs.compared_pairs(record.explanation)
    differences = [
        [score(configs[made], seed) - score(configs[without], seed) for seed in seeds] for without, made in pairs
    ]
    expected = race_naively(np.array(differences), LOOKS, MARGIN)
    view = view_of(raced)
    assert [(view.races[pair].row["verdict"], view.races[pair].row["look"]) for pair in pairs] == expected
    assert len({look for _, look in expected}) > 2, "they end at different looks"
    used = judged_cells(raced)
    for (without, made), (_, look) in zip(pairs, expected, strict=True):
        assert min(used[without], used[made]) >= LOOKS[look - 1]
    for name, number in used.items():
        takes_part = [look for pair, (_, look) in zip(pairs, expected, strict=True) if name in pair]
        floor = 5 if name in ("reference", "best") else 3
        assert number == max(floor, LOOKS[max(takes_part) - 1]), name
    assert view.is_complete
    assert view.cells_saved == 16 * LOOKS[-1] - sum(used.values()) > 0


def test_the_planted_changes_are_named(raced: Path) -> None:
    (path,) = view_of(raced).paths
    assert [change.name for change in path.changes][:3] == ["adsh.gamma", "train.lr", "train.batch"]
    for change in path.changes:
        expected = {"better"} if change.name in EFFECTS else {"undecided", "within margin"}
        assert {change.step["verdict"], change.left_out["verdict"]} <= expected
    assert path.whole["seeds"] == 5, "the whole difference has the seeds of the search"
    assert answer(results.read_study(raced), results.load(raced)).startswith("adsh.gamma (+0.0")


def test_cells_of_the_search_are_shared(raced: Path) -> None:
    record = results.read_study(raced)
    assert record.adopted == 10
    assert not record.warnings
    assert record.looked == []


def test_a_killed_race_goes_on(raced: Path, tmp_path: Path) -> None:
    run = tmp_path / "search"
    score = planted(EFFECTS)
    run_search(run, make_search(), score)
    ran = []
    decided: dict[tuple[str, str], str] = {}
    for most in (0, 130, 35, 30, 500):
        complete, jobs = race(run, score, most)
        ran += [job.cell for job in jobs]
        beside = explained_beside(run)
        write(beside)
        for pair, comparison in view_of(beside).races.items():
            assert decided.get(pair, "undecided") in ("undecided", comparison.row["verdict"]), "a verdict stays"
            decided[pair] = comparison.row["verdict"]
    assert complete
    assert len(ran) == len(set(ran))
    assert _tables(beside) == _tables(raced)
    complete, jobs = race(run, score)
    assert (complete, jobs) == (True, [])


def _tables(run: Path) -> tuple[str, Counter[str]]:
    write(run)
    return (run / "tables" / "changes.csv").read_text(), judged_cells(run)


def test_what_was_declared_stays(raced: Path) -> None:
    search = raced.with_name("search")
    score = planted(EFFECTS)
    for changed, message in (
        ({"looks": "3,5,8"}, "declared the looks 3, 5, 8, 12, here 3, 5, 8"),
        ({"margin": 0.01}, "declared the margin 0.004, here 0.01"),
    ):
        with pytest.raises(UserError, match=message):
            _choose(search, **{"looks": "3,5,8,12", "margin": MARGIN} | changed)
    with pytest.raises(UserError, match="is an adaptive run, judged at 3, 5, 8, 12 seeds, and 5 fixed seeds would end"):
        _choose(search, margin=MARGIN)
    _choose(search, looks="3,5,8,12", margin=MARGIN)
    complete, jobs = race(search, score)
    assert (complete, jobs) == (True, [])


def _choose(search: Path, **request: Any) -> None:
    """Choose the run as a command does before it begins."""
    from raysearch.runs import continuation

    checked = explain_request.check(SweepRequest("", **request), str(search))
    plan = checked.plan.for_data("data")
    continuation.choose_run(checked.request.out, open_driver(plan).describe(Surroundings(settings={})), embedded=True)


def test_looks_are_declared_before_the_results(tmp_path: Path) -> None:
    """A race in the place of fixed seeds is refused; one beside them takes their cells over and warns."""
    run = tmp_path / "search"
    score = planted({"adsh.gamma": 0.05})
    run_search(run, make_search(FEW), score)
    explain(run, score)
    with pytest.raises(UserError, match="has results of 5 fixed seeds, and looks are declared before the first"):
        _choose(run, looks="3,5")
    beside = tmp_path / "raced"
    complete, _ = race(run, score, out=str(beside))
    assert complete
    (warning,) = results.read_study(beside).warnings
    assert "which had results of this study before its looks were declared" in warning
    assert "before its looks were declared" in write(beside).read_text()


def test_few_changes_have_shapley_values_of_the_first_look(tmp_path: Path) -> None:
    run = tmp_path / "search"
    score = planted({"adsh.gamma": 0.05, "train.lr": 0.03})
    run_search(run, make_search(FEW), score)
    race(run, score)
    used = judged_cells(explained_beside(run))
    assert len(used) == 8, "all combinations"
    (path,) = view_of(explained_beside(run)).paths
    configs = {variant.name: variant.config for variant in results.read_study(explained_beside(run)).variants}
    whole = [score(configs["best"], seed) - score(configs["reference"], seed) for seed in (1, 2, 3)]
    values = [change.shapley for change in path.changes if change.shapley]
    assert [value.seeds for value in values] == [3, 3, 3]
    assert sum(value.mean for value in values) == pytest.approx(np.mean(whole))


def test_the_whole_difference_has_the_seeds_of_the_search_although_all_ends_at_the_first_look(tmp_path: Path) -> None:
    run = tmp_path / "search"
    score = planted({"adsh.gamma": 0.5, "train.lr": 0.4, "train.batch": 0.3})
    run_search(run, make_search(FEW), score)
    race(run, score)
    view = view_of(explained_beside(run))
    assert {pair.row["look"] for pair in view.raced} == {1}
    assert view.paths[0].whole["seeds"] == 5


def test_a_look_shows_the_gain_over_its_seeds(raced: Path) -> None:
    record = results.read_study(raced)
    configs = {variant.name: variant.config for variant in record.variants}
    score = planted(EFFECTS)
    seeds = [1, 2, 3, 4, 5, *range(9, 16)]
    rows = {compared.label: compared for compared in looks_table(view_of(raced)).rows}
    change = view_of(raced).changes[-1]  # it does nothing, so its comparison goes on to a later look
    compared = rows[f"step {change.position}: {change.name}"]
    pair = next(pair for pair, looked in view_of(raced).races.items() if looked == compared.raced)
    differences = [score(configs[pair[1]], seed) - score(configs[pair[0]], seed) for seed in seeds]
    judged = compared.raced.row["look"]
    assert judged > 1
    for number, count in enumerate(LOOKS, start=1):
        cell = look_cell(compared.raced.looks, number)
        if number <= judged:
            assert cell.sort_key == pytest.approx(np.mean(differences[:count]))
        else:
            assert cell.sort_key is None


def test_failed_cells_of_a_judged_look_stay(tmp_path: Path) -> None:
    run = tmp_path / "search"
    score = planted({"adsh.gamma": 0.05})

    def _failing(config: Mapping[str, Any], seed: int) -> float | None:
        made = {path for path in FEW if value_at(config, path) == BEST[path]}
        return None if made == {"adsh.gamma"} and seed == 2 else score(config, seed)

    run_search(run, make_search(FEW), score)
    complete, _ = race(run, _failing, margin=None, looks="3,5")
    assert complete
    (path,) = view_of(explained_beside(run)).paths
    assert path.changes[0].step["seeds"] == 4
    complete, jobs = race(run, score, margin=None, looks="3,5", options=Options(retry_failed=True))
    assert (complete, jobs) == (True, [])


def test_a_change_that_does_nothing_by_itself_takes_no_seeds(tmp_path: Path) -> None:
    """The size of no regions is idle. Its step compares a config with itself, which no seed would ever decide."""
    run = tmp_path / "search"

    def _score(config: Mapping[str, Any], seed: int) -> float:
        regions = config["srem"]["regions"]
        size = config["srem"]["size"] if regions else 0
        gain = 0.0 if not regions else 0.1 if size > 3 else -0.05  # sizes are scaled to the images
        return 0.5 + gain + random.Random(f"{seed} {regions} {size}").gauss(0, 0.001)

    search = make_search(
        [],
        space={"srem.regions": _choice(0, 30), "srem.size": _choice(10, 20)},
        reference={"srem.regions": 0, "srem.size": 10},
        starts=[{"srem.regions": 30, "srem.size": 20}],
        judge_seeds=3,
    )
    run_search(run, search, _score)
    complete, _ = race(run, _score, margin=None)
    assert complete
    view = view_of(explained_beside(run))
    first, second = view.changes
    assert (first.name, first.step["verdict"]) == ("srem.size", "no interval")
    assert first.raced_step is None
    assert second.step["verdict"] == "better"
    assert view.is_complete
    assert max(judged_cells(explained_beside(run)).values()) < LOOKS[-1]


def _choice(*levels: int) -> Any:
    from ray import tune

    return tune.choice(levels)


def test_the_plan_counts_at_most_what_runs(tmp_path: Path) -> None:
    """Without an effect and a margin every comparison goes on to the last look, and the plan is exact."""
    run = tmp_path / "search"
    score = planted({}, noise=0.01)
    run_search(run, make_search(FEW), score)
    checked = explain_request.check(SweepRequest("", looks="3,5"), str(run))
    plan = checked.plan.for_data("data")
    lines, message = _plan(plan, tmp_path / "none")
    assert "judged at 3, 5 seeds" in lines
    assert f"at most {plan.most_cells} cells" in lines
    assert message.forecast.cells == plan.most_cells
    assert plan.most_cells / 2 < message.forecast.expected_cells <= plan.most_cells
    assert f"about {message.forecast.expected_cells} cells, if a third of the changes earn the gain" in lines
    complete, jobs = race(run, score, looks="3,5", margin=None)
    assert complete
    assert len(jobs) + 2 * 5 == plan.most_cells, "the search has run the five seeds of both ends"


def _plan(plan: Any, directory: Path) -> tuple[str, Any]:
    driver = open_driver(plan)
    record = driver.describe(Surroundings(settings={}, profile_reason="", command="raysearch sweep"))
    console = Console(record=True, width=200, quiet=False, file=(directory.parent / "lines").open("w"))
    context = RunContext(Run(directory, None, shards.NO_DATA, record), Options(), console, Interrupt())
    driver.dry_run(context)
    return console.export_text(), driver.plan(context, str(directory))


def test_the_page_shows_the_looks(raced: Path) -> None:
    page = write(raced).read_text()
    assert 'id="looks"' in page
    assert "step 1: adsh.gamma" in page
    assert "best without adsh.gamma" in page
    assert "look 2, 5 seeds" in page
    assert "judging cells are saved in all" in page
    content = json.loads((raced / "tables" / "changes.json").read_text())
    assert content["looks"] == list(LOOKS)
    assert {change["look"] for change in content["changes"]} <= {1, 2, 3, 4}
    assert "p (looks, Holm)" in (raced / "tables" / "changes.md").read_text()


def test_contradicting_seeds_are_refused(raced: Path) -> None:
    search = raced.with_name("search")
    with pytest.raises(UserError, match="--seeds 5 is a fixed number, and --looks is for adaptive seeds"):
        explain_request.check(SweepRequest("", seeds="5", looks="3,5"), str(search))
    with pytest.raises(UserError, match="did you mean 'adaptive'"):
        explain_request.check(SweepRequest("", seeds="adaptiv"), str(search))
    plan = explain_request.check(SweepRequest("", seeds="5", margin=0.01), str(search)).plan
    assert (plan.adaptive, plan.margin) == (None, 0.01)
    plan = explain_request.check(SweepRequest("", seeds="adaptive"), str(search)).plan
    assert plan.adaptive.looks == (3, 5, 8, 12, 20)


@pytest.mark.parametrize("study", ["", "srem_ablation"])
def test_an_ablation_is_no_search_to_explain(study: str) -> None:
    with pytest.raises(UserError, match="is not a run of a search; --explain takes the run directory of one"):
        explain_request.check(SweepRequest(study), str(ABLATION))
