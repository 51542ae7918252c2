"""The check of a study before anything runs, from Python and from the commands that use it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray import tune

import raysearch
from raysearch import Ablation, Search, UserError, UserErrors, check_study, factor
from raysearch.data import synthetic
from raysearch.data.evaluation_limits import DataCounts
from raysearch.engine.preflight import checks, collect, study_check
from raysearch.studies.configs import TASKS, overrides, presets, profile_settings, settle_profile
from raysearch.studies.design import AblationPlan, study_files

STUDY = """
from raysearch import Ablation, choice, factor
study = Ablation(
    question="?", task="retrieval", base={"hash.bit": 3}, reference={"hash.bits": 24}, seeds=[1, 1],
    factors=[factor("hash.bits", 12, 0), choice("seed", {"a": {"hash.bits": 12}, "b": {"hash.bits": 24}})],
    metric="mAP", published="fcaenet/table2",
)
"""
SPACE = {"esrl.positive": tune.uniform(0.1, 2.0), "hash.bits": tune.choice([12, 24])}
START = {"esrl.positive": 1.0, "hash.bits": 12}


def ablation(**changes: Any) -> Ablation:
    given: dict[str, Any] = {
        "question": "?", "task": "retrieval", "reference": {"hash.bits": 24}, "factors": [factor("hash.bits", 12, 24)],
    }  # fmt: skip
    return Ablation(**given | changes)


def search(**changes: Any) -> Search:
    return Search(**{"question": "?", "task": "retrieval", "space": SPACE} | changes)


def fewshot(**changes: Any) -> Ablation:
    given: dict[str, Any] = {
        "question": "?", "task": "fewshot", "reference": {"episodes.shots": 1}, "metric": "accuracy",
        "factors": [factor("episodes.shots", 1, 5)],
    }  # fmt: skip
    return Ablation(**given | changes)


@pytest.fixture(scope="module")
def ten_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = synthetic.SyntheticSpec(classes=10, train_per_class=4, test_per_class=2, side=32)
    return synthetic.ensure_shards(spec, tmp_path_factory.mktemp("drawn"))


@pytest.mark.parametrize("name", study_files.study_names())
@pytest.mark.parametrize("profile", ["laptop", "paper"])
def test_every_study_that_ships_is_right(name: str, profile: str) -> None:
    request = study_check.StudyRequest(name, profile)
    assert study_check.check_request(request, synthetic.count_images(synthetic.SyntheticSpec())).study == name


@pytest.mark.parametrize(
    ("study", "message"),
    [
        (lambda: ablation(metric="mAP"), r"metric='mAP': runs of retrieval have no such metric; did you mean 'map'\?"),
        (lambda: ablation(metric="accuracy"), "no such metric; known: map, map_index"),
        (lambda: fewshot(metric="acuracy"), "did you mean 'accuracy'"),
        (lambda: ablation(metric="map_validation"), "needs a held-out part of train; use --set data.validation=0.1"),
        (lambda: ablation(published="fcaenet/table2"), "did you mean 'fcaenet/table_2'"),
        (lambda: ablation(base={"model.backbone": "conv4"}), "no weights of conv4 'IMAGENET1K_V1'.*model.weights=none"),
        (lambda: search(judge_metric="mapp"), r"judge_metric='mapp': .*did you mean 'map'\?"),
        (lambda: search(sampler_options={"n_startup_trial": 3}), "has no option 'n_startup_trial'; did you mean"),
        (lambda: search(sampler_options={"n_startup_trials": "3"}), "n_startup_trials='3': .*valid integer"),
        (lambda: search(sampler_options={"multivariate": 3}), "multivariate=3: .*valid boolean"),
        (lambda: search(sampler="nsga2", sampler_options={"population_size": 0}), "sampler 'nsga2': .*population_size"),
        (lambda: search(sampler="grid"), "sampler 'grid' needs steps or choices"),
        (lambda: search(scheduler_options={"reducton_factor": 3}), "did you mean 'reduction_factor'"),
        (lambda: search(scheduler_options={"grace_period": "2"}), "grace_period='2': .*valid integer"),
        (lambda: search(scheduler_options={"grace_period": 999}), "scheduler 'asha': .*grace_period"),
        (lambda: search(scheduler_options={"max_t": 3}), "'max_t' follows from the study"),
        (lambda: search(scheduler="median", scheduler_options={"hard_stop": 3}), "hard_stop=3: .*valid boolean"),
        (lambda: search(starts=[{**START, "hash.bits": 13}]), "start 1: hash.bits=13 is outside of the space: it has"),
        (lambda: search(starts=[START, {**START, "esrl.positive": 3.0}]), "start 2: .*it has 0.1 to 2"),
        (lambda: search(starts=[{"hash.bits": 12}]), "start 1 must set every path of the space: esrl"),
        (lambda: search(starts=[{**START, "esrl.erased": 1}]), "start 1: 'esrl.erased' is not in the space"),
        (lambda: search(space={"esrl.positive": tune.uniform(-1, 1)}), "space: esrl.positive=-1.0: .*greater than"),
        (lambda: search(space={"hash.bits": tune.uniform(8, 64)}), "space: hash.bits=29.392: .*valid integer"),
        (lambda: search(space={"hash.bits": tune.choice([12, 0])}), "space: hash.bits=0"),
        (lambda: search(space={"hash.method": tune.choice(["adsh", "adhs"])}), "did you mean 'adsh'"),
        (lambda: search(space={"hash.bits": [12, 24]}), "not a distribution of Ray Tune"),
    ],
)  # fmt: skip
def test_a_mistake_is_found_before_anything_runs(study: Callable[[], Ablation | Search], message: str) -> None:
    settings = {} if isinstance(made := study(), Ablation) else {"data.validation": 0.1}
    with pytest.raises(UserError, match=message) as caught:
        check_study(made, "paper", settings=settings)
    assert all("\n" not in line for line in caught.value.messages)


def test_the_space_of_a_function_is_tried() -> None:
    def misspelled(trial: Any) -> None:
        if trial.suggest_categorical("hash.method", ["adsh", "dsh"]) == "dsh":
            trial.suggest_float("dsh.margn", 1, 2)

    def too_wide(trial: Any) -> None:
        trial.suggest_float("esrl.positive", -1, 1)

    def broken(trial: Any) -> None:
        trial.suggest_foat("esrl.positive", 0, 1)

    def conditional(trial: Any) -> dict[str, Any]:
        if trial.suggest_categorical("hash.method", ["adsh", "dsh"]) == "dsh":
            trial.suggest_float("dsh.margin", 1, 2)
        return {"hash.bits": 12}

    for space, message in (
        (misspelled, "unknown config path 'dsh.margn' in the space; did you mean 'dsh.margin'"),
        (too_wide, "space: esrl.positive=-0.*: Input should be greater than or equal to 0"),
        (broken, "space: the function raised AttributeError"),
    ):
        with pytest.raises(UserError, match=message):
            check_study(search(space=space))
    check_study(search(space=conditional, starts=[{"hash.method": "dsh", "dsh.margin": 1.5}, {"hash.method": "adsh"}]))
    for start, message in (
        ({"hash.method": "dsh"}, r"start 1: .*'?dsh\.margin"),
        ({"hash.method": "dsh", "dsh.margin": 9.0}, "start 1: .*9"),
        ({"hash.method": "adsh", "dsh.margin": 1.5}, "start 1: 'dsh.margin' is not asked for"),
    ):
        with pytest.raises(UserError, match=message):
            check_study(search(space=conditional, starts=[start]))


def test_data_that_cannot_be_evaluated_is_refused_with_the_cure(ten_classes: Path) -> None:
    with pytest.raises(UserErrors) as caught:
        check_study("fewshot_methods", data=ten_classes)
    text = "\n".join(caught.value.messages)
    assert "2 test classes" in text
    assert "--set episodes.ways=2" in text
    assert len(caught.value.messages) == 2, "all ten variants alike, for validation and test"
    plan = check_study("fewshot_methods", data=ten_classes, settings={"episodes.ways": 2, "episodes.queries": 1})
    assert plan.settings["episodes.ways"] == 2
    ways = fewshot(reference={"episodes.ways": 2}, factors=[factor("episodes.ways", 2, 3)])
    with pytest.raises(UserError, match=r"variant 'episodes.ways=3': episodes.ways=3: the split has 2"):
        check_study(ways, data=ten_classes)
    space = {"episodes.ways": tune.choice([2, 4])}
    searched = search(
        task="fewshot", space=space, metric="accuracy_validation", judge_metric="accuracy",
        reference={"episodes.ways": 2},
    )  # fmt: skip
    with pytest.raises(UserError, match=r"space: episodes.ways=4: the split has 2"):
        check_study(searched, data=ten_classes)


def test_workers_that_cannot_share_a_batch_are_refused() -> None:
    with pytest.raises(UserError, match=r"train\.batch=2 episodes do not divide among 3 workers"):
        check_study("helixformer_depth", workers=3)


def test_commands_print_a_line_per_mistake(tmp_path: Path, ten_classes: Path) -> None:
    (tmp_path / "mine.py").write_text(STUDY)
    words = ["mine.py", "--dry-run", "--set", "srem.region=3", "--set", "foo", "--data", str(ten_classes)]
    done = subprocess.run(
        [sys.executable, "-m", "raysearch.sweep", *words], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    lines = done.stderr.splitlines()
    assert done.returncode == 2
    assert done.stdout == ""
    assert all(line.startswith("error: ") for line in lines)
    for part in (
        "did you mean 'hash.bits'?", "hash.bits=0", "duplicate seed in [1, 1]", "cannot be called 'seed'",
        "did you mean 'map'?", "did you mean 'fcaenet/table_2'?", "did you mean 'srem.regions'?", "got 'foo'",
    ):  # fmt: skip
        assert sum(part in line for line in lines) == 1, part
    assert len(lines) == 8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.py"]
    found = collect("study", lambda: checks.check_study(str(tmp_path / "mine.py"), "laptop", str(ten_classes), ["a=1"]))
    assert len(found) == 7


def test_the_public_name() -> None:
    assert "check_study" in raysearch.__all__
    assert issubclass(UserErrors, UserError)


# ---------------------------------------------------------------------------------- settings that go together


@pytest.mark.parametrize(
    ("task", "profile", "preset"),
    [(task, profile, preset) for task in ("retrieval", "fewshot", "pretrain") for profile in TASKS[task].profiles
     for preset in (None, *TASKS[task].presets)],
)  # fmt: skip
def test_every_preset_runs_under_every_profile(task: str, profile: str, preset: str | None) -> None:
    given = presets.settings(preset, task)
    started = overrides.start_from(task, profile_settings(task, profile), given)
    config = overrides.resolve(task, settle_profile(task, profile, started, given))
    assert study_check.config_mistakes(config, synthetic.count_images(synthetic.SyntheticSpec())) == []


@pytest.mark.parametrize(
    ("settings", "weights", "frozen"),
    [
        ({"pretrain.epochs": 1}, None, True),
        ({"pretrain.epochs": 1, "model.frozen": False}, None, False),
        ({"model.weights": None}, None, False),
        ({"model.weights": None, "pretrain.epochs": 3}, None, True),
        ({"pretrain.epochs": 0}, "DRAWN_BIRDS_V1", True),
        ({}, "DRAWN_BIRDS_V1", True),
    ],
)
def test_a_profile_gives_way_to_what_the_user_sets(settings: dict[str, Any], weights: str | None, frozen: bool) -> None:
    for study in (fewshot(), fewshot(base=settings), fewshot(reference={**settings, "episodes.shots": 1})):
        plan = check_study(study, settings=settings if study.base == {} and len(study.reference) == 1 else {})
        model = plan.reference_config.model  # type: ignore[attr-defined]
        assert (model.weights, model.frozen) == (weights, frozen)


def test_two_settings_of_the_user_that_contradict_each_other_say_what_to_set() -> None:
    both = {"pretrain.epochs": 1, "model.weights": "DRAWN_BIRDS_V1"}
    with pytest.raises(UserError, match=r"--set pretrain.epochs=0 .*--set model.weights=none"):
        check_study(fewshot(), settings=both)


# --------------------------------------------------------------------------------------------------- paths of files


def test_a_relative_path_is_one_file_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "studies"
    folder.mkdir()
    (folder / "beside.pth").write_bytes(b"beside")
    (tmp_path / "here.pth").write_bytes(b"here")
    (tmp_path / "classes.csv").write_text("a,train\n")
    (tmp_path / "bare").write_bytes(b"bare")
    (tmp_path / "IMAGENET1K_V1").write_bytes(b"a published name stays a name")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    words = ["here.pth", "./here.pth", "studies/../here.pth", "~/here.pth", str(tmp_path / "here.pth")]
    for word in words:
        assert overrides.parse([f"model.weights={word}"], "retrieval") == {"model.weights": str(tmp_path / "here.pth")}
    for path, text, value in (
        ("data.split", "classes.csv", str(tmp_path / "classes.csv")),
        ("data.split", "mod4", "mod4"),
        ("data.split", "auto", "auto"),
        ("data.split", "2024", "2024"),
        ("model.weights", "bare", str(tmp_path / "bare")),
        ("model.weights", "IMAGENET1K_V1", "IMAGENET1K_V1"),
        ("model.weights", "s3://bucket/w.pth", "s3://bucket/w.pth"),
        ("model.weights", "none", None),
    ):
        assert overrides.parse([f"{path}={text}"], "fewshot") == {path: value}
    text = STUDY.replace('{"hash.bit": 3}', '{"model.weights": "beside.pth"}').replace("12, 0", "12, 24")
    text = text.replace('"seed"', '"bits"').replace("[1, 1]", "2").replace(', published="fcaenet/table2"', "")
    (folder / "mine.py").write_text(text)
    _, study = study_files.load_study("studies/mine.py")
    assert study.base == {"model.weights": str(folder / "beside.pth")}
    here = ablation(factors=[factor("model.weights", "here.pth", Path("studies") / "beside.pth")])
    monkeypatch.chdir("/")
    plan = check_study(here)
    names = [variant.name for variant in plan.variants]  # type: ignore[attr-defined]
    assert names == ["reference", "model.weights=here.pth", "model.weights=beside.pth"]


@pytest.mark.parametrize(
    ("classes", "profile", "settings", "samples"),
    [
        (555, "paper", {}, 4000),  # NABirds
        (292, "paper", {}, 4000),  # VegFru
        (200, "paper", {}, 2000),  # CUB
        (555, "paper", {"train.samples": 3000}, 3000),
        (555, "laptop", {}, 1080),
    ],
)
def test_the_paper_profile_draws_the_papers_samples(
    classes: int, profile: str, settings: dict[str, int], samples: int
) -> None:
    request = study_check.StudyRequest("fcaenet_table1", profile, settings, {"hash.bits": [24]})
    plan = study_check.check_request(request, images_of(classes))
    assert isinstance(plan, AblationPlan)
    samples_of = [
        overrides.get_path(variant.config, "train.samples")
        for variant in plan.variants
        if "train" in variant.config.canonical() and variant.config.canonical()["train"]
    ]
    assert samples_of == [samples] * 7  # the other four methods are fitted


def test_a_study_that_sets_or_varies_the_samples_keeps_its_own() -> None:
    varied = {"reference": {"train.samples": 100}, "factors": [factor("train.samples", 100, 200)]}
    for study, expected in ((ablation(base={"train.samples": 500}), {500}), (ablation(**varied), {100, 200})):
        plan = study_check.check_request(study_check.StudyRequest(study, "paper"), images_of(555))
        assert isinstance(plan, AblationPlan)
        assert {overrides.get_path(variant.config, "train.samples") for variant in plan.variants} == expected


def images_of(classes: int) -> DataCounts:
    """A data set with 30 images of each class in both parts."""
    counts = {"train": [30] * classes, "test": [30] * classes}
    return DataCounts("data", [f"class {number}" for number in range(classes)], counts)
