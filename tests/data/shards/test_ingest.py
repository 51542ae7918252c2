"""The command line, as a process of its own: what it writes, and the one line that it ends with when it cannot."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raysearch.data import shards
from raysearch.data.shards.shard_rows import DIGESTS_KEY, Row, content_hash

from ..layouts import test_cub, test_vegfru
from ..layouts.trees import picture, put


def start(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "raysearch.ingest", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def ingest(*words: object) -> tuple[int, str, str]:
    process = start(*words)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.fixture
def src(tmp_path: Path) -> Path:
    root = tmp_path / "src"
    for label in ("crow", "wren"):
        (root / label).mkdir(parents=True)
        for number in range(4):
            pixels = np.random.default_rng(number).integers(0, 255, (24, 20, 3), np.uint8)
            Image.fromarray(pixels).save(root / label / f"{number}.jpg")
    file = io.BytesIO()
    Image.new("CMYK", (20, 24), (9, 90, 30, 0)).save(file, "JPEG")
    (root / "crow" / "print.jpg").write_bytes(file.getvalue())
    return root


def test_ingest_summary(src: Path, tmp_path: Path) -> None:
    (src / "wren" / "cut.jpg").write_bytes((src / "wren" / "0.jpg").read_bytes()[:-300])
    (src / "wren" / "zero.jpg").touch()
    code, out, err = ingest("folder", src, tmp_path / "out", "--verify", "--test-fraction", "0.4")
    assert (code, err) == (0, "")
    manifest = shards.verify_shards(tmp_path / "out")
    assert manifest.images == 9
    assert {bad.source for bad in manifest.corrupt} == {"wren/cut.jpg", "wren/zero.jpg"}
    assert manifest.classes == ("crow", "wren")
    assert (manifest.name, manifest.layout) == ("src", "folder")
    for piece in (
        "wren/zero.jpg: the file is empty",
        "9 (t",
        "20x24",
        "2 left out",
        "verified",
        manifest.content_hash[:16],
    ):
        assert piece in out
    assert ingest("folder", src, tmp_path / "out", "--test-fraction", "0.4")[0] == 0  # the same again changes nothing


@pytest.mark.parametrize(
    ("out", "words", "name"),
    [
        ("shards", (), "src"),
        ("Data", (), "src"),
        ("birds_96", (), "birds_96"),
        ("shards", ("--name", "crows"), "crows"),
        ("shards", ("--name", "shards"), "shards"),
    ],
)
def test_the_data_set_is_named_after_its_source_if_out_says_nothing(
    out: str, words: tuple[str, ...], name: str, src: Path, tmp_path: Path
) -> None:
    assert ingest("folder", f"{src}/", tmp_path / out, *words)[0] == 0
    assert shards.read_manifest(tmp_path / out).name == name


def test_ingest_synthetic(tmp_path: Path) -> None:
    spec = "classes=2,train_per_class=2,test_per_class=1,side=16"
    code, _, err = ingest("synthetic", spec, tmp_path / "out", "--name", "birds")
    assert (code, err) == (0, "")
    manifest = shards.verify_shards(tmp_path / "out")
    assert (manifest.images, manifest.name, manifest.classes) == (6, "birds", ("bird_000", "bird_001"))


def test_ingest_a_release_to_boxes_of_one_side(tmp_path: Path) -> None:
    src = test_cub.tree(tmp_path / "src")
    base = src / "CUB_200_2011"
    for n in range(20, 25):
        put(base, {f"images/{test_cub.AUK}/{n}.jpg": picture(format="PNG", red=(4, 2, 9, 5))})
        for file, text in {
            "images.txt": f"{n} {test_cub.AUK}/{n}.jpg\n",
            "image_class_labels.txt": f"{n} 2\n",
            "train_test_split.txt": f"{n} 1\n",
            "bounding_boxes.txt": f"{n} 4.0 2.0 {'5.0' if n < 24 else '0.0'} 3.0\n" if n != 23 else "",
        }.items():
            (base / file).write_text((base / file).read_text() + text)
    (base / f"images/{test_cub.AUK}/20.jpg").unlink()
    words = ("auto", src, tmp_path / "out", "--boxes", "--side", "16", "--val", "0.4", "--verify")
    code, out, err = ingest(*words)
    assert (code, err) == (0, "")
    assert (
        f"auto: cub, by images.txt, image_class_labels.txt, train_test_split.txt, classes.txt, images in {base}" in out
    )
    assert "counts: train has 5 images, published 5,994; classes 1, published 200" in out
    assert f"corrupt: images/{test_cub.AUK}/20.jpg: listed, and there is no such file" in out
    assert f"corrupt: images/{test_cub.AUK}/24.jpg: its box (4 2 4 5) holds no pixel of 12 x 8" in out
    assert f"corrupt: images/{test_cub.AUK}/23.jpg: the data set has no bounding box for it" in out
    manifest = shards.read_manifest(tmp_path / "out")
    assert manifest.steps == ("val 0.4", "boxes", "side 16")
    assert (manifest.layout, manifest.width, manifest.height) == ("cub", (16, 16), (16, 16))
    assert {split: sum(numbers) for split, numbers in manifest.counts.items()} == {"train": 1, "val": 2, "test": 2}
    images = shards.read_rows(tmp_path / "out", columns=["source", "image"]).to_pylist()
    for row in images:
        if row["source"][-6:] in ("21.jpg", "22.jpg", "_2.jpg"):
            with Image.open(io.BytesIO(row["image"])) as image:
                assert (np.abs(np.asarray(image, int) - (220, 30, 30)) < 12).all()


def test_wrong_input_is_one_line_and_leaves_nothing(src: Path, tmp_path: Path) -> None:
    (src / "wren" / "zero.jpg").touch()
    bad = tmp_path / "bad"
    (bad / "a").mkdir(parents=True)
    for number in range(3):
        (bad / "a" / f"{number}.jpg").write_bytes(b"x")
    (tmp_path / "file").touch()
    cub, vegfru = test_cub.tree(tmp_path / "cub"), test_vegfru.tree(tmp_path / "fruit")
    (vegfru / "vegfru/fru92_images/fig/f_3.jpg").unlink()
    before = sorted(tmp_path.rglob("*"))
    out = tmp_path / "out"
    cases: list[tuple[tuple[object, ...], str]] = [
        (("folder", src, out, "--on-corrupt", "fail"), "wren/zero.jpg is corrupt: the file is empty"),
        (("folder", bad, out), "all 3 images are corrupt"),
        (("folder", tmp_path / "nowhere", out), "does not exist"),
        (("foldr", src, out), "did you mean 'folder'?"),
        (("synthetic", "side=2", out), "synthetic setting side=2"),
        (("folder", src, tmp_path / "file"), "exists already"),
        (("folder", src, tmp_path / "file" / "out"), "cannot write"),
        (("folder", src, src), "exists already and is not a data set"),
        (("folder", src, out, "--rows-per-shard", "0"), "must be 1 or more"),
        (("folder", src, out, "--on-corrupt", "fial"), "fial"),
        (("folder", src, out, "--workers", "none"), "--workers is a number of 1 or more, or auto, not 'none'"),
        (("verify", src, "--no-deocde"), "unknown flag --no-deocde; did you mean '--no-decode'?"),
        (
            ("folder", src, out, "--test-fractoin", "0.5"),
            "unknown flag --test-fractoin; did you mean '--test-fraction'?",
        ),
        (("folder", src), "OUT"),
        (
            ("auto", cub, out, "--strict-counts"),
            "train has 1 images, published 5,994; classes 1, published 200; test has 2",
        ),
        (("auto", src, out, "--strict-counts"), "the layout folder has no published counts"),
        (("vegfru", vegfru, out, "--boxes"), "vegfru has no bounding boxes; aircraft, cars, cub, dogs, nabirds have"),
        (("vegfru", vegfru, out, "--val", "0.1"), "the data set has a val part already (1 images)"),
        (
            ("vegfru", vegfru, out, "--on-corrupt", "fail"),
            "fru92_images/fig/f_3.jpg: listed, and there is no such file",
        ),
        (("auto", tmp_path, out), "has no layout that auto knows, but a folder in it has. Use it as SRC: "),
    ]
    for processes in (cases[:6], cases[6:12], cases[12:]):  # a few at a time: starting Python is most of it
        running = [(start(*words), message) for words, message in processes]
        for process, message in running:
            stdout, stderr = process.communicate(timeout=60)
            assert process.returncode == 2, (process.args, stderr)
            assert message in stderr
            assert stderr.startswith("error: ")
            assert stderr.count("\n") == 1
            assert "Traceback" not in stderr + stdout
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 130)])
def test_an_interrupted_run_leaves_nothing_that_looks_finished(how: signal.Signals, code: int, tmp_path: Path) -> None:
    process = start("synthetic", "classes=200,side=64", tmp_path / "out", "--rows-per-shard", "10")
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob(".*/notes/*")):  # in the midst of it
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(how)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert "Traceback" not in err
    kept = len(list(tmp_path.glob(".*/notes/*")))
    assert f"interrupted: {kept} of 1,000 shards kept" in out
    assert [path.name[:5] for path in tmp_path.iterdir()] == [".out."]


def test_photographs_are_upright_and_earlier_data_sets_say_that_theirs_are_not(src: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = io.BytesIO()
    Image.new("RGB", (30, 10), (200, 20, 20)).save(lying, "JPEG", exif=exif)
    (src / "crow" / "photo.jpg").write_bytes(lying.getvalue())
    code, _, err = ingest("folder", src, tmp_path / "new", "--verify")
    assert (code, err) == (0, "")
    table = shards.read_rows(tmp_path / "new")
    row = table["source"].to_pylist().index("crow/photo.jpg")
    assert shards.decode_jpeg(table["image"][row].as_py()).shape == (30, 10, 3)

    # An earlier version kept the file itself, and its manifest did not state how images were opened.
    rows = zip(*(table[name].to_pylist() for name in ("source", "label", "split", "image")), strict=True)
    old = write_as_before(list(rows), {row: lying.getvalue()}, tmp_path / "old")
    assert shards.decode_jpeg(shards.read_rows(old)["image"][row].as_py()).shape == (10, 30, 3)
    assert "left photographs with an orientation on their side" in (shards.read_manifest(old).age_warning or "")
    assert shards.read_manifest(tmp_path / "new").age_warning is None
    code, _, err = ingest("verify", old)
    assert code == 2
    assert f"row {row} (crow/photo.jpg) lies on its side" in err
    assert err.count("\n") == 1
    assert "ingest the data set again" in err


def write_as_before(rows: list[tuple[str, int, str, bytes]], replaced: dict[int, bytes], directory: Path) -> Path:
    """Write a directory of shards as the first version did, with files kept as they are."""
    directory.mkdir()
    named = [
        Row(replaced.get(number, image), label, split, source)
        for number, (source, label, split, image) in enumerate(rows)
    ]
    table = pa.table([list(column) for column in zip(*named, strict=True)], schema=shards.SCHEMA)
    digests = [row.digest() for row in named]
    with pq.ParquetWriter(directory / "00000.parquet", shards.SCHEMA, store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({DIGESTS_KEY: b"".join(digests)})
    data = (directory / "00000.parquet").read_bytes()
    counts = {
        split: [sum(row.split == split and row.label == label for row in named) for label in (0, 1)]
        for split in ("train", "test")
    }
    manifest = {
        "format": 2,
        "name": "old",
        "layout": "folder",
        "classes": ["crow", "wren"],
        "counts": counts,
        "images": len(named),
        "width": [10, 30],
        "height": [10, 30],
        "content_hash": content_hash(["crow", "wren"], digests),
        "versions": {"raysearch": "0.1.0", "pyarrow": "20.0.0", "pillow": "11.0.0"},
        "shards": [
            {
                "file": "00000.parquet",
                "rows": len(named),
                "bytes": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
            }
        ],
    }
    (directory / "manifest.json").write_text(json.dumps(manifest))
    return directory


def test_a_side_without_end_is_refused_before_anything_is_read(src: Path, tmp_path: Path) -> None:
    code, _, err = ingest("folder", src, tmp_path / "out", "--side", "100000")
    assert (code, err) == (2, "error: --side must be 4,096 pixels or less, not 100,000\n")
    assert not (tmp_path / "out").exists()


def test_verify_as_a_command(src: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert ingest("folder", src, out)[0] == 0
    manifest = shards.read_manifest(out)
    said = f"{out} is whole: 9 rows in 1 shards, hash {manifest.content_hash}\n"
    assert ingest("verify", out) == ingest("verify", out, "--no-decode") == (0, said, "")
    shard = out / "00000.parquet"
    data = bytearray(shard.read_bytes())
    data[data.index(b"JFIF")] ^= 1
    shard.write_bytes(data)
    code, said, err = ingest("verify", out)
    assert (code, said, err.count("\n")) == (2, "", 1)
    assert f"shard {shard}, row 0 (crow/0.jpg) is damaged" in err
    assert "no data set at" in ingest("verify", tmp_path / "nowhere")[2]
