"""`python -m raysearch.retrieve` as a user runs it, and the same from Python."""

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from raysearch import retrieve
from raysearch.core import UserError
from raysearch.data import feed, layouts, shards
from raysearch.inference import hasher as inference_hasher
from raysearch.inference.index import METADATA_KEY
from raysearch.models.hashing.packed import unpack
from raysearch.retrieve import Hasher, Index, Match, build
from raysearch.studies.configs import overrides
from raysearch.tasks.base import Feed, Worker
from raysearch.tasks.retrieval import task as retrieval_task

from . import without_ray
from .commands import run_app, run_python

BITS = 12
SETTINGS = {
    "data.side": 32,
    "model.backbone": "small",
    "model.weights": "DRAWN_BIRDS_V1",
    "hash.method": "itq",  # fitted in no time
    "hash.bits": BITS,
    "srem.size": 4,
}
WITHOUT_RAY = without_ray.CODE.format(module="retrieve")


@pytest.fixture(scope="module")
def models(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two model files that differ in their seed."""
    directory, paths = tmp_path_factory.mktemp("models"), {}
    manifest, sets = shards.read_manifest(tiny_data), feed.decode_dataset(tiny_data, 32)
    config = overrides.resolve("retrieval", SETTINGS)
    torch.set_num_threads(1)
    for name, seed in (("model", 0), ("other", 1)):
        task = retrieval_task.build(config, seed, Worker(Feed(**sets, content_hash=manifest.content_hash), directory))
        task.advance()
        paths[name] = directory / f"{name}.pt"
        inference_hasher.save(paths[name], task, manifest, {})
    return paths


@pytest.fixture(scope="module")
def hasher(models: dict[str, Path]) -> Hasher:
    return Hasher.load(models["model"], device="cpu")


NAMES = [
    "two words/deeper/grey.jpg",
    "two words/palette.png",
    "two words/twin a.webp",
    "two words/twin b.webp",
    "zebra.JPEG",
    "zoo.gif",
    "Ärger & Spaß/grün [1].png",
]


@pytest.fixture(scope="module")
def photos(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """NAMES in a folder, two of them alike, with a file that is no image, one that is cut off, and others beside."""
    root = tmp_path_factory.mktemp("my photos")
    birds = shards.read_rows(tiny_data, ["image"], split="train")["image"].to_pylist()[::7]
    for name, bird in zip(NAMES, birds, strict=True):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.open(io.BytesIO(bird)).convert("RGB")
        if "palette" in name or name.endswith("gif"):
            image = image.quantize(64)
        if "grey" in name:
            image = image.convert("L")
        image.save(path, "JPEG" if name.endswith("JPEG") else None)
    (root / "two words/twin b.webp").write_bytes((root / "two words/twin a.webp").read_bytes())
    whole = (root / "zebra.JPEG").read_bytes()
    (root / "two words/cut off.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "empty.png").write_bytes(b"")
    (root / "notes.txt").write_text("no image, by its name")
    (root / ".hidden.jpg").write_bytes(whole)
    (root / "__MACOSX").mkdir()
    (root / "__MACOSX/zebra.jpg").write_bytes(whole)
    (root / "two words/back").symlink_to(root)
    return root


LABELS = ["deeper", "two words", "two words", "two words", None, None, "Ärger & Spaß"]


@pytest.fixture(scope="module")
def index(hasher: Hasher, photos: Path) -> Index:
    return build(hasher, photos)


def refused(capsys: pytest.CaptureFixture[str], *given: object) -> str:
    """The one line that a wrong command line ends with."""
    code = run_app(retrieve.app, *given)
    out, err = capsys.readouterr()
    assert (code, err.count("\n"), out) == (2, 1, "")
    assert err.startswith("error: ")
    return err


def done(capsys: pytest.CaptureFixture[str], *given: object) -> tuple[str, str]:
    assert run_app(retrieve.app, *given) == 0
    out, err = capsys.readouterr()
    return out, err


def test_copies_of_a_photograph_have_one_code_however_they_lie(hasher: Hasher, tiny_data: Path, tmp_path: Path) -> None:
    """A camera's JPEG that lies on its side, by its orientation, and upright copies in other formats."""
    bird = shards.read_rows(tiny_data, ["image"], split="train")["image"][0].as_py()
    upright = Image.open(io.BytesIO(bird)).convert("RGB").crop((0, 0, 30, 24))
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = upright.transpose(Image.Transpose.ROTATE_90)
    upright.save(tmp_path / "upright.png")
    for name in ("lying.png", "lying.tif", "lying.webp"):
        lying.save(tmp_path / name, exif=exif, lossless=True)
    lying.save(tmp_path / "lying.jpg", quality=100, subsampling=0, exif=exif)
    pixels = {path.name: hasher.pixels(path).astype(int) for path in tmp_path.iterdir()}
    codes = build(hasher, tmp_path)
    assert codes.paths == sorted(pixels)
    for name in ("lying.png", "lying.tif", "lying.webp"):
        assert (pixels[name] == pixels["upright.png"]).all()
    assert np.abs(pixels["lying.jpg"] - pixels["upright.png"]).mean() < 3
    exact = [row for row, name in enumerate(codes.paths) if name != "lying.jpg"]
    assert (codes.search(hasher.encode([tmp_path / "upright.png"]), 5)[0][0][: len(exact)] == 0).all()


def test_a_folder_is_indexed_and_asked(models: dict[str, Path], photos: Path, tmp_path: Path) -> None:
    made = run_python(["-m", "raysearch.retrieve"], "index", models["model"], photos, tmp_path / "photos.index")
    assert made.returncode == 0, made.stderr
    assert "empty.png: the file is empty" in made.stdout
    assert "two words/cut off.jpg" in made.stdout
    last = made.stdout.splitlines()[-1]
    assert "7 images with 3 labels, 12 bits, 2 left out" in last
    assert "1 other file" in last

    asked = [photos / "two words/twin b.webp", photos / NAMES[6]]
    given = ["query", models["model"], tmp_path / "photos.index", *asked]
    answer = run_python(["-c", WITHOUT_RAY], *given, "-k", 3, "--json")
    assert answer.returncode == 0, answer.stderr
    first, second = json.loads(answer.stdout)
    assert [first["image"], second["image"]] == [str(path) for path in asked]
    # twin a is as near as twin b and its path comes first
    assert [match["path"] for match in first["matches"]][:2] == ["two words/twin a.webp", "two words/twin b.webp"]
    assert [match["distance"] for match in first["matches"]][:2] == [0, 0]
    assert second["matches"][0] == {"distance": 0, "path": NAMES[6], "label": "Ärger & Spaß", "row": 6}
    assert len(first["matches"]) == len(second["matches"]) == 3

    table = run_python(["-m", "raysearch.retrieve"], *given)
    assert table.returncode == 0, table.stderr
    assert "7 images, fewer than 10" in table.stderr
    assert all(name in table.stdout for name in NAMES)


def test_an_index_holds_what_the_folder_holds(hasher: Hasher, photos: Path, index: Index) -> None:
    assert index.paths == NAMES
    assert index.labels == LABELS
    assert np.array_equal(unpack(index.words, BITS), hasher.encode([photos / name for name in NAMES]).numpy())
    assert len(index) == 7
    assert [(bad.source, bad.reason) for bad in index.about.corrupt if bad.source == "empty.png"] == [
        ("empty.png", "the file is empty")
    ]
    assert {bad.source for bad in index.about.corrupt} == {"empty.png", "two words/cut off.jpg"}
    assert index.about.root == str(photos)


def test_batches_leave_no_image_out(
    hasher: Hasher, photos: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[int, int]] = []
    monkeypatch.setattr(hasher, "batch", 2)
    again = build(hasher, photos, progress=lambda done, total: steps.append((done, total)))
    assert again.paths == NAMES
    assert np.array_equal(again.words, index.words)
    assert steps == [(2, 9), (4, 9), (6, 9), (8, 9), (9, 9)]


def test_shards_give_the_codes_of_the_folder_they_came_from(hasher: Hasher, photos: Path, tmp_path: Path) -> None:
    for number in range(3):
        for name in ("Ärger & Spaß/grün [1].png", "two words/palette.png", "two words/twin a.webp"):
            target = tmp_path / "photos" / name
            target = target.with_stem(f"{target.stem} {number}")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((photos / name).read_bytes())
    shards.write_shards(
        layouts.read_folder(str(tmp_path / "photos")), tmp_path / "shards", name="s", layout="folder", rows_per_shard=4
    )
    one, other = build(hasher, tmp_path / "photos"), build(hasher, tmp_path / "shards")
    assert len(one) == len(other) == 9
    assert set(zip(one.paths, one.labels, one.words[:, 0], strict=True)) == set(
        zip(other.paths, other.labels, other.words[:, 0], strict=True)
    )
    assert len(np.unique(one.words)) > 1


def test_search_is_a_slow_loops(index: Index, hasher: Hasher) -> None:
    rng = np.random.default_rng(0)
    queries = rng.choice([-1.0, 1.0], (5, BITS))
    stored = unpack(index.words, BITS)
    distances, rows = index.search(torch.from_numpy(queries), 4)
    for query, near, found in zip(queries, distances, rows, strict=True):
        every = sorted((int((query != code).sum()), row) for row, code in enumerate(stored))[:4]
        assert list(zip(near.tolist(), found.tolist(), strict=True)) == every
    assert index.search(queries, 100)[0].shape == (5, 7)


def test_an_image_is_looked_for_by_path_and_from_pillow(index: Index, photos: Path) -> None:
    path = photos / "two words/twin b.webp"
    found = index.query(path, k=2)
    assert found == [
        Match(0, "two words/twin a.webp", "two words", 2),
        Match(0, "two words/twin b.webp", "two words", 3),
    ]
    with Image.open(path) as image:
        assert index.query(image, k=2) == found


def test_wrong_questions(index: Index, hasher: Hasher, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="12 bits, not of 13"):
        index.search(np.ones((1, 13)))
    with pytest.raises(UserError, match="k must be at least 1"):
        index.search(np.ones((1, BITS)), 0)
    index.save(tmp_path / "index")
    with pytest.raises(ValueError, match="no model"):
        Index.load(tmp_path / "index").query(tmp_path / "x.jpg")


@pytest.mark.parametrize("bits", [1, 8, 12, 64, 65, 100])
def test_an_index_comes_back_from_its_file(bits: int, index: Index, tmp_path: Path) -> None:
    codes = np.random.default_rng(0).choice([-1, 1], (7, bits))
    about = index.about.model_copy(update={"bits": bits})
    Index(retrieve.pack(codes), index.paths, index.labels, about).save(tmp_path / "deep" / "index")
    again = Index.load(tmp_path / "deep" / "index")
    assert np.array_equal(unpack(again.words, bits), codes)
    assert (again.paths, again.labels, again.about) == (NAMES, LABELS, about)
    assert again.words.dtype == np.uint64
    column = pq.read_table(tmp_path / "deep" / "index")["code"]
    assert column.type == pa.binary(-(-bits // 8))
    assert [value[0] & 1 for value in column.to_pylist()] == [int(code[0] == 1) for code in codes]


def test_a_loaded_index_answers_as_the_one_that_was_built(
    index: Index, hasher: Hasher, photos: Path, tmp_path: Path
) -> None:
    index.save(tmp_path / "index")
    loaded = Index.load(tmp_path / "index", hasher, "numpy")
    assert loaded.query(photos / NAMES[1], 7) == index.query(photos / NAMES[1], 7)


def test_another_models_index_is_refused(
    models: dict[str, Path], index: Index, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index.save(tmp_path / "index")
    said = refused(capsys, "query", models["other"], tmp_path / "index", photos / NAMES[0])
    assert "made by another model" in said
    assert index.about.model[:12] in said


def test_a_damaged_index_is_one_line(index: Index, tmp_path: Path) -> None:
    """A byte anywhere that is another one is noticed, or changes nothing that is read."""
    index.save(tmp_path / "index")
    good = (tmp_path / "index").read_bytes()
    noticed = 0
    for at in range(0, len(good), 7):
        (tmp_path / "index").write_bytes(good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1 :])
        try:
            loaded = Index.load(tmp_path / "index")
        except UserError:
            noticed += 1
            continue
        assert np.array_equal(loaded.words, index.words)
        assert (loaded.paths, loaded.labels) == (NAMES, LABELS)
    assert noticed > len(good) / 7 / 3
    for cut in (0, 3, len(good) // 2, len(good) - 1):
        (tmp_path / "index").write_bytes(good[:cut])
        with pytest.raises(UserError, match="not an index, or is damaged"):
            Index.load(tmp_path / "index")


def test_files_that_are_not_an_index(index: Index, tmp_path: Path) -> None:
    index.save(tmp_path / "index")
    table = pq.read_table(tmp_path / "index")
    about_json = json.loads(table.schema.metadata[METADATA_KEY])

    def write(changed: pa.Table, **about: Any) -> None:
        pq.write_table(
            changed.replace_schema_metadata({METADATA_KEY: json.dumps({**about_json, **about})}), tmp_path / "index"
        )

    write(table, format=2)
    with pytest.raises(UserError, match="index format 2; this raysearch reads format 1"):
        Index.load(tmp_path / "index")
    write(table, bits=20)
    with pytest.raises(UserError, match="is damaged"):
        Index.load(tmp_path / "index")
    write(table.slice(0, 0))
    with pytest.raises(UserError, match="is damaged"):
        Index.load(tmp_path / "index")
    write(table.drop_columns(["path"]))
    with pytest.raises(UserError, match="is damaged"):
        Index.load(tmp_path / "index")
    pq.write_table(table.replace_schema_metadata({}), tmp_path / "index")
    with pytest.raises(UserError, match="is not an index"):
        Index.load(tmp_path / "index")


def test_an_image_that_is_corrupt_can_stop_it(
    models: dict[str, Path], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, "index", models["model"], photos, tmp_path / "index", "--on-corrupt", "fail")
    assert "empty.png is corrupt: the file is empty" in said
    assert not list(tmp_path.iterdir())


def test_of_many_that_are_left_out_the_first_are_shown(
    models: dict[str, Path], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "good.jpg").write_bytes((photos / "zebra.JPEG").read_bytes())
    for number in range(7):
        (folder / f"bad [b]{number}.jpg").write_text("text")
    (Path(os.fsdecode(os.fsencode(folder) + b"/\xff.jpg"))).write_text("a name that no table holds")
    out, _ = done(capsys, "index", models["model"], folder, tmp_path / "index")
    assert [line for line in out.splitlines() if line.startswith("left out:")] == [
        f"left out: bad [b]{number}.jpg: not an image" for number in range(5)
    ]
    assert "... and 3 more" in out
    assert "1 image, 12 bits, 8 left out" in out
    assert "not UTF-8" in Index.load(tmp_path / "index").about.corrupt[-1].reason


def test_an_index_is_replaced_and_nothing_else(
    models: dict[str, Path], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "index"
    done(capsys, "index", models["other"], photos, out)
    done(capsys, "index", models["model"], photos, out)
    assert Index.load(out).about.model == Hasher.load(models["model"]).sha256
    out.write_text("a letter")
    assert "exists and is not an index; remove it" in refused(capsys, "index", models["model"], photos, out)
    assert out.read_text() == "a letter"


def test_wrong_inputs_are_one_line(
    models: dict[str, Path], index: Index, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, kept, image, out = models["model"], tmp_path / "kept", photos / NAMES[0], tmp_path / "out"
    index.save(kept)
    (tmp_path / "nothing").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/a.jpg").write_text("text")
    for given, said in (
        (["index", "/nothing/model.pt", photos, out], "no model /nothing/model.pt"),
        (["index", photos / "notes.txt", photos, out], "not a model file"),
        (["index", model, "/nothing/photos", out], "no folder /nothing/photos"),
        (["index", model, model, out], "is not a directory"),
        (["index", model, tmp_path / "nothing", out], "holds no images"),
        (["index", model, tmp_path / "broken", out], "none of 1 image can be read"),
        (["index", model, photos, "/nothing/here/out"], "cannot write /nothing/here/out: OUT"),
        (["index", model, photos, photos], "cannot write"),
        (["index", model, photos], "OUT"),
        (["index", model, photos, out, "--on-corupt", "fail"], "did you mean '--on-corrupt'"),
        (["index", model, photos, out, "--on-corrupt", "stop"], "skip"),
        (["query", "/nothing/model.pt", kept, image], "no model"),
        (["query", model, "/nothing/index", image], "no index /nothing/index"),
        (["query", model, model, image], "not an index"),
        (["query", model, kept, "/nothing/image.jpg"], "no image /nothing/image.jpg"),
        (["query", model, kept, image, photos / "notes.txt"], "notes.txt cannot be read as an image"),
        (["query", model, kept], "IMAGE"),
        (["query", model, kept, image, "-k", "0"], "k must be at least 1"),
        (["query", model, kept, image, "-k", "many"], "'-k'"),
        (["qeury", model, kept, image], "query"),
        ([], "command"),
    ):
        assert said in refused(capsys, *given), given
    assert not out.exists()


def test_folders_are_accounted_for_in_the_index_and_in_questions(
    models: dict[str, Path],
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # paths are not broken, however long they are
    out, _ = done(capsys, "index", models["model"], photos, tmp_path / "index")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "images 7 read" in lines
    assert "files 2 left out: hidden, or left by a file manager .hidden.jpg, __MACOSX/zebra.jpg" in lines
    assert "folders 1 left out: a link to a folder above it two words/back" in lines
    about = Index.load(tmp_path / "index").about
    assert about.account is not None
    assert about.account.read + about.account.number_left_out == 13
    out, err = done(capsys, "query", models["model"], tmp_path / "index", photos, photos / NAMES[0], "-k", 1, "--json")
    answers = json.loads(out)
    assert [answer["image"] for answer in answers] == [str(photos / name) for name in NAMES]
    assert {answer["root"] for answer in answers} == {str(photos.resolve())}
    assert [answer["matches"][0]["distance"] for answer in answers] == [0] * 7
    assert "the file is empty" in err
    index, strict = tmp_path / "index", tmp_path / "strict"
    for words in (("index", models["model"], photos, strict), ("query", models["model"], index, photos)):
        line = refused(capsys, *words, "--strict")
        assert "holds what is not read: " in line
        assert "2 files (hidden, or left by a file manager: .hidden.jpg, __MACOSX/zebra.jpg)" in line
    assert "is corrupt" in refused(capsys, "query", models["model"], index, photos, "--on-corrupt", "fail")
    assert not strict.exists()
