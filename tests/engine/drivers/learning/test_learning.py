"""What a search learns from runs beside it: which cells count, what Optuna is told of them, and what they cost."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from ray import tune

from raysearch.core import UserError
from raysearch.engine.drivers import sweep_request
from raysearch.engine.drivers.learning import known_configs, other_runs
from raysearch.engine.drivers.search_record import best_config
from raysearch.engine.drivers.space import SearchSpace
from raysearch.engine.drivers.suggestions import Suggestions
from raysearch.engine.trials.jobs import Job
from raysearch.runs import CellRecord, DataRecord, StudyRecord, results
from raysearch.studies.design import factor, search_plan

from .planted import METRIC, OtherRun, plan, score


def known(
    folder: Path, planned: search_plan.SearchPlan, named: Sequence[Path] = (), group: int = 0
) -> known_configs.Knowledge:
    record = StudyRecord(
        study="study", task="retrieval", data=DataRecord(content_hash=planned.data), variants=[], cells=[]
    )
    runs = other_runs.read_other_runs(folder, record, named)
    return known_configs.learn(planned, planned.groups[group], SearchSpace(planned.search), runs)


def suggestions(folder: Path, planned: search_plan.SearchPlan, group: int = 0) -> Suggestions:
    return Suggestions(
        planned,
        planned.groups[group],
        folder / "optuna.db",
        str(folder / "checkpoints"),
        learn=lambda space: known(folder, planned, group=group),
    )


def drain(source: Suggestions, finished: dict[str, dict[str, Any]]) -> list[Job]:
    """Run every job to its end, and return those that ran; those in `finished` are taken over, and ended ones added."""
    ran = []
    while (job := source.next()) is not None:
        if job.cell not in finished:
            ran.append(job)
        config = job.config
        value = score({"train.lr": config["train"]["lr"], "srem.regions": config["srem"]["regions"]}, job.seed) / 1000
        record = {"cell": job.cell, "status": "finished", METRIC: value}
        source.ended(job, finished.setdefault(job.cell, record))
    assert source.exhausted()
    return ran


def rows(folder: Path, cells: Sequence[str]) -> dict[str, dict[str, Any]]:
    return results.read_cells(folder / "cells", cells)


def test_every_config_of_another_run_becomes_a_trial_with_its_value(tmp_path: Path) -> None:
    planned = plan()
    other = OtherRun(tmp_path / "other", planned)
    told = [{"train.lr": 0.01 * (1 + index), "srem.regions": 10} for index in range(3)]
    for settings in told:
        other.add(settings)
    source = suggestions(tmp_path / "mine", planned)
    best, *rest = sorted(told, key=score, reverse=True)
    complete = source.optuna.study.get_trials(states=[TrialState.COMPLETE])
    assert {trial.value: trial.params for trial in complete} == {score(settings): settings for settings in rest}
    for trial in complete:
        assert trial.intermediate_values == dict.fromkeys(range(3), trial.value / 2)
    (waiting,) = source.optuna.study.get_trials(states=[TrialState.WAITING])
    assert waiting.system_attrs["fixed_params"] == best


def test_the_best_known_config_is_taken_over_first_costs_no_trial_and_can_win(tmp_path: Path) -> None:
    planned = plan()
    other = OtherRun(tmp_path / "other", planned)
    cells = [other.add({"train.lr": rate, "srem.regions": 10}) for rate in (0.09, 0.02)]
    source = suggestions(tmp_path / "mine", planned)
    ran = drain(source, rows(other.folder, cells))
    assert len(ran) == planned.trials, "a known config took a trial of the budget"
    assert source.configs[0].cells[0].hash == cells[0]
    assert source.configs[0].variant.name.startswith("0: "), "learned trials moved the numbers of the configs"
    best = best_config(source.configs, planned)
    assert best is source.configs[0]
    own = [trial for trial in source.optuna.study.trials if "settings" in trial.user_attrs]
    assert len(own) == planned.trials + 1
    assert source.count_cells() == planned.trials + 1


def begin(folder: Path, planned: search_plan.SearchPlan, finished: dict[str, dict[str, Any]]) -> Suggestions:
    """Run three configs of a search whose driver is then killed."""
    source = suggestions(folder, planned)
    for _ in range(3):
        job = source.next()
        assert job is not None
        source.ended(job, finished.setdefault(job.cell, {"cell": job.cell, "status": "finished", METRIC: 0.001}))
    return source


def test_a_continued_search_learns_nothing_twice(tmp_path: Path) -> None:
    planned = plan()
    other = OtherRun(tmp_path / "other", planned)
    cells = [other.add({"train.lr": 0.01 * (1 + index), "srem.regions": 10}) for index in range(4)]
    finished = rows(other.folder, cells)
    before = len(begin(tmp_path / "mine", planned, finished).optuna.study.trials)
    other.add({"train.lr": 0.003, "srem.regions": 0})  # a run beside goes on
    again = suggestions(tmp_path / "mine", planned)
    assert again.optuna.learned is None
    assert len(again.optuna.study.trials) == before
    assert [config.is_known for config in again.configs] == [True, False, False]
    assert len(drain(again, finished)) == planned.trials - 2
    assert not drain(suggestions(tmp_path / "mine", planned), finished)


def test_a_file_that_is_lost_is_made_anew_with_what_was_learned(tmp_path: Path) -> None:
    planned = plan()
    other = OtherRun(tmp_path / "other", planned)
    cells = [other.add({"train.lr": 0.01 * (1 + index), "srem.regions": 10}) for index in range(4)]
    finished = rows(other.folder, cells)
    first = begin(tmp_path / "mine", planned, finished)
    own = OtherRun(tmp_path / "mine", planned)
    for config in first.configs:
        own.add(config.variant.declared, value=0.001)
    (tmp_path / "mine" / "optuna.db").unlink()
    again = suggestions(tmp_path / "mine", planned)
    assert [config.is_known for config in again.configs] == [True, False, False]
    params = [str(trial.params) for trial in again.optuna.study.trials]
    assert len(params) == len(set(params)) == 4 + 2, "a known config that was tried is there twice"
    assert len(drain(again, finished)) == planned.trials - 2


def test_a_driver_killed_while_it_learned_goes_on_there(tmp_path: Path) -> None:
    planned = plan(starts=[{"train.lr": 0.05, "srem.regions": 50}])
    other = OtherRun(tmp_path / "other", planned)
    for index in range(4):
        other.add({"train.lr": 0.01 * (1 + index), "srem.regions": 10})
    whole = suggestions(tmp_path / "whole", planned).optuna
    partial = optuna.create_study(
        storage=f"sqlite:///{_made(tmp_path / 'mine')}/optuna.db", study_name=whole.name, direction="maximize"
    )
    partial.add_trial(whole.study.trials[0])
    trials = suggestions(tmp_path / "mine", planned).optuna.study.trials
    assert [_key(trial) for trial in trials] == [_key(trial) for trial in whole.study.trials]


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _key(trial: optuna.trial.FrozenTrial) -> tuple[Any, ...]:
    return trial.number, trial.state, trial.params, trial.value, trial.system_attrs


def test_seeds_of_a_config_are_averaged_and_those_that_judge_are_left_out(tmp_path: Path) -> None:
    planned = plan(seeds=[0, 4], judge_seeds=2)  # seeds 5 and 6 judge
    other = OtherRun(tmp_path / "other", planned)
    for seed in (0, 4, 5, 6, 9):
        other.add({"train.lr": 0.01, "srem.regions": 10}, seed)
    other.add({"train.lr": 0.02, "srem.regions": 10}, 4)
    knowledge = known(tmp_path / "mine", planned)
    assert [config.values for config in knowledge.configs] == [
        [pytest.approx(0.02 + 0.01 * (0 + 4 + 9) / 3)],
        [pytest.approx(0.03 + 0.04)],
    ]
    assert [config.is_whole for config in knowledge.configs] == [True, False]
    assert knowledge.left_out == {"with a seed of the final evaluation": 2}


def test_what_does_not_count_is_left_out_by_reason(tmp_path: Path) -> None:
    planned = plan()
    other = OtherRun(tmp_path / "other", planned)
    fine = {"train.lr": 0.01, "srem.regions": 10}
    other.add(fine)
    other.add(fine | {"train.lr": 0.02}, **{METRIC: None})
    other.add(fine | {"train.lr": 0.03}, **{METRIC: float("nan")})
    other.add(fine | {"train.lr": 0.5})
    other.add(fine | {"srem.regions": 20})
    other.add(fine | {"train.batch": 7})
    other.add(fine | {"train.lr": 0.04}, status="failed")
    other.add(fine | {"train.lr": 0.05}, config="[1")
    other.add(fine | {"train.lr": 0.06}, history='{"no": "list"}')
    workers = OtherRun(tmp_path / "workers", search_plan.replace(planned, workers=2))
    workers.add(fine | {"train.lr": 0.07})
    knowledge = known(tmp_path / "mine", planned)
    assert [config.settings for config in knowledge.configs] == [fine]
    assert knowledge.left_out == {
        "without map_validation": 2,
        "outside the space": 2,
        "with other fixed settings": 1,
        "that cannot be read": 2,
        "of other code, data, workers or device": 1,
    }


def test_runs_on_other_data_count_only_when_they_are_named(tmp_path: Path) -> None:
    settings = {"train.lr": 0.01, "srem.regions": 10}
    OtherRun(tmp_path / "elsewhere", plan("other data")).add(settings)
    OtherRun(tmp_path / "task", plan(), task="fewshot").add(settings)
    planned = plan()
    assert not known(tmp_path / "mine", planned).left_out
    named = known(tmp_path / "mine", planned, [tmp_path / "elsewhere", tmp_path / "task"])
    assert named.left_out == {"on other data": 1, "of another task": 1}
    far = OtherRun(tmp_path / "deep" / "far", planned)
    far.add(settings)
    assert not known(tmp_path / "mine", planned).configs
    assert known(tmp_path / "mine", planned, [far.folder]).runs == {str(far.folder): 1}


def test_a_cell_that_several_runs_hold_counts_once(tmp_path: Path) -> None:
    planned = plan()
    for name in ("a", "b", "mine"):
        OtherRun(tmp_path / name, planned).add({"train.lr": 0.01, "srem.regions": 10})
    assert known(tmp_path / "mine", planned).runs == {str(tmp_path / "a"): 1}


def test_hostile_neighbours_are_a_line_each_and_stop_nothing(tmp_path: Path) -> None:
    planned = plan()
    OtherRun(tmp_path / "fine", planned).add({"train.lr": 0.01, "srem.regions": 10})
    texts = {
        "nothing": "",
        "deep": "[" * 100_000,
        "list": "[]",
        "number": '{"study": "s", "variants": [], "cells": 1e999}',
    }
    for name, text in texts.items():
        (_made(tmp_path / name) / "study.json").write_text(text)
    damaged = OtherRun(tmp_path / "damaged", planned)
    cell = damaged.add({"train.lr": 0.02, "srem.regions": 10})
    (damaged.folder / "cells" / f"{cell}.parquet").write_bytes(b"PAR1 and no more")
    outside = OtherRun(tmp_path / "outside", planned)
    outside.study.cells.append(CellRecord(cell="../../fine/cells/x", variant="0", seed=0))
    outside.add({"train.lr": 0.03, "srem.regions": 10})
    (_made(tmp_path / "folder") / "study.json").mkdir()
    record = StudyRecord(study="s", task="retrieval", data=DataRecord(content_hash="data"), variants=[], cells=[])
    runs = other_runs.read_other_runs(tmp_path / "mine", record)
    assert {Path(cell.run).name for cell in runs.cells} == {"fine", "outside"}
    assert len(runs.unreadable) == 6
    assert all("\n" not in line and line.startswith("nothing is learned from") for line in runs.unreadable)


def test_stopped_configs_are_pruned_trials_or_their_last_value(tmp_path: Path) -> None:
    for sampler, state in (("tpe", TrialState.PRUNED), ("gp", TrialState.COMPLETE)):
        planned = plan(sampler=sampler)
        other = OtherRun(tmp_path / sampler / "other", planned)
        other.add({"train.lr": 0.01, "srem.regions": 10}, status="stopped", value=0.9)
        other.add({"train.lr": 0.02, "srem.regions": 10})
        study = suggestions(tmp_path / sampler / "mine", planned).optuna.study
        (trial,) = [trial for trial in study.trials if trial.state != TrialState.WAITING]
        assert (trial.state, trial.params["train.lr"]) == (state, 0.01)
        assert trial.intermediate_values == {0: 0.45, 1: 0.45, 2: 0.45, 3: 0.45}
        assert trial.value == (0.9 if sampler == "gp" else None)


@pytest.mark.parametrize("sampler", ["random", "qmc", "cmaes", "nsga2"])
def test_samplers_that_learn_nothing_try_the_best_known_config_first(sampler: str, tmp_path: Path) -> None:
    planned = plan(sampler=sampler, space={"train.lr": tune.loguniform(1e-4, 1e-1)})
    other = OtherRun(tmp_path / "other", planned)
    cells = [other.add({"train.lr": 0.01 * (1 + index)}) for index in range(4)]
    source = suggestions(tmp_path / "mine", planned)
    assert [trial.state for trial in source.optuna.study.trials] == [TrialState.WAITING]
    ran = drain(source, rows(other.folder, cells))
    assert source.configs[0].variant.settings["train.lr"] == 0.04
    assert len(ran) == planned.trials


def test_a_grid_search_still_has_every_combination(tmp_path: Path) -> None:
    planned = plan(sampler="grid", trials=9, space={"srem.regions": tune.choice([0, 10, 50])})
    other = OtherRun(tmp_path / "other", planned)
    cells = [other.add({"srem.regions": regions}) for regions in (0, 10)]
    source = suggestions(tmp_path / "mine", planned)
    ran = drain(source, rows(other.folder, cells))
    assert len(ran) == 1
    assert sorted(config.variant.settings["srem.regions"] for config in source.configs) == [0, 10, 50]


def test_each_group_learns_from_its_own_cells(tmp_path: Path) -> None:
    planned = plan(group=factor("hash.bits", 12, 24))
    other = OtherRun(tmp_path / "other", planned)
    other.add({"train.lr": 0.01, "srem.regions": 10}, group=0)
    other.add({"train.lr": 0.02, "srem.regions": 10}, group=1)
    for group, rate in ((0, 0.01), (1, 0.02)):
        knowledge = known(tmp_path / "mine", planned, group=group)
        assert [config.settings for config in knowledge.configs] == [{"train.lr": rate, "srem.regions": 10}]
        assert knowledge.left_out == {"of another group": 1}


def test_sizes_in_pixels_are_found_in_the_units_of_the_study(tmp_path: Path) -> None:
    space = {"srem.size": tune.choice([16, 31, 64]), "srem.regions": tune.randint(1, 60)}
    planned = plan(space=space)
    other = OtherRun(tmp_path / "other", planned)
    other.add({"srem.size": 31, "srem.regions": 10}, value=0.5)
    assert known(tmp_path / "mine", planned).configs[0].settings == {"srem.size": 31, "srem.regions": 10}


def conditional(trial: optuna.Trial) -> dict[str, Any]:
    regions = trial.suggest_int("srem.regions", 0, 20)
    if regions:
        trial.suggest_float("train.lr", 1e-3, 1e-1, log=True)
    return {"train.batch": 8}


def test_a_space_that_is_a_function_learns_too(tmp_path: Path) -> None:
    planned = plan(space=conditional)
    other = OtherRun(tmp_path / "other", planned)
    other.add({"srem.regions": 5, "train.lr": 0.01, "train.batch": 8})
    other.add({"srem.regions": 5, "train.lr": 0.01, "train.batch": 4})
    other.add({"srem.regions": 25, "train.lr": 0.01, "train.batch": 8})
    knowledge = known(tmp_path / "mine", planned)
    assert [dict(config.settings) for config in knowledge.configs] == [
        {"srem.regions": 5, "train.lr": 0.01, "train.batch": 8}
    ]
    assert knowledge.left_out == {"with other fixed settings": 1, "outside the space": 1}
    source = suggestions(tmp_path / "mine", planned)
    assert source.next() is not None
    assert source.configs[0].variant.settings["train.lr"] == 0.01


def test_times_and_populations_are_not_learned(tmp_path: Path) -> None:
    settings = {"train.lr": 0.01, "srem.regions": 10}
    timed = plan(metric=[METRIC, "epoch_seconds"], mode=["max", "min"], scheduler=None)
    OtherRun(tmp_path / "other", timed).add(settings)
    assert not known(tmp_path / "mine", timed).configs
    population = plan(scheduler="pbt", space={"train.lr": tune.loguniform(1e-4, 1e-1)})
    assert not known(tmp_path / "mine", population).configs


def test_a_known_start_is_tried_once(tmp_path: Path) -> None:
    settings = {"train.lr": 0.01, "srem.regions": 10}
    planned = plan(starts=[settings])
    other = OtherRun(tmp_path / "other", planned)
    cells = [other.add(settings)]
    source = suggestions(tmp_path / "mine", planned)
    assert len(source.optuna.study.trials) == 1
    ran = drain(source, rows(other.folder, cells))
    assert len(ran) == planned.trials
    assert source.duplicates == 0


def test_of_several_metrics_the_front_is_tried_first(tmp_path: Path) -> None:
    def _config(*values: float) -> known_configs.LearnedConfig:
        return known_configs.LearnedConfig({"v": values}, (), values, False, {}, True)

    configs = [_config(1, 5), _config(2, 5), _config(3, 4), _config(2, 5), _config(0, 9), _config(3, 9)]
    best = known_configs.best_configs(configs, ["max", "min"])
    values = {tuple(config.values) for config in configs}
    plain = {
        (gain, cost)
        for gain, cost in values
        if not any(other != (gain, cost) and other[0] >= gain and other[1] <= cost for other in values)
    }
    assert {tuple(config.values) for config in best} == plain
    assert len(best) == len(plain)


@pytest.mark.parametrize(
    ("study", "more", "message"),
    [
        ("fcaenet_search", {"learn": False, "learn_from": ["runs/x"]}, "contradict"),
        ("srem_ablation", {"learn_from": ["runs/x"]}, "--learn-from is for searches"),
        ("fcaenet_search", {"learn_from": ["runs/x"]}, "--learn-from 'runs/x' is not a run directory"),
    ],
)
def test_wrong_options_are_one_line(
    study: str, more: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        sweep_request.check(sweep_request.SweepRequest(study, **more))
