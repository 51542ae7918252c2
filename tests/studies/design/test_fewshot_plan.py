"""Few-shot studies become cells, each with the pre-training that it starts from, under names that last."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from raysearch import sweep
from raysearch.core import UserError
from raysearch.runs import describe
from raysearch.studies.configs import TASKS, overrides
from raysearch.studies.design import Ablation, Search, ablation_plan, choice, factor, plan, search_plan, study_files
from raysearch.tasks import metric_definitions

from ... import commands

DATA = "d" * 64

# Every field, given in full, so that no tuned default moves the literal hashes below.
EVERYTHING: dict[str, Any] = {
    "data.side": 84, "data.zoom": 1.1, "data.split": "mod4", "data.augment": "colour",
    "model.backbone": "resnet18", "model.weights": None, "model.method": "lwfm", "model.frozen": False,
    "episodes.ways": 5, "episodes.shots": 1, "episodes.queries": 15, "episodes.test": 2000,
    "episodes.validation": 200, "episodes.seed": 0,
    "pretrain.epochs": 100, "pretrain.augment": "crop", "pretrain.batch": 128, "pretrain.lr": 0.01,
    "pretrain.momentum": 0.9, "pretrain.weight_decay": 0.0, "pretrain.milestones": [0.85], "pretrain.seed": None,
    "centroid.distance": "euclidean", "head.kind": "relation",
    "helix.depth": 1, "helix.design": "sym", "helix.heads": 2, "helix.dim_head": 64, "helix.width": None,
    "helix.fusion": "mul", "helix.rmp": True, "helix.rep": True, "helix.embed_kernel": 3, "helix.kv_stride": 1,
    "helix.mlp_ratio": 4, "helix.dropout": 0.0, "helix.order": "layers", "helix.pairs": "each",
    "lwe.on": True, "lwe.layers": [-2, -1], "lwe.grid": 3, "lwe.temperature": 5.0,
    "spm.weight": 0.25, "spm.matcher": "hungarian", "spm.reduce": "top1", "spm.topk": 3, "spm.layers": "max",
    "spm.residual": True, "spm.sinkhorn_eps": 0.05, "spm.sinkhorn_iterations": 50,
    "lwfm.tau": 0.2, "lwfm.episode_weight": 0.25, "lwfm.aux": True, "lwfm.aux_batch": 64,
    "lwfm.normalization": "imagenet",
    "train.epochs": 10, "train.episodes": 300, "train.batch": 1, "train.optimiser": "sgd", "train.lr": 0.01,
    "train.momentum": 0.9, "train.weight_decay": 5e-4, "train.milestones": [0.4, 0.6], "train.decay": 0.05,
    "train.clip": 2.0, "train.precision": "auto", "train.select": "validation",
}  # fmt: skip
# Another value of each field that LWFM-SPM with an exact assignment and its best pair reads.
OTHER: dict[str, Any] = {
    "data.side": 64, "data.zoom": 1.0, "data.split": "closerlook", "data.augment": "crop",
    "model.backbone": "resnet50", "model.method": "helixformer", "model.frozen": True,
    "episodes.ways": 4, "episodes.shots": 5, "episodes.queries": 14, "episodes.test": 600,
    "episodes.validation": 100, "episodes.seed": 1,
    "pretrain.epochs": 99, "pretrain.augment": "flip", "pretrain.batch": 64, "pretrain.lr": 0.02,
    "pretrain.momentum": 0.8, "pretrain.weight_decay": 1e-4, "pretrain.milestones": [0.5], "pretrain.seed": 0,
    "lwe.on": False, "lwe.layers": [-1], "lwe.grid": 2, "lwe.temperature": 2.0,
    "spm.weight": 1.0, "spm.matcher": "nearest", "spm.reduce": "mean", "spm.layers": "mean", "spm.residual": False,
    "lwfm.tau": 0.1, "lwfm.episode_weight": 1.5, "lwfm.aux": False, "lwfm.aux_batch": 128,
    "lwfm.normalization": "released",
    "train.epochs": 11, "train.episodes": 299, "train.batch": 2, "train.optimiser": "adam", "train.lr": 0.02,
    "train.momentum": 0.8, "train.weight_decay": 0.0, "train.milestones": [0.4], "train.decay": 0.1,
    "train.clip": None, "train.precision": "float32", "train.select": "last",
}  # fmt: skip
TRUNK = {path for path in EVERYTHING if path.startswith(("pretrain.", "data."))} | {"model.backbone"}


def cell(settings: dict[str, Any] | None = None, *, seed: int = 0, data: str = DATA, workers: int = 1) -> plan.Cell:
    """The cell of everything, with some settings changed."""
    given = {**EVERYTHING, **(settings or {})}
    reference = {"episodes.test": given.pop("episodes.test")}
    factors = [factor("episodes.test", *reference.values())]
    ablation = Ablation(question="?", task="fewshot", reference=reference, factors=factors, seeds=[seed])
    (planned_cell,) = ablation_plan.plan_ablation(
        "study", ablation, "paper", data, settings=given, workers=workers
    ).cells
    return planned_cell


def start(settings: dict[str, Any] | None = None, **options: Any) -> str:
    """The name of its pre-training."""
    pre_training = cell(settings, **options).start
    assert pre_training is not None
    return pre_training.hash


def test_a_known_cell_keeps_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    # As for retrieval: whatever changes these literals orphans the cells on people's disks. Do it on purpose alone.
    assert set(EVERYTHING) == set(overrides.known_paths("fewshot"))
    monkeypatch.setitem(TASKS._items, "fewshot", replace(TASKS["fewshot"], version=1))
    monkeypatch.setitem(TASKS._items, "pretrain", replace(TASKS["pretrain"], version=1))
    assert cell().hash == "899a2c42ec098c42ee4d"
    assert start() == "68433999060ab6a89325"
    assert cell({"pretrain.epochs": 0}).hash == "90a150392c0b863c5f53"


@pytest.mark.parametrize("path", OTHER)
def test_the_name_changes_with_every_active_field(path: str) -> None:
    assert cell({path: OTHER[path]}).hash != cell().hash


@pytest.mark.parametrize("path", sorted(EVERYTHING.keys() - OTHER.keys()))
def test_fields_of_other_methods_are_no_part_of_the_name(path: str) -> None:
    others: dict[str, Any] = {"centroid.distance": "cosine", "head.kind": "cosine", "helix.design": "q2s"}
    others |= {
        "helix.order": "directions",
        "helix.pairs": "joined",
        "helix.fusion": "add",
        "helix.rmp": False,
        "helix.rep": False,
        "helix.dropout": 0.5,
        "helix.width": 3,
    }
    if path == "model.weights":
        with pytest.raises(UserError, match=r"set one of them"):
            cell({path: "IMAGENET1K_V1"})
    else:
        assert cell({path: others.get(path, 7)}).hash == cell().hash


def test_taps_counted_from_either_end_are_the_same_taps() -> None:
    for layers in ([7, 8], [-2, 8], [7, -1]):
        assert cell({"lwe.layers": layers}).hash == cell().hash
    assert cell({"lwe.layers": [6, 8]}).hash != cell().hash
    other = {"model.backbone": "resnet12"}
    assert cell({**other, "lwe.layers": [2, 3]}).hash == cell(other).hash


# ------------------------------------------------------------------------------------------------- pre-trainings


@pytest.mark.parametrize("path", OTHER)
def test_a_pre_training_is_shared_by_all_that_do_not_change_it(path: str) -> None:
    shared = start({path: OTHER[path]}) == start()
    idle = path in ("data.augment", "pretrain.seed")  # views are its own, and seed 0 is this cell's
    assert shared == (path not in TRUNK or idle), path


def test_another_seed_data_set_or_number_of_workers_has_another_pre_training() -> None:
    assert len({start(), start(seed=1), start(data="e" * 64), start(workers=2)}) == 4
    fixed = {"pretrain.seed": 4}
    assert start(fixed) == start(fixed, seed=1) == start({"pretrain.seed": None}, seed=4)
    assert cell(fixed).hash != cell(fixed, seed=1).hash
    assert cell({"pretrain.epochs": 0}).start is None


def test_the_code_of_the_pre_training_is_part_of_the_names_of_its_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    before = cell()
    without = cell({"pretrain.epochs": 0})
    monkeypatch.setitem(TASKS._items, "pretrain", replace(TASKS["pretrain"], version=TASKS["pretrain"].version + 1))
    assert cell().hash != before.hash
    assert cell().start != before.start
    assert cell({"pretrain.epochs": 0}).hash == without.hash, "nor of others"


def study(**changes: Any) -> Ablation:
    given: dict[str, Any] = {
        "question": "?",
        "task": "fewshot",
        "base": {"pretrain.epochs": 1},
        "reference": {"model.method": "relation"},
        "factors": [factor("model.method", "relation", "helixformer", "lwfm")],
        "seeds": 2,
        "metric": "accuracy",
    }
    return Ablation(**given | changes)


def test_the_pre_trainings_of_a_plan_are_each_once() -> None:
    planned = ablation_plan.plan_ablation("study", study(), "paper", DATA)
    first = plan.pre_trainings(planned.cells)
    assert [planned_cell.seed for planned_cell in first] == [0, 1]
    assert {planned_cell.start.hash for planned_cell in planned.cells if planned_cell.start} == {
        planned_cell.hash for planned_cell in first
    }
    assert {planned_cell.variant.name for planned_cell in first} == {"pre-training of conv4"}
    assert {planned_cell.variant.config.task for planned_cell in first} == {"pretrain"}
    assert all(planned_cell.start is None for planned_cell in first)
    record = describe.describe_ablation(planned)
    assert [cell.cell for cell in record.starts] == [start.hash for start in first]
    assert len(record.cells) == 6

    fixed = ablation_plan.plan_ablation("study", study(), "paper", DATA, settings={"pretrain.seed": 0})
    assert [planned_cell.hash for planned_cell in plan.pre_trainings(fixed.cells)] == [first[0].hash]
    widths = ablation_plan.plan_ablation(
        "study", study(factors=[factor("model.backbone", "conv4", "resnet12")]), "paper", DATA
    )
    assert len(plan.pre_trainings(widths.cells)) == 4
    mixed = choice("start", {"none": {"pretrain.epochs": 0}, "base": {"pretrain.epochs": 1}})
    some = ablation_plan.plan_ablation(
        "study", study(factors=[mixed], reference={"pretrain.epochs": 0}, base={}), "paper", DATA
    )
    assert [planned_cell.start is None for planned_cell in some.cells] == [True, False] * 2


def search(**changes: Any) -> search_plan.SearchPlan:
    given: dict[str, Any] = {
        "question": "?",
        "task": "fewshot",
        "space": {"train.lr": tune.loguniform(1e-4, 1e-2)},
        "base": {"pretrain.epochs": 1},
        "metric": "accuracy_validation",
        "judge_metric": "accuracy",
        "judge_seeds": 2,
    }
    return search_plan.plan_search("study", Search(**given | changes), "paper", DATA)


def test_a_search_refers_to_the_pre_trainings_of_all_its_seeds_and_groups() -> None:
    planned_search = search(group=factor("model.backbone", "conv4", "resnet12"), seeds=2)
    seeds = [*planned_search.seeds, *planned_search.search.judging_seeds(list(planned_search.seeds))]
    references = planned_search.reference_cells()
    assert [planned_cell.seed for planned_cell in references] == seeds * 2
    assert len(plan.pre_trainings(references)) == 2 * 4
    for group in planned_search.groups:
        for seed in seeds:
            suggested = planned_search.cell(
                planned_search.variant(group, "x", {"train.lr": 1e-3, "model.method": "lwfm"}), seed
            )
            assert suggested.start
            assert suggested.start.hash in {planned_cell.hash for planned_cell in plan.pre_trainings(references)}


def test_what_the_pre_training_depends_on_cannot_be_searched() -> None:
    planned_search = search()
    for settings in ({"pretrain.lr": 0.1}, {"model.backbone": "resnet12"}, {"data.split": "closerlook"}):
        with pytest.raises(
            UserError, match="settings of the pre-training cannot be searched: it runs beforehand; make them the group"
        ):
            planned_search.variant(planned_search.groups[0], "x", settings)
    assert planned_search.variant(planned_search.groups[0], "x", {"pretrain.epochs": 0}).config.starts_from(0) is None
    inside = search(base={}, reference={"pretrain.epochs": 1, "model.frozen": True})  # the reference may have it too
    assert inside.variant(inside.groups[0], "x", {"train.lr": 1e-3}).config.pretrain.epochs == 1  # type: ignore[attr-defined]


# --------------------------------------------------------------------------------------------- studies and tasks


@pytest.mark.parametrize("name", study_files.study_names())
@pytest.mark.parametrize("profile", ["laptop", "paper"])
def test_every_study_plans(name: str, profile: str) -> None:
    _, loaded = study_files.load_study(name)
    if isinstance(loaded, Search):
        planned_search = search_plan.plan_search(name, loaded, profile, DATA)
        assert planned_search.reference(planned_search.groups[0]).config.task == loaded.task
        return
    planned = ablation_plan.plan_ablation(name, loaded, profile, DATA)
    assert len(planned.variants) >= len(loaded.factors) + 1
    assert set(planned.references) == {variant.name for variant in planned.variants}
    assert len({planned_cell.hash for planned_cell in planned.cells}) == len(planned.variants) * len(planned.seeds)
    ids = metric_definitions.metric_ids(planned.reference.config, "split")
    assert loaded.metric in ids


def test_few_shot_studies_ask_for_what_they_say() -> None:
    def of(name: str, profile: str) -> ablation_plan.AblationPlan:
        ablation = study_files.load_study(name)[1]
        assert isinstance(ablation, Ablation)
        return ablation_plan.plan_ablation(name, ablation, profile, DATA)

    assert len(of("fewshot_methods", "laptop").variants) == 10
    assert len(of("helixformer_designs", "paper").variants) == 5
    assert len(of("spm_matching", "laptop").variants) == 12
    assert len(of("lwfm_components", "laptop").variants) == 4
    assert {variant.config.backbone for variant in of("lwe_layers", "paper").variants} == {
        ("resnet18", "IMAGENET1K_V1")
    }
    assert [planned_cell.start is not None for planned_cell in of("helixformer_depth", "paper").cells] == [True] * 12
    assert not plan.pre_trainings(of("helixformer_depth", "laptop").cells)
    shared = {planned_cell.hash for planned_cell in plan.pre_trainings(of("helixformer_depth", "paper").cells)}
    assert shared == {
        planned_cell.hash for planned_cell in plan.pre_trainings(of("helixformer_designs", "paper").cells)
    }


def test_every_task_has_profiles_and_a_held_out_figure() -> None:
    built_in = {task for task in TASKS if ":" not in task}  # other tests make tasks of users' files
    assert built_in == {"retrieval", "fewshot", "pretrain"}
    for task in built_in:
        assert set(TASKS[task].profiles) == {"laptop", "paper"}
        settings = overrides.start_from(task, TASKS[task].profiles["laptop"], {})
        resolved = overrides.resolve(task, settings)
        assert TASKS[task].held_out in metric_definitions.metric_ids(resolved, "split")


def test_a_split_counts_by_what_it_says_and_not_by_its_place(tmp_path: Path) -> None:
    file = tmp_path / "one.csv"
    copy = tmp_path / "copy.csv"
    for path in (file, copy):
        path.write_text("class,split\na,train\nb,val\nc,test\n")
    assert cell({"data.split": str(file)}).hash == cell({"data.split": str(copy)}).hash
    assert start({"data.split": str(file)}) == start({"data.split": str(copy)})
    before = cell({"data.split": str(file)}).hash
    file.write_text("class,split\na,train\nc,val\nb,test\n")
    assert cell({"data.split": str(file)}).hash != before
    assert len({before, cell({"data.split": "auto"}).hash, cell({"data.split": "own"}).hash, cell().hash}) == 4


def test_a_dry_run_names_the_pre_trainings_that_are_still_to_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "helixformer_depth",
        "--dry-run",
        "--seeds",
        "2",
        "--set",
        "pretrain.epochs=1",
        "--set",
        "model.weights=none",
    ]
    assert commands.run_app(sweep.app, *words, "--out", tmp_path / "run") in (0, None)
    output = capsys.readouterr().out
    lines = [line.split(maxsplit=5) for line in output.splitlines() if "pre-training of small" in line]
    assert [line[1:5] for line in lines] == [["to", "run", "seed", "0"], ["to", "run", "seed", "1"]]
    assert "8 cells: 0 ended, 8 to run" in output
