"""Suggestions without Ray: the configs that are asked for, the outcomes that are reported, and duplicates."""

import math
from pathlib import Path
from typing import Any

import optuna
import pytest
from ray import tune

from raysearch.core import UserError
from raysearch.engine.drivers.search import SearchDriver
from raysearch.engine.drivers.search_record import best_config
from raysearch.engine.drivers.suggestions import Suggestions
from raysearch.engine.trials.jobs import Job
from raysearch.runs import results
from raysearch.studies.design import Search, factor, search_plan
from raysearch.studies.design.search_methods import SAMPLERS

SPACE = {"train.lr": tune.loguniform(1e-4, 1e-1), "srem.regions": tune.choice([0, 10, 50])}


def plan(**changed: Any) -> search_plan.SearchPlan:
    given: dict[str, Any] = {"question": "Which?", "task": "retrieval", "space": SPACE, "trials": 10, "judge_seeds": 2}
    return search_plan.plan_search("study", Search(**given | changed), "laptop", "data")


def suggestions(folder: Path, planned: search_plan.SearchPlan, group: int = 0, **more: Any) -> Suggestions:
    return Suggestions(planned, planned.groups[group], folder / "optuna.db", str(folder / "checkpoints"), **more)


def score(config: dict[str, Any], seed: int = 0) -> float:
    """Best at a rate of 0.01 with 10 regions; a seed shifts it."""
    rate = config["train"]["lr"]
    regions = config["srem"]["regions"]
    return 1 - 0.2 * abs(math.log10(rate) + 2) - 0.1 * (regions != 10) + 0.01 * seed


def record(job: Job, status: str = "finished", **more: Any) -> dict[str, Any]:
    value = score(job.config, job.seed) if status == "finished" else None
    return {"cell": job.cell, "status": status, "map_validation": value, "epoch_seconds": 1.0, **more}


def drain(source: Suggestions, answers: dict[str, dict[str, Any]] | None = None) -> list[Job]:
    """Run every job to its end, and return the jobs that ran; cells in `answers` are answered from there."""
    ran = []
    while (job := source.next()) is not None:
        if answers is None or job.cell not in answers:
            ran.append(job)
        source.ended(job, (answers or {}).get(job.cell) or record(job))
        if answers is not None:
            answers.setdefault(job.cell, record(job))
    assert source.exhausted()
    return ran


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("metrics", [["map_validation"], ["map_validation", "epoch_seconds"]])
def test_the_file_names_its_metrics(metrics: list[str], tmp_path: Path) -> None:
    modes = ["max", "min"][: len(metrics)]
    planned = plan(metric=metrics, mode=modes, scheduler=None, sampler="random")
    suggestions(tmp_path, planned)
    suggestions(tmp_path, planned)  # another driver of the same search
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path / 'optuna.db'}")
    assert study.metric_names == metrics


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_runs_its_trials(sampler: str, tmp_path: Path) -> None:
    space = {"train.lr": tune.loguniform(1e-4, 1e-1), "esrl.positive": tune.uniform(0.01, 1)}
    if sampler == "grid":
        space = {"train.lr": tune.choice([1e-3, 1e-2]), "esrl.positive": tune.quniform(0.1, 0.5, 0.1)}
    planned = plan(sampler=sampler, trials=10, space=space)
    jobs = drain(suggestions(tmp_path, planned))
    assert len({job.cell for job in jobs}) == len(jobs) == 10
    trials = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path}/optuna.db").trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 10
    for trial, job in zip(trials, jobs, strict=True):
        assert trial.value == pytest.approx(score(job.config))
        assert trial.params["train.lr"] == job.config["train"]["lr"]


def test_an_exhausted_space_ends_the_search_and_costs_nothing_more(tmp_path: Path) -> None:
    planned = plan(space={"srem.regions": tune.choice([0, 10, 50])}, trials=50)
    source = suggestions(tmp_path, planned)
    jobs = drain(source)
    assert sorted(job.config["srem"]["regions"] for job in jobs) == [0, 10, 50]
    assert source.duplicates >= 50
    trials = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path}/optuna.db").trials
    assert len(trials) == 3 + source.duplicates
    values = {trial.params["srem.regions"]: set() for trial in trials}
    for trial in trials:
        values[trial.params["srem.regions"]].add(trial.value)
    assert all(len(reported) == 1 for reported in values.values()), "a duplicate was given another value"


def test_a_duplicate_of_a_running_config_waits_for_its_value(tmp_path: Path) -> None:
    planned = plan(space={"srem.regions": tune.choice([10])}, trials=5)
    source = suggestions(tmp_path, planned)
    job = source.next()
    assert job is not None
    assert source.next() is None, "all that can be suggested is running"
    assert not source.exhausted()
    source.ended(job, record(job))
    assert source.exhausted()
    trials = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path}/optuna.db").trials
    assert {trial.value for trial in trials} == {score(job.config)}


def test_starting_points_come_first(tmp_path: Path) -> None:
    starts = [{"train.lr": 0.01, "srem.regions": 10}, {"train.lr": 0.02, "srem.regions": 0}]
    jobs = drain(suggestions(tmp_path, plan(starts=starts)))
    assert [(job.config["train"]["lr"], job.config["srem"]["regions"]) for job in jobs[:2]] == [(0.01, 10), (0.02, 0)]


def test_seeds_are_averaged(tmp_path: Path) -> None:
    source = suggestions(tmp_path, plan(seeds=3, trials=4))
    jobs = drain(source)
    assert [job.seed for job in jobs] == [0, 1, 2] * 4
    for config, trial in zip(source.configs, source.optuna.study.trials, strict=True):
        assert trial.value == pytest.approx(score(config.variant.config.model_dump(), 1))


def test_a_stopped_seed_ends_its_config(tmp_path: Path) -> None:
    source = suggestions(tmp_path, plan(seeds=3, trials=2))
    first = source.next()
    assert first is not None
    source.stepped(first, {"iteration": 2, "map_validation": 0.25}, 9)
    source.ended(first, record(first, "stopped"))
    second = source.next()
    assert second is not None
    assert second.seed == 0, "a further seed of a stopped config was run"
    trial = source.optuna.study.trials[0]
    assert trial.state == optuna.trial.TrialState.PRUNED
    assert trial.intermediate_values == {2: 0.25}
    assert source.configs[0].value("map_validation") is None


def test_a_sampler_that_overlooks_pruned_trials_is_told_the_last_value(tmp_path: Path) -> None:
    source = suggestions(tmp_path, plan(sampler="gp", trials=2))
    first = source.next()
    assert first is not None
    source.ended(first, record(first, "stopped") | {"map_validation": 0.99})
    drain(source)
    stopped, whole = source.optuna.study.trials
    assert (stopped.state.name, stopped.value, stopped.user_attrs["stopped"]) == ("COMPLETE", 0.99, True)
    assert source.configs[0].value("map_validation") is None, "a stopped config passes for a finished one"
    best = best_config(source.configs, plan(sampler="gp"))
    assert best is not None
    assert best.variant.name == whole.user_attrs["variant"]


def test_a_failed_config_is_told_and_can_be_tried_again(tmp_path: Path) -> None:
    planned = plan(trials=2)
    answers = {}
    source = suggestions(tmp_path, planned)
    bad = source.next()
    assert bad is not None
    source.ended(bad, record(bad, "failed"))
    answers = {job.cell: record(job) for job in drain(source)}
    assert [trial.state.name for trial in source.optuna.study.trials] == ["FAIL", "COMPLETE"]

    run_again = drain(suggestions(tmp_path, planned), {**answers, bad.cell: record(bad, "failed")})
    assert not run_again
    again = drain(suggestions(tmp_path, planned, retry_failed=True), dict(answers))
    assert [job.cell for job in again] == [bad.cell]
    states = [trial.state.name for trial in source.optuna.study.trials]
    assert states == ["FAIL", "COMPLETE", "COMPLETE"]


def test_a_search_goes_on_where_its_driver_died(tmp_path: Path) -> None:
    planned = plan(trials=8)
    answers = {}
    source = suggestions(tmp_path, planned)
    for _ in range(3):
        job = source.next()
        assert job is not None
        source.ended(job, record(job))
        answers[job.cell] = record(job)
    open_jobs = [source.next(), source.next()]  # asked for, never reported
    unreported = source.next()
    assert unreported is not None
    answers[unreported.cell] = record(unreported)  # stored; the driver died before it reported to Optuna

    later = suggestions(tmp_path, planned)
    ran = drain(later, answers)
    assert [job.cell for job in ran[:2]] == [job.cell for job in open_jobs if job is not None]
    assert len(later.configs) == 8
    assert len(ran) == 8 - 4
    assert {trial.state.name for trial in later.optuna.study.trials} == {"COMPLETE"}
    assert not drain(suggestions(tmp_path, planned), answers), "the finished search runs something"

    longer = plan(trials=11)
    assert len(drain(suggestions(tmp_path, longer), answers)) == 3, "a raised budget is not the difference"


def test_another_space_is_another_optuna_study(tmp_path: Path) -> None:
    names = set()
    for space in (
        SPACE,
        {"train.lr": tune.loguniform(1e-5, 1e-1)},
        conditional,
    ):
        names.add(suggestions(tmp_path, plan(space=space)).optuna.name)
    assert len(names) == 3


def conditional(trial: optuna.Trial) -> dict[str, Any]:
    if trial.suggest_categorical("srem.regions", [0, 10]):
        trial.suggest_int("srem.size", 16, 64)
    return {"train.batch": 32}


def test_a_conditional_space_has_its_own_paths(tmp_path: Path) -> None:
    source = suggestions(tmp_path, plan(space=conditional))
    jobs = drain(source)
    assert all(job.config["train"]["batch"] == 32 for job in jobs)
    with_size = {"srem.size" in config.variant.settings for config in source.configs}
    assert with_size == {True, False}
    for config in source.configs:
        assert ("srem.size" in config.variant.settings) == (config.variant.settings["srem.regions"] == 10)
    assert sum(config.variant.settings["srem.regions"] == 0 for config in source.configs) == 1, "no erasing, run twice"


def test_several_metrics_have_a_front(tmp_path: Path) -> None:
    planned = plan(metric=["map_validation", "epoch_seconds"], mode=["max", "min"], trials=6)
    source = suggestions(tmp_path, planned)
    seconds = iter([3.0, 1.0, 2.0, 5.0, 4.0, 6.0])
    while (job := source.next()) is not None:
        source.ended(job, record(job) | {"epoch_seconds": next(seconds)})
    points = {c.variant.name: (c.value("map_validation"), c.value("epoch_seconds")) for c in source.configs}
    front = [
        name
        for name, (value, cost) in points.items()
        if not any(v >= value and c <= cost and (v, c) != (value, cost) for v, c in points.values())
    ]
    assert sorted(source.optuna.front()) == sorted(front)
    assert 0 < len(front) < 6


def test_groups_are_searched_apart(tmp_path: Path) -> None:
    planned = plan(group=factor("hash.bits", 12, 24), trials=3)
    short = suggestions(tmp_path, planned, 0)
    long = suggestions(tmp_path, planned, 1)
    assert short.optuna.name != long.optuna.name
    assert {job.config["hash"]["bits"] for job in drain(short)} == {12}
    assert {job.config["hash"]["bits"] for job in drain(long)} == {24}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"space": {"train.lr": 0.1}}, "not a distribution of Ray Tune"),
        ({"space": {"train.lr": tune.qloguniform(1e-4, 1e-1, 1e-4)}}, "both logarithmic and quantized"),
        ({"space": {"train.milestones": tune.choice([(0.5,), (0.6,)])}}, "a choice is a number"),
        ({"space": {"train.lr": tune.grid_search([1, 2])}}, "not a distribution of Ray Tune"),
        ({"space": {"train.lr": tune.randn()}}, "space: "),
        ({"sampler": "grid"}, "'train.lr' is continuous"),
        ({"sampler_options": {"n_startup": 3}}, "did you mean 'n_startup_trials'"),
        ({"scheduler": "asha", "scheduler_options": {"grace": 3}}, "scheduler 'asha'"),
        ({"space": lambda trial: {"srem.region": 1}}, "did you mean 'srem.regions'"),
        ({"space": lambda trial: 1 / 0}, "the function raised ZeroDivisionError"),
        ({"space": lambda trial: {"srem.size": 500}}, "none of 20 draws can be run"),
    ],
)
def test_a_search_that_cannot_run_is_an_error_before_the_first_trial(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SearchDriver(plan(**changed)).validate()


def test_a_config_that_failed_by_its_input_is_tried_again_by_itself(tmp_path: Path) -> None:
    planned = plan(trials=3)
    source = suggestions(tmp_path, planned)
    errors = ["FileNotFoundError: no file 'a.pth'", "NonFiniteLoss: the loss became nan", None]
    answers = {}
    for error in errors:
        job = source.next()
        assert job is not None
        ended = record(job, "failed" if error else "finished") | {"error": error, "seed": 0}
        results.write_cell(tmp_path / "cells", ended)
        answers[job.cell] = ended
        source.ended(job, ended)
    missing, diverged, _ = answers
    answers.pop(missing)  # the store does not answer with such a failure
    for _ in range(2):  # and again by the next driver, which finds two trials of the config
        later = suggestions(tmp_path, planned)
        ran = drain(later, dict(answers))
        assert [job.cell for job in ran] == [missing]
        assert len(later.configs) == 3, "a config was counted twice"
        assert diverged in answers
    answers[missing] = record(ran[0])
    results.write_cell(tmp_path / "cells", answers[missing] | {"seed": 0})
    assert drain(suggestions(tmp_path, planned), dict(answers)) == []


def test_the_number_of_cells_follows_early_stopping(tmp_path: Path) -> None:
    source = suggestions(tmp_path, plan(seeds=3, trials=4))
    assert source.count_cells() == 12
    job = source.next()
    assert job is not None
    source.ended(job, record(job, "stopped"))
    assert source.count_cells() == 10, "two seeds were skipped"
    job = source.next()
    assert job is not None
    source.ended(job, record(job))
    assert source.count_cells() == 10
    ran = drain(source)
    assert source.count_cells() == 2 + len(ran) == 10

    small = suggestions(tmp_path / "small", plan(space={"srem.regions": tune.choice([0, 10])}, trials=50))
    ran = drain(small)
    assert small.count_cells() == len(ran) == 2, "the space is exhausted"


def test_a_time_on_another_device_is_no_value(tmp_path: Path) -> None:
    planned = plan(metric=["map_validation", "epoch_seconds"], mode=["max", "min"], scheduler=None, trials=6)
    printed: list[str] = []
    source = suggestions(tmp_path, planned, report=printed.append)
    jobs = []
    # Six cells; the third and fourth run on a device on which everything takes a hundredth of the time.
    while (job := source.next()) is not None:
        is_fast = len(jobs) in (2, 3)
        device = {"device": "NVIDIA B", "epoch_seconds": 0.01} if is_fast else {"device": "NVIDIA A"}
        source.ended(job, record(job, **device))
        jobs.append(job)
    assert source.timed_on == "NVIDIA A"
    assert [config.value("epoch_seconds") for config in source.configs] == [1.0, 1.0, None, None, 1.0, 1.0]
    assert None not in [config.value("map_validation") for config in source.configs]
    fast = {source.configs[number].variant.name for number in (2, 3)}
    assert fast.isdisjoint(source.optuna.front())
    assert source.optuna.front()
    assert len(printed) == 1
    assert "epoch_seconds is compared on NVIDIA A alone: configs on another kind, here NVIDIA B, have" in printed[0]
    best = best_config(source.configs, planned)
    assert best is not None
    assert best.value("map_validation") == max(score(job.config) for job in jobs), "of all devices"

    again = suggestions(tmp_path, planned)
    assert again.timed_on == "NVIDIA A", "the next driver keeps to it"


def test_without_a_time_every_device_counts(tmp_path: Path) -> None:
    planned = plan(trials=4)
    source = suggestions(tmp_path, planned)
    for name in ("cpu", "NVIDIA A", "NVIDIA B", "cpu"):
        job = source.next()
        assert job is not None
        source.ended(job, record(job, device=name))
    assert source.timed_on is None
    assert None not in [config.value("map_validation") for config in source.configs]
