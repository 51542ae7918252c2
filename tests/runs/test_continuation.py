"""A run directory holds one question. What differs is kept apart or refused, and nothing is replaced."""

import time
from pathlib import Path
from typing import Any

import pytest

from raysearch.core import UserError
from raysearch.runs import CellRecord, DataRecord, Heartbeat, StudyRecord, VariantRecord, continuation, results
from raysearch.runs.heartbeat import write_heartbeat

LARGE = {"srem": {"regions": 50, "size": 32}, "model": {"weights": "vgg16.pth"}}


def record(**changed: Any) -> StudyRecord:
    fields: dict[str, Any] = {
        "kind": "ablation",
        "study": "birds",
        "task": "retrieval",
        "profile": "laptop",
        "device": "cpu",
        "seeds": [0, 1],
        "settings": {"train.lr": 0.1},
        "data": DataRecord(name="photos", content_hash="a" * 64),
        "reference": "reference",
        "metric": "map",
        "variants": [VariantRecord(name="reference", config=LARGE), VariantRecord(name="srem.regions=0")],
        "cells": [CellRecord(cell="0123456789", variant="reference", seed=0)],
    }
    return StudyRecord(**fields | changed)


def write(directory: Path, study: StudyRecord, status: str = "finished") -> None:
    results.write_study(directory, study)
    row = {"cell": "0123456789", "seed": 0, "status": status, "error": None, "map": 0.5}
    results.write_cell(directory / "cells", row)


def searched(**changed: Any) -> StudyRecord:
    fields = {"kind": "search", "metrics": ["map_validation"], "modes": ["max"], "space": {"train.lr": "log"}}
    return record(**fields | changed)


def with_config(**sections: Any) -> list[VariantRecord]:
    return [VariantRecord(name="reference", config=LARGE | sections)]


SAME = [
    (record(), record()),
    (record(), record(seeds=[0])),
    (record(), record(seeds=[0, 1, 2, 3])),
    (record(), record(metric="map_index", question="Another?", published="p/q")),
    (record(), record(variants=with_config())),
    (record(), record(variants=with_config(model={"weights": "/home/me/vgg16.pth"}))),
    (record(), record(variants=with_config(new={"setting": 1}))),
    (StudyRecord(study="birds", variants=[], cells=[]), record()),
    (searched(), searched(budget=99, sampler="gp")),
]
OTHER = [
    ({"data": DataRecord(name="embedded", content_hash="b" * 64)}, "data: 'photos', here 'embedded'"),
    (
        {"data": DataRecord(name="photos", content_hash="b" * 64)},
        "data: 'photos' of hash aaaaaaaa, here of hash bbbbbbbb",
    ),
    ({"settings": {"train.lr": 0.2}}, "--set: train.lr=0.1, here 0.2"),
    ({"settings": {}}, "--set: train.lr=0.1, here not set"),
    ({"settings": {"train.lr": 0.1, "hash.bits": 12}}, "--set: hash.bits=not set, here 12"),
    ({"profile": "paper"}, "profile: laptop, here paper"),
    ({"study": "bees"}, "study: birds, here bees"),
    ({"task": "fewshot"}, "task: retrieval, here fewshot"),
    ({"kind": "search"}, "kind: ablation, here search"),
    ({"device": "cuda"}, "device: CPU, here GPU"),
    ({"variants": with_config(srem={"regions": 25})}, "reference: srem.regions=50, here 25"),
    ({"variants": with_config(model={"weights": "other.pth"})}, "reference: model.weights=vgg16.pth, here other.pth"),
]
OTHER_SEARCH = [
    ({"metrics": ["loss"]}, "metric: map_validation, here loss"),
    ({"modes": ["min"]}, "mode: max, here min"),
    ({"seeds": [0]}, "seeds: 0, 1, here 0"),
    ({"space": {"train.lr": "linear"}}, "space: train.lr: log, here train.lr: linear"),
]


@pytest.mark.parametrize(("earlier", "now"), SAME)
def test_what_may_differ(earlier: StudyRecord, now: StudyRecord) -> None:
    assert continuation.find_differences(earlier, now) == []


@pytest.mark.parametrize(
    ("make", "changed", "message"),
    [*((record, *case) for case in OTHER), *((searched, *case) for case in OTHER_SEARCH)],
)
def test_another_question_is_refused_or_kept_apart(
    make: Any, changed: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("runs/mine"), make())
    with pytest.raises(UserError) as refused:
        continuation.choose_run("runs/mine", make(**changed), embedded=False)
    assert message in str(refused.value)
    assert "give another --out" in str(refused.value)
    assert continuation.choose_run("runs/mine", make(), embedded=False).location.directory.samefile("runs/mine")

    first = continuation.choose_run(None, make(), embedded=True)
    write(first.location.directory, make())
    other = continuation.choose_run(None, make(**changed), embedded=True)
    assert other.location.directory != first.location.directory
    if "study" not in changed and "profile" not in changed:  # which are in the name anyway
        assert message in other.note
        assert str(other.location) in other.note
    write(other.location.directory, make(**changed))
    again = continuation.choose_run(None, make(**changed), embedded=True)
    assert again.location.directory == other.location.directory
    assert continuation.choose_run(None, make(), embedded=True).location.directory == first.location.directory


@pytest.mark.parametrize("hardware", [{}, {"gpus": 1}])
@pytest.mark.parametrize(("seconds", "now", "goes_on"), [(0.0, "cpu", True), (9.0, "cpu", False), (9.0, "cuda", False)])
def test_a_run_that_an_earlier_version_computed_on_a_gpu_is_kept(
    seconds: float, now: str, goes_on: bool, hardware: dict[str, int], tmp_path: Path
) -> None:
    earlier = record(hardware=hardware)
    del earlier.device
    row = {"cell": "0123456789", "seed": 0, "status": "finished", "error": None, "map": 0.5, "gpu_seconds": seconds}
    results.write_study(tmp_path, StudyRecord.model_validate({**earlier.to_dict()}))
    results.write_cell(tmp_path / "cells", row)
    if goes_on:
        assert continuation.choose_run(str(tmp_path), record(device=now), embedded=True).note == ""
    else:
        with pytest.raises(UserError, match="device: GPU, in an earlier version, here"):
            continuation.choose_run(str(tmp_path), record(device=now), embedded=True)


@pytest.mark.parametrize(("gpus", "refused"), [(0, False), (1, True)])
def test_checkpoints_of_an_earlier_version_s_gpu_are_no_beginning_for_a_cpu(
    gpus: int, refused: bool, tmp_path: Path
) -> None:
    fields = record(hardware={"gpus": gpus}).to_dict()
    del fields["device"]
    results.write_study(tmp_path, StudyRecord.model_validate(fields))
    if refused:
        with pytest.raises(UserError, match="GPU, in an earlier version"):
            continuation.choose_run(str(tmp_path), record(), embedded=True)
    else:
        assert continuation.choose_run(str(tmp_path), record(), embedded=True).note == ""


def directory(study: StudyRecord, embedded: bool) -> str:
    return str(continuation.choose_run(None, study, embedded).location)


def test_the_default_holds_the_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert directory(record(), True) == "runs/birds-laptop"
    assert directory(record(), False) == "runs/birds-laptop-photos"
    for name, part in {"../x y": "x-y", "/": "a" * 8, "": "a" * 8, "日本": "日本", "a" * 300: "a" * 40}.items():
        named = record(data=DataRecord(name=name, content_hash="a" * 64))
        assert directory(named, False) == f"runs/birds-laptop-{part}"


def test_a_run_of_an_older_version_goes_on_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("runs/birds-laptop"), record())
    assert directory(record(), False) == "runs/birds-laptop"
    assert directory(record(settings={}), False) == "runs/birds-laptop-photos"


def test_two_data_sets_of_one_name_are_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    others = [record(data=DataRecord(name="photos", content_hash=letter * 64)) for letter in "abc"]
    for study in others:
        write(Path(directory(study, False)), study)
    names = [directory(study, False) for study in others]
    assert names == ["runs/birds-laptop-photos", "runs/birds-laptop-photos-2", "runs/birds-laptop-photos-3"]


def test_a_run_without_results_has_nothing_to_lose_unless_it_is_running(tmp_path: Path) -> None:
    run = tmp_path / "run"
    write(run, record(), status="failed")
    other = record(settings={"model.weights": "right.pth"})
    assert continuation.choose_run(str(run), other, embedded=True).location.directory == run
    beat = Heartbeat("host", 1, time.time(), time.time(), "running")
    write_heartbeat(run, beat)
    with pytest.raises(UserError, match="holds another run"):
        continuation.choose_run(str(run), other, embedded=True)
