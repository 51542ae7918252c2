"""`python -m raysearch.train fewshot` as a user runs it, and the pre-training that comes before it."""

import json
from pathlib import Path

import pytest
import torch

from raysearch import train
from raysearch.core import cli
from raysearch.data import class_splits, feed, shards, synthetic
from raysearch.storage import cache_dir
from raysearch.studies.configs import TASKS, overrides, presets, profile_settings
from raysearch.tasks import registry
from raysearch.tasks.base import Feed, Worker
from raysearch.tasks.registry import with_pretrained_backbone

SPEC = synthetic.SyntheticSpec(classes=8, train_per_class=6, test_per_class=2, side=32)
SETTINGS = {
    "data.side": 32,
    "model.weights": None,
    "model.method": "lwfm",
    "episodes.ways": 2,
    "episodes.queries": 3,
    "episodes.validation": 3,
    "pretrain.epochs": 1,
    "pretrain.batch": 8,
    "train.epochs": 2,
    "train.episodes": 2,
    "lwfm.aux_batch": 4,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.ensure_shards(SPEC, tmp_path_factory.mktemp("drawn"))


def run(data: Path, *more: str, **changes: object) -> int:
    pairs = {**SETTINGS, **changes}.items()
    words = [word for path, value in pairs for word in ("--set", f"{path}={json.dumps(value)}")]
    with pytest.raises(SystemExit) as stopped:
        cli.run(train.app, ["fewshot", "--data", str(data), *words, *more])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


@pytest.mark.filterwarnings("ignore:.*classes have fewer")
def test_a_run_and_its_pre_training_which_is_kept(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAYSEARCH_CACHE", str(tmp_path / "cache"))
    assert run(data, "--episodes", "5", "--seed", "2", "--out", str(tmp_path / "state.pt")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("split mod4, hash ")
    assert lines[0].endswith("classes 4 train (32 images), 2 val (16 images), 2 test (16 images)")
    steps = ["pre-training epoch 1/1", "epoch 1/2", "epoch 2/2", f"wrote {tmp_path / 'state.pt'}: the trained state"]
    assert [line.split(" · ")[0] for line in lines[2:-1]] == steps
    metrics = json.loads(lines[-1])
    assert set(metrics) == {"accuracy", "accuracy_ci", "accuracy_validation"}

    assert run(data, "--episodes", "5", "--seed", "2") == 0
    again = capsys.readouterr().out.splitlines()
    assert len(again) == len(lines) - 2, "the trunk was kept, and no file written"
    assert json.loads(again[-1]) == metrics

    # the tasks themselves, one after the other
    given = {**SETTINGS, "episodes.test": 5}
    config = overrides.resolve("fewshot", overrides.start_from("fewshot", profile_settings("fewshot", "laptop"), given))
    divided = class_splits.partition_of(data, "auto")
    sets = feed.decode_dataset(data, 32, 1.0, divided.of_class)
    images = Feed(**sets, content_hash=shards.read_manifest(data).content_hash, split=divided.identity)

    def advance(task: registry.Task) -> None:
        for _ in range(task.steps):
            task.advance()

    torch.set_num_threads(1)
    worker = with_pretrained_backbone(config, 2, Worker(images, cache_dir()), tmp_path / "other", advance)
    task = registry.build(config, 2, worker)
    advance(task)
    outcome = task.evaluate()
    assert {name: outcome[name] for name in metrics} == metrics
    kept = torch.load(tmp_path / "state.pt", weights_only=True)
    assert all(torch.equal(value, kept["network"][name]) for name, value in task.state_dict()["network"].items())


WRONG = {
    "two beginnings": ({"model.weights": "DRAWN_BIRDS_V1"}, [], "set one of them"),
    "ways": ({"episodes.ways": 3}, [], "episodes.ways=3: the split has 2 validation classes; set fewer ways"),
    "head": ({"model.method": "relation", "data.side": 16}, [], "head.kind=cosine takes any"),
    "split": ({"data.split": "mod5"}, [], "'mod4'"),
    "own split": ({"data.split": "own"}, [], "disjoint, non-empty class sets"),
    "preset": ({}, ["--preset", "lwmf"], "'lwfm'"),
    "tap": ({"lwe.layers": [4]}, [], "small has 0 to 3"),
    "pre-training": ({"pretrain.lr": 1e30}, [], "a lower pretrain.lr may help"),
    "training": (
        {"pretrain.epochs": 0, "model.frozen": False, "train.lr": 1e30, "train.optimiser": "sgd"},
        [],
        "a lower train.lr may help",
    ),
}


@pytest.mark.filterwarnings("ignore:.*classes have fewer")
@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_is_one_line(case: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes, words, said = WRONG[case]
    assert run(data, *words, **changes) == 2
    err = capsys.readouterr().err
    assert all(line.startswith("error: ") for line in err.splitlines()), "a line per mistake"
    assert said in err


def test_presets_and_settings_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.run(train.app, ["fewshot", "--settings"])
    out = capsys.readouterr().out
    assert stopped.value.code == 0
    for path in overrides.known_paths("fewshot"):
        assert f"\n{path}=" in f"\n{out}", path
    assert max(map(len, out.splitlines())) <= 100
    assert all(name in presets.names() for name in TASKS["fewshot"].presets)
