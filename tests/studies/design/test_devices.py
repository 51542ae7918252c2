"""The device and its precision are part of a cell's name on a GPU; on a CPU names are those of earlier versions."""

from dataclasses import replace
from typing import Any

import pytest

from raysearch.studies.configs import TASKS, overrides
from raysearch.studies.design import CPU, GPU, Ablation, Device, Search, cell_hash, factor, plan_ablation, plan_search

OLD_GPU = Device("cuda", "float32")
DATA = "d" * 64
FEWSHOT = {"data.side": 32, "pretrain.epochs": 1}


def name(task: str, device: Device, precision: str = "auto", workers: int = 1, **settings: Any) -> str:
    chosen = {**(FEWSHOT if task == "fewshot" else {}), "train.precision": precision, **settings}
    return cell_hash(overrides.resolve(task, chosen), DATA, 0, workers, device=device)


@pytest.mark.parametrize("task", ["retrieval", "fewshot"])
def test_a_name_holds_the_device_and_the_precision_that_auto_means_there(task: str) -> None:
    names = {
        (device, precision): name(task, device, precision)
        for device in (CPU, GPU, OLD_GPU)
        for precision in ("auto", "float32")
    }
    assert names[OLD_GPU, "auto"] == names[OLD_GPU, "float32"], "auto is float32 there"
    distinct = [names[key] for key in ((CPU, "auto"), (CPU, "float32"), (GPU, "auto"))]
    assert len({*distinct, names[GPU, "float32"]}) == 4
    if task == "retrieval":
        assert names[GPU, "float32"] == names[OLD_GPU, "float32"]
    else:
        assert names[GPU, "float32"] != names[OLD_GPU, "float32"], "their pre-trainings follow the device alone"
    assert name(task, GPU, workers=2) != name(task, GPU)


def test_on_a_cpu_a_name_does_not_depend_on_what_is_new() -> None:
    config = overrides.resolve("retrieval", {})
    assert cell_hash(config, DATA, 0) == cell_hash(config, DATA, 0, device=CPU)


def test_a_pre_training_has_a_name_per_device_and_so_have_its_cells() -> None:
    config = overrides.resolve("fewshot", FEWSHOT)
    start, seed = config.starts_from(0) or (config, 0)
    names = {cell_hash(start, DATA, seed, device=device) for device in (CPU, GPU, OLD_GPU)}
    assert len(names) == 3


@pytest.mark.parametrize("settings", [{"model.frozen": True}, {"hash.method": "itq"}], ids=str)
def test_precision_counts_on_a_gpu_where_no_step_is_in_bfloat16(settings: dict[str, Any]) -> None:
    # Convolutions round to TF32 under "auto", also those that compute features once.
    names = {
        device: [name("retrieval", device, word, **settings) for word in ("auto", "float32")] for device in (CPU, GPU)
    }
    assert len(set(names[CPU])) == 1
    assert len({*names[CPU], *names[GPU]}) == 3


def test_a_task_without_the_setting_follows_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    config = overrides.resolve("pretrain", {})
    assert "precision" not in config.model_dump()["train"]
    names = {cell_hash(config, DATA, 0, device=device) for device in (CPU, GPU, OLD_GPU)}
    assert len(names) == 3
    before = cell_hash(config, DATA, 0, device=GPU)
    monkeypatch.setitem(TASKS._items, "pretrain", replace(TASKS["pretrain"], version=TASKS["pretrain"].version + 1))
    assert cell_hash(config, DATA, 0, device=GPU) != before


def test_a_plan_names_all_of_its_cells_for_its_device() -> None:
    study = Ablation("?", "fewshot", {}, [factor("episodes.shots", 1, 5)], base=FEWSHOT, metric="accuracy")
    plan = plan_ablation("shots", study, "laptop", DATA, seeds=2)
    on_gpu = plan.for_data(DATA, GPU)
    assert plan.device == CPU
    assert on_gpu.device == GPU
    assert {cell.hash for cell in plan.cells}.isdisjoint(cell.hash for cell in on_gpu.cells)
    assert {cell.start.hash for cell in on_gpu.cells if cell.start}.isdisjoint(
        cell.start.hash for cell in plan.cells if cell.start
    )
    assert on_gpu.for_data(DATA) == on_gpu, "the device stays"
    assert on_gpu.for_data(DATA, CPU).cells == plan.cells
    wider = on_gpu.with_cells_of([], [0, 1, 2])
    assert {cell.hash for cell in on_gpu.cells} == {cell.hash for cell in wider.cells}


def test_a_search_names_all_of_its_cells_for_its_device() -> None:
    search = Search("?", "retrieval", {"train.lr": (1e-4, 1e-2)}, trials=2)
    plan = plan_search("rates", search, "laptop", DATA)
    on_gpu = plan.for_data(DATA, GPU)
    variant = plan.reference(plan.groups[0])
    assert plan.cell(variant, 0).hash != on_gpu.cell(variant, 0).hash
    assert on_gpu.cell(variant, 0).hash == cell_hash(variant.config, DATA, 0, device=GPU)
    assert {cell.hash for cell in plan.reference_cells()}.isdisjoint(cell.hash for cell in on_gpu.reference_cells())
