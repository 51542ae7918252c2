"""`python -m raysearch.train` as a user runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from raysearch import train
from raysearch.core import cli
from raysearch.data import feed, shards, synthetic
from raysearch.inference.hasher import Hasher
from raysearch.studies.configs import TASKS, overrides
from raysearch.tasks.base import Feed, Worker
from raysearch.tasks.retrieval import task as retrieval_task
from raysearch.tasks.retrieval.shallow_task import ShallowHashingTask
from raysearch.tasks.retrieval.task import RetrievalTask

from . import without_ray
from .study_json import write_study_json

SPEC = synthetic.SyntheticSpec(classes=4, train_per_class=6, test_per_class=3, side=32)
SETTINGS = {
    "data.side": 32,
    "data.validation": 0.0,
    "data.augment": "flip",
    "hash.bits": 8,
    "srem.regions": 4,
    "srem.size": 6,
    "warmup.iterations": 1,
    "warmup.epochs": 2,
    "train.iterations": 2,
    "train.epochs": 1,
    "train.batch": 10,
    "train.milestones": [0.5],
}
WITHOUT_RAY = without_ray.CODE.format(module="train")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.ensure_shards(SPEC, tmp_path_factory.mktemp("drawn"))


def words(data: Path, **changes: object) -> list[str]:
    pairs = {**SETTINGS, **changes}.items()
    return ["retrieval", "--data", str(data), *(w for k, v in pairs for w in ("--set", f"{k}={json.dumps(v)}"))]


def run(how: list[str], given: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *how, *given], capture_output=True, text=True, timeout=300, check=False)


def numbers(lines: list[str]) -> list[list[str]]:
    """Steps without the time that is left, and the metrics."""
    return [*(line.split(" · ")[:-1] for line in lines if "/3 · " in line), [lines[-1]]]


def test_a_run_ends_with_metrics_that_a_run_without_ray_gives_too(data: Path, tmp_path: Path) -> None:
    first = run(["-m", "raysearch.train"], [*words(data), "--seed", "3", "--out", str(tmp_path / "state.pt")])
    assert first.returncode == 0, first.stderr
    lines = first.stdout.splitlines()
    assert len(lines) == 6  # the images, a warm-up, two iterations, the file, the metrics
    assert "at 32 px" in lines[0]
    assert "decoded, resident: they fit" in lines[0]
    steps = ["warmup iteration 1/3", "iteration 2/3", "iteration 3/3"]
    assert [line.split(" · ")[0] for line in lines[1:4]] == steps
    assert all(line.split(" · ")[1].startswith("loss ") for line in lines[1:4])
    assert [line.split(" ")[-1] for line in lines[1:4]] == ["left", "left", "all"]
    assert max(map(len, lines[1:4])) <= 80
    assert lines[4] == f"wrote {tmp_path / 'state.pt'}: the trained state"
    metrics = json.loads(lines[-1])
    assert {"map", "map_index", "map_best_ties", "map_worst_ties", "r_precision"} <= set(metrics)
    assert 0 < metrics["map"] < 1

    streamed = [*words(data), "--seed", "3", "--feed", "streamed", "--export", str(tmp_path / "model.pt")]
    second = run(["-c", WITHOUT_RAY], streamed)
    assert second.returncode == 0, second.stderr
    assert "streamed: as asked" in second.stdout.splitlines()[0]
    assert numbers(second.stdout.splitlines()) == numbers(lines)

    # and the task itself, in this process, goes on from the state that was saved
    config = overrides.resolve(
        "retrieval", overrides.start_from("retrieval", train.profile_settings("retrieval", "laptop"), SETTINGS)
    )
    torch.set_num_threads(1)
    worker = Worker(
        Feed(**feed.decode_dataset(data, 32), content_hash=shards.read_manifest(data).content_hash), tmp_path
    )
    task = RetrievalTask(config, 3, worker)
    task.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert task.done == task.steps == 3
    evaluated = task.evaluate()
    assert evaluated.pop("by_radius")
    assert evaluated == metrics

    # the exported model has that task's network
    hasher = Hasher.load(tmp_path / "model.pt", device="cpu")
    assert torch.equal(hasher.encode(worker.feed.test.images), task._encode(worker.feed.test))
    assert hasher.data["content_hash"] == worker.feed.content_hash
    assert hasher.data["classes"] == [f"bird_{label:03d}" for label in range(4)]
    assert hasher.metrics == metrics


def test_a_fitted_method_is_trained_and_exported_too(data: Path, tmp_path: Path) -> None:
    given = words(data, **{"hash.method": "itq"})
    with pytest.raises(SystemExit) as stopped:
        cli.run(train.app, [*given, "--export", str(tmp_path / "model.pt")])
    assert stopped.value.code == 0
    hasher, sets = Hasher.load(tmp_path / "model.pt", device="cpu"), feed.decode_dataset(data, 32)
    task = retrieval_task.build(hasher.config, 0, Worker(Feed(**sets, content_hash=""), tmp_path))
    task.advance()
    assert isinstance(task, ShallowHashingTask)
    assert torch.equal(hasher.encode(sets["test"].images), task._encode(sets["test"]))


@pytest.fixture
def record(data: Path) -> dict[str, Any]:
    """What a run's study.json says, of two variants."""
    start = overrides.start_from("retrieval", train.profile_settings("retrieval", "laptop"), SETTINGS)
    changes: dict[str, dict[str, Any]] = {"reference": {}, "fewer bits": {"hash.bits": 4, "train.iterations": 1}}
    variants = [
        {"name": name, "config": overrides.resolve("retrieval", {**start, **change}).model_dump(mode="json")}
        for name, change in changes.items()
    ]
    manifest = shards.read_manifest(data)
    described = {"path": str(data), "content_hash": manifest.content_hash}
    return {
        "study": "s",
        "task": "retrieval",
        "variants": variants,
        "cells": [],
        "data": described,
        "code_version": TASKS["retrieval"].version,
    }


def from_run(record: dict[str, Any], run_dir: Path, *given: str) -> Hasher:
    write_study_json(run_dir, record)
    with pytest.raises(SystemExit) as stopped:
        cli.run(train.app, ["retrieval", "--from", str(run_dir), "--export", str(run_dir / "model.pt"), *given])
    assert stopped.value.code == 0
    return Hasher.load(run_dir / "model.pt")


def test_the_variant_of_a_run_is_trained_on_the_runs_data(record: dict[str, Any], tmp_path: Path) -> None:
    hasher = from_run(record, tmp_path, "--variant", "fewer bits", "--seed", "2")
    assert hasher.config.model_dump(mode="json") == record["variants"][1]["config"]
    assert (hasher.seed, hasher.bits) == (2, 4)
    assert hasher.data["content_hash"] == record["data"]["content_hash"]
    changed = from_run(record, tmp_path, "--variant", "fewer bits", "--set", "hash.bits=6")
    expected = record["variants"][1]["config"]
    assert changed.config.model_dump(mode="json") == {**expected, "hash": {**expected["hash"], "bits": 6}}


def test_of_a_search_the_best_is_trained(
    record: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hasher = from_run(record | {"best": [{"variant": "fewer bits"}]}, tmp_path)
    assert hasher.bits == 4
    assert capsys.readouterr().err == ""


def test_a_run_of_older_code_is_said_to_be_one(
    record: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from_run(record | {"code_version": 1}, tmp_path, "--variant", "fewer bits")
    assert "version 1 of the task's code" in capsys.readouterr().err


def test_a_run_that_cannot_be_followed_is_one_line(
    record: dict[str, Any], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study_json(tmp_path / "run", record)
    write_study_json(tmp_path / "moved", record | {"data": record["data"] | {"path": "/nothing/here"}})
    write_study_json(tmp_path / "other", record | {"data": record["data"] | {"content_hash": "another"}})
    write_study_json(tmp_path / "fewshot", record | {"task": "fewshot"})
    two = [{"variant": "reference"}, {"variant": "fewer bits"}]
    write_study_json(tmp_path / "groups", record | {"best": two})
    for name, given, said in (
        ("nothing", [], "study.json"),
        ("run", [], "--variant NAME; this run has 'reference'; 'fewer bits'"),
        ("groups", [], "'reference'; 'fewer bits'"),
        ("run", ["--variant", "fewer bit"], "'fewer bits'"),
        ("run", ["--variant", "reference", "--profile", "paper"], "--profile has no effect"),
        ("run", ["--variant", "reference", "--set", "hash.bits=0"], "hash.bits"),
        ("moved", ["--variant", "reference"], "--data"),
        ("other", ["--variant", "reference"], "other data"),
        ("fewshot", ["--variant", "reference"], "the run's task is fewshot"),
    ):
        with pytest.raises(SystemExit) as stopped:
            cli.run(train.app, ["retrieval", "--from", str(tmp_path / name), *given])
        out, err = capsys.readouterr()
        assert (stopped.value.code, err.count("\n"), out) == (2, 1, "")
        assert said in err


def test_a_wrong_input_of_a_real_process_is_one_line(data: Path) -> None:
    done = run(["-m", "raysearch.train"], words(data, **{"srem.region": 3}))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "srem.regions" in done.stderr
    assert done.stdout == ""


WRONG = {
    "task": (["retrival"], "'retrieval'"),
    "no task": ([], "TASK"),
    "flag": (["retrieval", "--sede", "3"], "--seed"),
    "profile": (["retrieval", "--profile", "labtop"], "'laptop'"),
    "value": (["retrieval", "--set", "srem.regions=many"], "srem.regions"),
    "no value": (["retrieval", "--set", "srem.regions"], "PATH=VALUE"),
    "range": (["retrieval", "--set", "data.side=4"], "data.side"),
    "seed": (["retrieval", "--seed", "one"], "--seed"),
    "data": (["retrieval", "--data", "/nothing/here"], "/nothing/here"),
    "backbone": (["retrieval", "--set", "model.backbone=resnet19", "--set", "model.weights=none"], "resnet18"),
    "weights file": (["retrieval", "--set", "model.weights=/nothing/w.pt"], "/nothing/w.pt"),
    "weights name": (["retrieval", "--set", "model.weights=DRAWN_BIRD"], "DRAWN_BIRDS_V1"),
    "erased side": (["retrieval", "--set", "data.side=16", "--set", "srem.size=20"], "srem.size=20"),
    "out": (["retrieval", "--out", "/nothing/here/state.pt"], "/nothing/here"),
    "export": (["retrieval", "--export", "/nothing/here/model.pt"], "--export"),
    "variant of no run": (["retrieval", "--variant", "reference"], "--from"),
    "out is a directory": (["retrieval", "--out", "/"], "/"),
}


@pytest.mark.parametrize(("given", "said"), WRONG.values(), ids=WRONG.keys())
def test_wrong_inputs_are_one_line_and_exit_2(
    given: list[str], said: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if given and "--data" not in given:
        given = [*given, "--data", str(data)]
    with pytest.raises(SystemExit) as stopped:
        cli.run(train.app, given)
    out, err = capsys.readouterr()
    assert stopped.value.code == 2
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    assert said in err
    assert out == ""


def test_a_loss_that_is_not_finite_is_one_line(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.run(train.app, words(data, **{"warmup.iterations": 0, "train.lr": 1e37, "train.epochs": 2}))
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "epoch" in err
    assert "train.lr" in err


def test_what_can_be_computed_again_lies_in_the_cache(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYSEARCH_CACHE", str(tmp_path / "cache"))
    before = sorted(os.listdir(data))
    with pytest.raises(SystemExit) as stopped:
        cli.run(train.app, words(data, **{"train.iterations": 1}))
    assert stopped.value.code == 0
    assert list((tmp_path / "cache" / "features").glob("features-*.npy"))
    assert sorted(os.listdir(data)) == before


def printed(capsys: pytest.CaptureFixture[str], *given: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        cli.run(train.app, [*given, "--settings"])
    assert stopped.value.code == 0
    return capsys.readouterr().out


def test_every_setting_is_printed_with_its_value_and_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "retrieval")
    for path in overrides.known_paths("retrieval"):
        assert f"\n{path}=" in f"\n{out}", path
    assert "srem.regions=50\n    number of boxes erased per image; 0 erases nothing." in out
    assert max(map(len, out.splitlines())) <= 100


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["retrieval"], "data.side=64    # profile laptop; default 224"),
        (["retrieval", "--profile", "paper"], "data.side=224"),
        (["retrieval", "--set", "data.side=112"], "data.side=112    # given here; default 224"),
        (["retrieval", "--set", "data.side=112"], "srem.size=16    # scaled to data.side=112; default 32"),
        (["retrieval", "--set", "srem.regions=0"], "srem.size=9    # scaled to data.side=64; default 32; no effect"),
        (["fewshot", "--preset", "lwfm"], "train.epochs=30    # preset lwfm; default 130"),
        (["fewshot", "--preset", "lwfm", "--set", "train.epochs=3"], "train.epochs=3    # given here; default 130"),
        (["fewshot", "--episodes", "7"], "episodes.test=7    # given here; default 2000"),
    ],
)
def test_the_settings_are_those_that_would_run(given: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert any(found.startswith(line) for found in printed(capsys, *given).splitlines())


def test_the_settings_of_a_run_are_printed_too(
    tmp_path: Path, record: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    write_study_json(tmp_path, record)
    out = printed(capsys, "retrieval", "--from", str(tmp_path), "--variant", "fewer bits")
    assert "\nhash.bits=4\n" in out.replace("    #", "\n    #")
    assert f"# run {tmp_path}; default " in out


def test_the_settings_are_yaml_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["fewshot", "--preset", "lwfm", "--profile", "paper", "--set", "train.lr=1e-5"]
    lowest = {**train.profile_settings("fewshot", "paper"), **TASKS["fewshot"].presets["lwfm"], "train.lr": 1e-5}
    config = overrides.resolve("fewshot", lowest)
    for form, parse in (("json", json.loads), ("yaml", yaml.safe_load)):
        plain = parse(printed(capsys, *given, "--format", form))
        assert TASKS["fewshot"].config.from_plain(plain) == config
