"""Pickles planted in every file and column that a run, a data set, a model, an index or a cache may hold.

The planted object creates a file when it is unpickled. Each test spoils one file at a time, since a command stops at
the first that it refuses, and opens it by every command that reads it. The tests of the drivers spoil each attribute in
`optuna.db`, and continue the search by every sampler.
"""

import base64
import contextlib
import io
import json
import pickle
import shutil
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import typer

from dashboards.live.follower import RunFollower
from raysearch import classify, ingest, report, retrieve, train
from raysearch.core import UserError, cli
from raysearch.data import feed, shards
from raysearch.inference import hasher
from raysearch.runs import describe, results
from raysearch.storage import Location
from raysearch.studies.design import Ablation, ablation_plan, factor
from raysearch.tasks.base import Feed, Worker
from raysearch.tasks.common import cached
from raysearch.tasks.registry import _read_backbone
from raysearch.tasks.retrieval import task as retrieval_task

from ..inspection.finished_cells import train_cell
from ..test_untrusted_input import Hostile

SETTINGS = {
    "data.side": 32,
    "model.backbone": "small",
    "hash.method": "lsh",
    "hash.bits": 8,
    "srem.size": 4,
    "train.iterations": 1,
    "train.epochs": 1,
    "train.samples": 12,
    "train.batch": 12,
    "warmup.iterations": 1,
    "warmup.epochs": 1,
}


def _torch(hostile: Hostile, zipped: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save({"task": hostile}, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def _array(hostile: Hostile, zipped: bool) -> bytes:
    buffer = io.BytesIO()
    array = np.array([hostile], dtype=object)
    np.savez(buffer, array) if zipped else np.save(buffer, array)
    return buffer.getvalue()


FORMS: dict[str, Callable[[Hostile], bytes]] = {
    "pickle of text": lambda hostile: pickle.dumps(hostile, 0),
    "pickle": lambda hostile: pickle.dumps(hostile, 5),
    "torch": lambda hostile: _torch(hostile, True),
    "legacy torch": lambda hostile: _torch(hostile, False),
    "npy": lambda hostile: _array(hostile, False),
    "npz": lambda hostile: _array(hostile, True),
}


class Place(contextlib.AbstractContextManager["Place"]):
    """A fresh copy of the run, and a check that nothing was executed."""

    def __init__(self, made: Path, folder: Path) -> None:
        self.sign = folder / "executed"
        self.hostile = Hostile(self.sign)
        self.made = made
        self.copy = folder / "copy"

    def fresh(self) -> Path:
        shutil.rmtree(self.copy, ignore_errors=True)
        return Path(shutil.copytree(self.made, self.copy))

    def run(self, app: typer.Typer, *words: object) -> int:
        """Run a command in this process. It may refuse the file, in one line."""
        with pytest.raises(SystemExit) as ended:
            cli.run(app, [str(word) for word in words])
        assert ended.value.code in (0, 1, 2)
        assert not self.sign.exists(), words
        return int(ended.value.code)

    def __exit__(self, *error: object) -> None:
        assert not self.sign.exists()


@pytest.fixture(scope="module")
def made(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of two cells and their checkpoints, its data, a model, and an index."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("planted")
    shutil.copytree(tiny_data, folder / "data")
    manifest = shards.read_manifest(folder / "data")
    study = Ablation(
        question="Which?",
        task="retrieval",
        base=SETTINGS,
        reference={"hash.bits": 8},
        factors=[factor("hash.bits", 8, 12)],
        seeds=1,
        metric="map",
        mode="max",
    )
    planned = ablation_plan.plan_ablation("study", study, "laptop", manifest.content_hash, {})
    place = Location.parse(folder / "data")
    around = describe.describe_surroundings(manifest, place, {}, "As asked.", "command", planned.reference.config)
    results.write_study(folder / "run", describe.describe_ablation(planned, around))
    images = Feed(**feed.decode_dataset(folder / "data", 32), content_hash=manifest.content_hash)
    for cell in planned.cells:
        train_cell(cell, Worker(images, folder / "features"), folder / "run")
    model = retrieval_task.build(planned.reference.config, 0, Worker(images, folder / "features"))
    model.advance()
    hasher.save(folder / "model.pt", model, manifest, {})
    with pytest.raises(SystemExit):
        cli.run(retrieve.app, ["index", str(folder / "model.pt"), str(folder / "data"), str(folder / "index.parquet")])
    (folder / "photos/a").mkdir(parents=True)
    image = shards.read_rows(folder / "data", ["image"])["image"][0].as_py()
    (folder / "photos/a/1.jpg").write_bytes(image)
    assert {path.name for path in folder.iterdir()} >= {"run", "data", "model.pt", "index.parquet"}
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("RAYSEARCH_CACHE", str(made.with_name("cache")))
    with Place(made, tmp_path) as fresh:
        yield fresh


def texts(hostile: Hostile) -> list[str]:
    data = pickle.dumps(hostile, 0)
    return [data.decode("latin-1"), data.hex(), base64.b64encode(data).decode()]


def open_run(place: Place, folder: Path, gallery: bool = False) -> None:
    run = folder / "run"
    place.run(report.app, run)
    with contextlib.suppress(UserError):
        RunFollower(run).state()
    if gallery:
        place.run(report.app, run, "--gallery", "--images", 1, "--data", folder / "data")


@pytest.mark.parametrize("form", FORMS)
def test_the_planted_objects_are_executed_by_whoever_unpickles(form: str, tmp_path: Path) -> None:
    data = FORMS[form](Hostile(tmp_path / "executed"))
    if form.startswith("np"):
        content = np.load(io.BytesIO(data), allow_pickle=True)
        assert len(content if form == "npy" else content["arr_0"]) == 1
    elif "torch" in form:
        torch.load(io.BytesIO(data), weights_only=False)
    else:
        pickle.loads(data)
    assert (tmp_path / "executed").exists()


def test_the_run_is_whole(place: Place) -> None:
    """Without a planted object every command succeeds, so that the refusals of the other tests are about it."""
    folder = place.fresh()
    assert place.run(report.app, folder / "run", "--gallery", "--images", 1, "--data", folder / "data") == 0
    with pytest.raises(SystemExit) as ended:
        ingest.main(["verify", str(folder / "data")])
    assert ended.value.code == 0
    words = ["query", folder / "model.pt", folder / "index.parquet", folder / "photos/a/1.jpg"]
    assert place.run(retrieve.app, *words) == 0


FILES = ["study.json", "cells", "cost.json", "progress/host-1.json", "results.parquet", "report.html"]
FILES += ["tables/variants.csv", "optuna.db"]


@pytest.mark.parametrize("name", FILES)
def test_files_of_a_run(name: str, place: Place) -> None:
    for form in ("pickle of text", "pickle", "torch"):
        folder = place.fresh()
        file = folder / "run" / name
        if name == "cells":
            file = next(file.iterdir())
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(FORMS[form](place.hostile))
        open_run(place, folder)
        if name == "study.json":
            place.run(train.app, "retrieval", "--from", folder / "run", "--variant", "reference", "--settings")


@pytest.mark.parametrize("form", ["pickle", "torch", "legacy torch", "in a real one"])
def test_checkpoints(form: str, place: Place) -> None:
    folder = place.fresh()
    for file in (folder / "run/checkpoints").rglob("*.*"):
        data = inside(file, place.hostile) if form == "in a real one" else FORMS[form](place.hostile)
        file.write_bytes(data)
    open_run(place, folder, gallery=True)


def inside(file: Path, hostile: Hostile) -> bytes:
    """Return a file of torch whose tensors are as they were, with the object in the place of its content."""
    if not zipfile.is_zipfile(file):
        return pickle.dumps(hostile)
    buffer = io.BytesIO()
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(buffer, "w") as target:
        for name in source.namelist():
            target.writestr(name, pickle.dumps(hostile, 2) if name.endswith("data.pkl") else source.read(name))
    return buffer.getvalue()


def test_texts_of_the_record(place: Place) -> None:
    for text in texts(place.hostile):
        folder = place.fresh()
        path = folder / "run/study.json"
        original = json.loads(path.read_text())
        for key in original:
            path.write_text(json.dumps(original | {key: text}))
            with contextlib.suppress(UserError):
                results.load(folder / "run")
        for key, value in original.items():
            if isinstance(value, str) and key not in ("kind", "task"):
                original[key] = text
        original["data"] |= {"path": text}
        path.write_text(json.dumps(original))
        open_run(place, folder)
        place.run(train.app, "retrieval", "--from", folder / "run", "--variant", "reference")


def spoilt(table: pa.Table, hostile: Hostile) -> Iterator[pa.Table]:
    """Yield the table with the object in each column as text and as bytes, and in its metadata."""
    data = pickle.dumps(hostile, 2)
    # Earlier versions of pyarrow unpickled the type of such a column when they read the schema.
    extension = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": data}
    for number, name in enumerate(table.column_names):
        for value in (*texts(hostile)[:2], data):
            column = pa.array([value] * len(table))
            yield table.set_column(number, name, column)
        field = table.schema.field(number).with_metadata(extension)
        yield pa.table(table.columns, schema=table.schema.set(number, field))
    keys = [*(table.schema.metadata or {}), b"pandas", b"huggingface"]
    yield table.replace_schema_metadata(dict.fromkeys(keys, data))


def test_columns_of_a_cell(place: Place) -> None:
    folder = place.fresh()
    (file, *_) = (folder / "run/cells").iterdir()
    tables = list(spoilt(pq.read_table(file), place.hostile))
    assert len(tables) > 40
    for table in tables:
        pq.write_table(table, file)
        with contextlib.suppress(UserError):
            results.load(folder / "run")
        with contextlib.suppress(UserError):
            RunFollower(folder / "run").state()
    for table in tables[::9]:
        pq.write_table(table, file)
        open_run(place, folder)


def test_columns_of_a_data_set(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    folder = place.fresh()
    data = folder / "data"
    (file,) = data.glob("*.parquet")
    for number, table in enumerate(spoilt(pq.read_table(file), place.hostile)):
        pq.write_table(table, file)
        manifest = json.loads((data / "manifest.json").read_text())
        manifest["shards"][0] |= {"bytes": file.stat().st_size, "sha256": shards.file_sha256(file)}
        (data / "manifest.json").write_text(json.dumps(manifest))
        for use in (shards.verify_shards, shards.read_rows, lambda path: feed.decode_dataset(path, 32)):
            with contextlib.suppress(UserError):
                use(data)
        if number % 6 == 0:
            with pytest.raises(SystemExit):
                ingest.main(["verify", str(data)])
            place.run(retrieve.app, "index", folder / "model.pt", data, folder / "new.parquet")


def test_texts_of_a_manifest(place: Place) -> None:
    folder = place.fresh()
    path = folder / "data/manifest.json"
    original = json.loads(path.read_text())
    for text in texts(place.hostile)[:2]:
        for key, value in original.items():
            planted = (
                [text] if isinstance(value, list) else dict.fromkeys(value, text) if isinstance(value, dict) else text
            )
            path.write_text(json.dumps(original | {key: planted}))
            with contextlib.suppress(UserError):
                shards.verify_shards(folder / "data")
    for form in FORMS.values():
        path.write_bytes(form(place.hostile))
        with pytest.raises(UserError):
            shards.read_manifest(folder / "data")


def test_models(place: Place) -> None:
    folder = place.fresh()
    model = folder / "model.pt"
    for data in [inside(model, place.hostile), *(form(place.hostile) for form in FORMS.values())]:
        model.write_bytes(data)
        photos = folder / "photos"
        assert place.run(retrieve.app, "index", model, photos, folder / "new.parquet") == 2
        assert place.run(retrieve.app, "query", model, folder / "index.parquet", photos / "a/1.jpg") == 2
        assert place.run(classify.app, model, photos, photos / "a/1.jpg") == 2
        words = ["--data", folder / "data", "--set", f"model.weights={model}"]
        assert place.run(train.app, "retrieval", *words) == 2


def test_columns_of_an_index(place: Place) -> None:
    folder = place.fresh()
    index = folder / "index.parquet"
    for table in list(spoilt(pq.read_table(index), place.hostile)):
        pq.write_table(table, index)
        place.run(retrieve.app, "query", folder / "model.pt", index, folder / "photos/a/1.jpg")
    for form in FORMS.values():
        index.write_bytes(form(place.hostile))
        assert place.run(retrieve.app, "query", folder / "model.pt", index, folder / "photos/a/1.jpg") == 2


@pytest.mark.parametrize("form", FORMS)
def test_caches(form: str, place: Place, tmp_path: Path) -> None:
    """Features and backbones of pre-trainings, planted where the user can be tricked into unpacking them."""
    table = torch.ones(2, 2)
    cached(tmp_path / "features", {"a": 1}, lambda: table)
    (file,) = (tmp_path / "features").iterdir()
    file.write_bytes(FORMS[form](place.hostile))
    assert torch.equal(cached(tmp_path / "features", {"a": 1}, lambda: table), table)
    (tmp_path / "backbone.pt").write_bytes(FORMS[form](place.hostile))
    assert _read_backbone(tmp_path, "backbone.pt", torch.device("cpu")) is None


@pytest.mark.parametrize("form", FORMS)
def test_lists_of_classes(form: str, place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Matlab's files, tables of parts, and packages of few-shot data sets."""
    data = FORMS[form](place.hostile)
    cases = {
        "cars": ("cars_annos.mat", "car_ims/000001.jpg"),
        "dogs": ("lists/train_list.mat", "lists/test_list.mat", "Images/n1-a/1.jpg"),
        "folder": ("split.csv", "a/1.jpg", "b/1.jpg"),
        "webdataset": ("00000.tar", "classnames.txt"),
        "parquet": ("train-00000-of-00001.parquet",),
        "miniimagenet": ("train.csv", "mini-imagenet-cache-train.pkl"),
        "auto": ("train.pickle", "data.npy"),
    }
    for layout, names in cases.items():
        for name in names:
            (tmp_path / layout / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / layout / name).write_bytes(data)
        with pytest.raises(SystemExit) as ended:
            ingest.main([layout, str(tmp_path / layout), str(tmp_path / "out" / layout)])
        assert ended.value.code == 2
        error = capsys.readouterr().err
        assert "Traceback" not in error
        assert not place.sign.exists(), layout


@pytest.mark.parametrize("name", ["study.json", "optuna.db"])
def test_a_sweep_that_continues(name: str, place: Place, tmp_path: Path) -> None:
    """Its own record and database are foreign where others write to the store. Nothing is trained here."""
    from raysearch import sweep  # imports the study's files

    run = tmp_path / "run"
    run.mkdir()
    for form in ("pickle", "torch"):
        (run / name).write_bytes(FORMS[form](place.hostile))
        place.run(sweep.app, "srem_ablation", "--profile", "laptop", "--out", run, "--dry-run")
    with contextlib.closing(sqlite3.connect(tmp_path / "blob.db")) as database, database:
        database.execute("create table studies (study_id integer, study_name blob)")
        database.execute("insert into studies values (1, ?)", (pickle.dumps(place.hostile),))
    shutil.copy(tmp_path / "blob.db", run / "optuna.db")
    place.run(sweep.app, "srem_ablation", "--profile", "laptop", "--out", run, "--dry-run")


def test_no_place_is_left_out(place: Place, made: Path) -> None:
    """Every kind of file that a run, a data set and a model consist of is spoilt above."""
    endings = {path.suffix for path in made.rglob("*") if path.is_file()} - {".jpg"}
    assert endings == {".json", ".parquet", ".pt"} | {path.suffix for path in (made / "features").rglob("*.npy")}


@pytest.mark.parametrize("key", ["history", "settings", "task", ""])
def test_checkpoints_of_another_content(key: str, place: Place) -> None:
    """Harmless to unpickle, and of no use: each ends in one line."""
    deep = "[" * 100_000
    for value in (deep, "1", {"a": 1}, 5, None, [{"x": torch.ones(1)}]):
        folder = place.fresh()
        for file in (folder / "run/checkpoints").rglob("*.pt"):
            state = torch.load(file, weights_only=True) if key else value
            if key:
                state[key] = value
            torch.save(state, file)
        words = [folder / "run", "--gallery", "--images", 1, "--data", folder / "data"]
        assert place.run(report.app, *words) == 2
