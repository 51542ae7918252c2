"""`python -m raysearch.classify` as a user runs it, with a model as `raysearch.train` exports it."""

import csv
import io
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from raysearch import classify, retrieve, train
from raysearch.classify import FewShotClassifier, Named, Prediction, accuracy, name_images
from raysearch.core import cli
from raysearch.data import feed, shards, synthetic
from raysearch.inference import hasher
from raysearch.studies.configs import overrides
from raysearch.tasks.base import Feed, Worker
from raysearch.tasks.retrieval import task as retrieval_task

from . import without_ray
from .commands import run_app, run_python

SPEC = synthetic.SyntheticSpec(classes=8, train_per_class=5, test_per_class=1, side=32)
SETTINGS = {
    "data.side": 32,
    "model.method": "lwfm",
    "episodes.ways": 2,
    "episodes.queries": 2,
    "episodes.test": 2,
    "episodes.validation": 2,
    "train.epochs": 1,
    "train.episodes": 2,
    "lwfm.aux_batch": 4,
}
WITHOUT_RAY = without_ray.CODE.format(module="classify")
SUPPORT = {"[b]bird": 1, "wren": 2, "Ärger & Spaß": 3}  # examples
PHOTOS = ["[b]bird/1.jpg", "else/3 [x].webp", "here.jpg", "Ärger & Spaß/1.jpg", "Ärger & Spaß/2.png"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.ensure_shards(SPEC, tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "model.pt"
    words = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
    with pytest.raises(SystemExit) as stopped:
        cli.run(train.app, ["fewshot", "--data", str(data), *words, "--export", str(path)])
    assert stopped.value.code == 0
    return path


@pytest.fixture(scope="module")
def retrieval_model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("other")
    config = overrides.resolve(
        "retrieval", {"data.side": 32, "model.backbone": "small", "hash.method": "lsh", "srem.size": 4}
    )
    task = retrieval_task.build(config, 0, Worker(Feed(**feed.decode_dataset(data, 32), content_hash=""), directory))
    task.advance()
    hasher.save(directory / "hasher.pt", task, shards.read_manifest(data), {})
    return directory / "hasher.pt"


@pytest.fixture(scope="module")
def folders(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Examples of three classes, of which there are different numbers, and photos of which two classes' lie apart."""
    root = tmp_path_factory.mktemp("my folders")
    birds = iter(shards.read_rows(data, ["image"])["image"].to_pylist())
    names = [f"support/{label}/{number}.jpg" for label, count in SUPPORT.items() for number in range(count)]
    for name in [*names, *(f"photos/{name}" for name in PHOTOS)]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.open(io.BytesIO(next(birds))).save(root / name)
    (root / "support/notes.txt").write_text("no image, by its name")
    (root / "support/wren/.hidden.jpg").write_text("nor this")
    return root / "support", root / "photos"


@pytest.fixture(scope="module")
def recogniser(model: Path, folders: tuple[Path, Path]) -> FewShotClassifier:
    recogniser = FewShotClassifier.load(model, device="cpu")
    recogniser.learn_folder(folders[0])
    return recogniser


def done(capsys: pytest.CaptureFixture[str], *given: object) -> str:
    code = run_app(classify.app, *given)
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    return out


def test_photos_are_named_and_written(
    model: Path, folders: tuple[Path, Path], recogniser: FewShotClassifier, tmp_path: Path
) -> None:
    made = run_python(["-c", WITHOUT_RAY], model, *folders, "--out", tmp_path / "named.csv")
    assert made.returncode == 0, made.stderr
    named = recogniser.predict([folders[1] / name for name in PHOTOS])
    lines = made.stdout.splitlines()
    assert lines[0].split() == ["path", "class", "score", "runner-up", "score"]
    for line, path, one in zip(lines[1:6], PHOTOS, named, strict=True):
        first, second = list(one.scores.items())[:2]
        words = [path, first[0], f"{first[1]:.3f}", second[0], f"{second[1]:.3f}"]
        assert line.split() == " ".join(words).split()
    right = sum(one.label == path.split("/")[0] for path, one in zip(PHOTOS, named, strict=True))
    assert f"accuracy {right / 3:.1%} (95 % interval" in made.stdout
    assert "of 3 images in folders named like classes; 2 other images not counted" in made.stdout
    assert "1 to 3 examples each" in made.stdout
    with (tmp_path / "named.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "class", "score", *SUPPORT]
    for row, path, one in zip(rows, PHOTOS, named, strict=True):
        assert (row["path"], row["class"]) == (path, one.label)
        assert float(row["score"]) == max(float(row[label]) for label in SUPPORT)
        # another process adds with other threads
        written, told = [float(row[label]) for label in SUPPORT], [one.scores[label] for label in SUPPORT]
        np.testing.assert_allclose(written, told, rtol=1e-5)
        assert math.isclose(sum(float(row[label]) for label in SUPPORT), 1, rel_tol=1e-6)


def test_json_says_all_and_top_less(
    model: Path, folders: tuple[Path, Path], recogniser: FewShotClassifier, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = json.loads(done(capsys, model, *folders, "--json"))
    assert (answer["model"], answer["shots"]) == (recogniser.sha256, SUPPORT)
    assert answer["accuracy"]["images"] == 3
    named = list(name_images(recogniser, folders[1]))
    assert [one["path"] for one in answer["images"]] == [one.path for one in named] == PHOTOS
    assert [one["folder"] for one in answer["images"]] == ["[b]bird", "else", None, "Ärger & Spaß", "Ärger & Spaß"]
    for said, one in zip(answer["images"], named, strict=True):
        assert (said["class"], said["score"]) == (one.prediction.label, one.prediction.score)
        assert (said["scores"], said["logits"]) == (one.prediction.scores, one.prediction.logits)
        assert list(said["scores"]) == list(one.prediction.scores)  # the best first
    short = json.loads(done(capsys, model, *folders, "--json", "--top", 1))
    assert [list(one["scores"]) for one in short["images"]] == [[one.prediction.label] for one in named]


def test_one_image_and_as_many_classes_as_asked_for(
    model: Path,
    folders: tuple[Path, Path],
    recogniser: FewShotClassifier,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # the path is not broken, however long it is
    photo = folders[1] / PHOTOS[1]
    heading, line, *rest = done(capsys, model, folders[0], photo, "--top", 10).splitlines()
    assert heading.split() == ["path", "class", "score", "runner-up", "score", "no.", "3", "score"]
    (one,) = recogniser.predict([photo])
    assert line.split() == f"{photo} {' '.join(f'{label} {score:.3f}' for label, score in one.scores.items())}".split()
    assert not [line for line in rest if "accuracy" in line]
    assert done(capsys, model, folders[0], photo, "--top", 1).splitlines()[0].split() == ["path", "class", "score"]


def test_shards_are_named_a_batch_at_a_time(
    data: Path, recogniser: FewShotClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = shards.read_rows(data, ["image", "source"])
    names = shards.read_manifest(data).classes
    pixels = np.stack([shards.decode_any(image, 32) for image in rows["image"].to_pylist()])
    assert recogniser.preprocessing.zoom == 1
    monkeypatch.setattr(classify, "BATCH", 7)
    named = list(name_images(recogniser, data))
    assert [one.path for one in named] == rows["source"].to_pylist()
    assert [one.folder for one in named] == [name for name in names for _ in range(6)]
    wanted = recogniser.predict(pixels)
    for one, other in zip(named, wanted, strict=True):
        assert one.prediction.label == other.label
        np.testing.assert_allclose(list(one.prediction.scores.values()), list(other.scores.values()), rtol=1e-4)


def test_the_interval_is_wilsons() -> None:
    right, wrong = (Prediction(label, 0.6, {label: 0.6, other: 0.4}, {}) for label, other in ("ab", "ba"))
    named = [Named("", "a", right)] * 7 + [Named("", "a", wrong)] * 2 + [Named("", "c", wrong), Named("", None, wrong)]
    share, n, z = 7 / 9, 9, 1.959964
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    found = accuracy(named)
    assert found is not None
    np.testing.assert_allclose(found, (share, middle - half, middle + half, 9), atol=1e-4)
    assert accuracy(named[-2:]) is None


def test_a_wrong_input_of_a_real_process_is_one_line(model: Path, folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "cut.jpg").write_bytes((folders[1] / "here.jpg").read_bytes()[:300])
    wrong = run_python(["-m", "raysearch.classify"], model, folders[0], tmp_path)
    assert (wrong.returncode, wrong.stdout, wrong.stderr.count("\n")) == (2, "", 1)
    assert wrong.stderr.startswith("error: cut.jpg in ")


def test_wrong_inputs_are_one_line(
    model: Path,
    retrieval_model: Path,
    folders: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    support, photos = folders
    photo = (photos / "here.jpg").read_bytes()
    for name in (
        "one/only/a.jpg",
        "flat/a.jpg",
        "empty/a/a.jpg",
        "corrupt/a/a.jpg",
        "corrupt/b/b.jpg",
        "path/path/a.jpg",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(photo)
    (tmp_path / "corrupt/b/b.jpg").write_text("text")
    for name in ("empty/b", "nothing", "path/other", "deep/a/deeper"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "path/other/a.jpg").write_bytes(photo)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/odd/\xff")).mkdir(parents=True)
    torch.save({}, tmp_path / "state.pt")
    for given, said in (
        (
            ["/nothing/model.pt", support, photos],
            "no model /nothing/model.pt; make one with: python -m raysearch.train few",
        ),
        ([tmp_path / "state.pt", support, photos], "not an exported model"),
        ([photos / "here.jpg", support, photos], "not a model file"),
        ([retrieval_model, support, photos], "is a retrieval model; use it with raysearch.retrieve"),
        ([model, "/nothing/support", photos], "no folder /nothing/support"),
        ([model, photos / "here.jpg", photos], "is not a directory"),
        ([model, tmp_path / "one", photos], "at least two classes are needed; got only 'only'"),
        ([model, tmp_path / "flat", photos], "holds no class folders"),
        ([model, tmp_path / "nothing", photos], "holds no class folders"),
        ([model, tmp_path / "empty", photos], "class 'b' has no example image"),
        ([model, tmp_path / "deep", photos], "holds the folder deeper"),
        ([model, tmp_path / "odd", photos], "is not UTF-8"),
        ([model, tmp_path / "corrupt", photos], "b.jpg cannot be read as an image: not an image"),
        ([model, support, "/nothing/photos"], "no image or folder at /nothing/photos"),
        ([model, support, tmp_path / "nothing"], "holds no images"),
        ([model, support, support / "notes.txt"], "notes.txt cannot be read as an image"),
        ([model, support, photos, "--out", "/nothing/here/a.csv"], "cannot write /nothing/here/a.csv: --out"),
        ([model, support, photos, "--out", tmp_path], "--out must be a file in an existing, writable directory"),
        ([model, tmp_path / "path", photos, "--out", tmp_path / "a.csv"], "class 'path' has the name"),
        ([model, support, photos, "--top", "0"], "--top"),
        ([model, support, photos, "--tpo", "1"], "did you mean '--top'"),
        ([model, support], "QUERY"),
        ([], "MODEL"),
    ):
        with pytest.raises(SystemExit) as stopped:
            cli.run(classify.app, [str(word) for word in given])
        out, err = capsys.readouterr()
        assert (stopped.value.code, err.count("\n"), out) == (2, 1, ""), (given, err)
        assert err.startswith("error: ")
        assert said in err
    assert not (tmp_path / "a.csv").exists()


def test_retrieval_says_where_a_few_shot_model_belongs(
    model: Path, folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.run(retrieve.app, ["index", str(model), str(folders[1]), str(tmp_path / "index")])
    assert stopped.value.code == 2
    assert "is a few-shot model; use it with raysearch.classify" in capsys.readouterr().err


def test_a_pre_training_is_not_exported(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.run(train.app, ["pretrain", "--data", str(data), "--export", str(tmp_path / "model.pt")])
    out, err = capsys.readouterr()
    assert (stopped.value.code, err.count("\n"), out) == (2, 1, "")
    assert "fewshot --set model.method=centroid --set pretrain.epochs=N" in err


def test_a_corrupt_image_of_a_folder_is_left_out(
    model: Path, folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    (photos / "wren").mkdir(parents=True)
    whole = (folders[1] / "here.jpg").read_bytes()
    for name, data in (
        ("a.jpg", whole[:300]),
        ("b.jpg", whole),
        ("wren/c.jpg", b""),
        ("wren/d.jpg", whole),
        ("n.txt", b""),
    ):
        (photos / name).write_bytes(data)
    (photos / "gone.jpg").symlink_to("nothing")
    out = done(capsys, model, folders[0], photos, "--out", tmp_path / "named.csv")
    with (tmp_path / "named.csv").open(newline="", encoding="utf-8") as file:
        assert [row["path"] for row in csv.DictReader(file)] == ["b.jpg", "wren/d.jpg"]
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert sum(line.startswith("left out: a.jpg: ") for line in lines) == 1
    assert "left out: wren/c.jpg: the file is empty" in lines
    assert "images 2 read" in lines
    assert "files 1 left out: a link that leads nowhere gone.jpg" in lines
    assert "files 1 left out: hidden, or left by a file manager wren/.hidden.jpg" in lines  # of the examples
    answer = json.loads(done(capsys, model, folders[0], photos, "--json"))
    assert [image["path"] for image in answer["images"]] == ["b.jpg", "wren/d.jpg"]
    assert [image["path"] for image in answer["left_out"]] == ["a.jpg", "wren/c.jpg"]
    account = answer["accounts"][str(photos)]
    assert account["read"] + sum(entry["number"] for entry in account["left_out"]) == 6
    for flag in ("--strict", "--on-corrupt=fail"):
        with pytest.raises(SystemExit) as stopped:
            cli.run(
                classify.app, [str(word) for word in (model, folders[0], photos, flag, "--out", tmp_path / "no.csv")]
            )
        assert (stopped.value.code, capsys.readouterr().err.count("\n")) == (2, 1)
        assert not (tmp_path / "no.csv").exists()
    recogniser = FewShotClassifier.load(model, device="cpu")
    recogniser.learn_folder(folders[0])
    assert [image.path for image in name_images(recogniser, photos)] == ["b.jpg", "wren/d.jpg"]
