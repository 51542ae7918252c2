"""Shards: what is written comes back, in one order under one hash, and damage is named."""

import hashlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from raysearch.core import UserError
from raysearch.data import shards
from raysearch.data.shards import publish, shard_builder


def jpeg(seed: int = 0, mode: str = "RGB", format: str = "JPEG", side: int = 24) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, format)
    return file.getvalue()


def sample(source: str, label: str, split: str, data: bytes) -> shards.Sample:
    return shards.Sample(source, label, split, lambda: data)


def collection(number: int = 10) -> list[shards.Sample]:
    return [
        sample(f"{'ab'[i % 2]}/{i}.jpg", "ab"[i % 2], "test" if i % 3 == 0 else "train", jpeg(i)) for i in range(number)
    ]


def write(samples: list[shards.Sample], out: Path, rows_per_shard: int = 4, **options: Any) -> shards.Manifest:
    return shards.write_shards(samples, out, name="n", layout="folder", rows_per_shard=rows_per_shard, **options)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_round_trip_keeps_bytes_in_order_of_label_and_source(tmp_path: Path) -> None:
    samples = collection()
    manifest = write(samples, tmp_path / "out")
    expected = sorted((s.label, s.source, s.split, s.load()) for s in samples)
    table = shards.read_rows(tmp_path / "out")
    got = [("ab"[r["label"]], r["source"], r["split"], r["image"]) for r in table.to_pylist()]
    assert got == expected
    assert shards.read_manifest(tmp_path / "out") == manifest == shards.verify_shards(tmp_path / "out")
    assert [Path(p).name for p in shards.shard_paths(tmp_path / "out")] == [
        "00000.parquet",
        "00001.parquet",
        "00002.parquet",
    ]
    assert manifest.counts == {"train": (3, 3), "test": (2, 2)}
    assert (manifest.images, manifest.width, manifest.height) == (10, (24, 24), (24, 24))
    assert [shard.rows for shard in manifest.shards] == [4, 4, 2]


def test_read_takes_columns_and_a_split(tmp_path: Path) -> None:
    write(collection(), tmp_path / "out")
    table = shards.read_rows(tmp_path / "out", columns=["source", "label"], split="test")
    assert table.to_pydict() == {"source": ["a/0.jpg", "a/6.jpg", "b/3.jpg", "b/9.jpg"], "label": [0, 0, 1, 1]}
    with pytest.raises(UserError, match=r"no split 'tests'.*'test'"):
        shards.read_rows(tmp_path / "out", split="tests")
    with pytest.raises(UserError, match=r"no column 'lable'.*'label'"):
        shards.read_rows(tmp_path / "out", columns=["lable"])


def test_hash_depends_on_content_alone(tmp_path: Path) -> None:
    one = write(collection(), tmp_path / "one", rows_per_shard=3)
    two = write(collection()[::-1], tmp_path / "two", rows_per_shard=512)
    assert one.content_hash == two.content_hash
    assert (tmp_path / "two" / "00000.parquet").is_file()


def test_hash_is_what_it_is_said_to_be(tmp_path: Path) -> None:
    manifest = write(collection(), tmp_path / "out", rows_per_shard=3)
    rows = b""
    for s in sorted(collection(), key=lambda s: (s.label, s.source)):
        data, split, source = s.load(), s.split.encode(), s.source.encode()
        numbers = ("ab".index(s.label), 4), (len(split), 4), (len(source), 4), (len(data), 8)
        head = b"".join(number.to_bytes(size, "little") for number, size in numbers) + split + source
        rows += hashlib.sha256(head + data).digest()
    assert manifest.content_hash == hashlib.sha256(b'["a", "b"]' + rows).hexdigest()


@pytest.mark.parametrize("change", ["pixel", "label", "split", "source", "class name", "fewer"])
def test_hash_changes_with(change: str, tmp_path: Path) -> None:
    before, samples = write(collection(), tmp_path / "before"), collection()
    last = samples.pop()
    if change == "class name":
        samples = [sample(s.source, "z" + s.label, s.split, s.load()) for s in [*samples, last]]
    elif change != "fewer":
        changed: dict[str, Any] = {"source": last.source, "label": last.label, "split": last.split, "data": last.load()}
        new = {"pixel": jpeg(99), "label": "a", "split": "train", "source": "b/other.jpg"}[change]
        changed["data" if change == "pixel" else change] = new
        assert new != getattr(last, change, None)
        samples.append(sample(**changed))
    assert write(samples, tmp_path / "after").content_hash != before.content_hash


def test_hash_changes_with_one_byte(tmp_path: Path) -> None:
    found = set()
    for comment in (b"x", b"y"):
        file = io.BytesIO()
        Image.new("RGB", (8, 8)).save(file, "JPEG", comment=comment)
        found.add(write([sample("0", "a", "train", file.getvalue())], tmp_path / comment.decode()).content_hash)
    assert len(found) == 2


@pytest.mark.parametrize(
    ("mode", "format"), [("RGB", "PNG"), ("L", "JPEG"), ("CMYK", "JPEG"), ("P", "PNG"), ("RGBA", "PNG")]
)
def test_other_formats_become_rgb_jpeg_of_the_same_look(mode: str, format: str, tmp_path: Path) -> None:
    pixels = np.full((16, 20, 3), (200, 60, 30), np.uint8)
    file = io.BytesIO()
    source = Image.fromarray(pixels).convert(mode)
    source.save(file, format)
    write([sample("x", "a", "train", file.getvalue())], tmp_path / "out")
    with Image.open(io.BytesIO(shards.read_rows(tmp_path / "out")["image"][0].as_py())) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (20, 16))
        expected = np.asarray(source.convert("RGB"), float)
        assert np.abs(np.asarray(image, float) - expected).mean() < 6  # a palette is dithered


def test_sixteen_bits_and_transparency_keep_their_look(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 65535, 32).astype(np.uint16), (8, 1))
    clear = np.zeros((8, 8, 4), np.uint8)
    files = []
    for array in (ramp, clear):
        files.append(io.BytesIO())
        Image.fromarray(array).save(files[-1], "PNG")
    write([sample(str(i), "a", "train", file.getvalue()) for i, file in enumerate(files)], tmp_path / "out")
    grey, white = (
        np.asarray(Image.open(io.BytesIO(image.as_py()))) for image in shards.read_rows(tmp_path / "out")["image"]
    )
    assert np.abs(grey[0, :, 0] - ramp[0] / 257.0).max() < 6
    assert white.min() > 250


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "empty"), (jpeg(1)[:-200], "truncated"), (b"no image at all", "not an image"), (jpeg(1)[:30], "")],
)
def test_a_corrupt_image_is_left_out_and_listed(data: bytes, reason: str, tmp_path: Path) -> None:
    manifest = write([*collection(4), sample("a/bad.jpg", "a", "train", data)], tmp_path / "out")
    assert [bad.source for bad in manifest.corrupt] == ["a/bad.jpg"]
    assert reason in manifest.corrupt[0].reason
    assert manifest.images == 4
    assert "a/bad.jpg" not in shards.read_rows(tmp_path / "out")["source"].to_pylist()


def test_a_file_that_cannot_be_read_is_corrupt(tmp_path: Path) -> None:
    gone = shards.Sample("a/gone.jpg", "a", "train", (tmp_path / "gone.jpg").read_bytes)
    assert "No such file" in write([*collection(2), gone], tmp_path / "out").corrupt[0].reason


def test_nothing_is_left_when_writing_stops(tmp_path: Path) -> None:
    def interrupted() -> bytes:
        raise KeyboardInterrupt

    bad = sample("b/zzz.jpg", "b", "train", b"")
    with pytest.raises(UserError, match=r"b/zzz.jpg is corrupt: the file is empty"):
        write([*collection(9), bad], tmp_path / "out", on_corrupt="fail")
    with pytest.raises(KeyboardInterrupt):
        write([*collection(9), shards.Sample("b/zzz.jpg", "b", "train", interrupted)], tmp_path / "out")
    with pytest.raises(UserError, match=r"all 1 images are corrupt.*b/zzz.jpg"):
        write([bad], tmp_path / "out")
    with pytest.raises(UserError, match="no images"):
        write([], tmp_path / "out")
    with pytest.raises(UserError):
        write([bad], tmp_path / "deep" / "er" / "out")
    assert names(tmp_path) == []


def test_two_writers_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other_writer_first(samples: list[shards.Sample]) -> list[shards.Sample]:
        def load() -> bytes:
            if not (tmp_path / "out").exists():
                write(samples, tmp_path / "out")
            return first.load()

        first = min(collection(), key=lambda s: s.source)
        return [shards.Sample(first.source, first.label, first.split, load), *collection()[1:]]

    manifest = write(other_writer_first(collection()), tmp_path / "out")
    assert shards.verify_shards(tmp_path / "out") == manifest
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(UserError, match="holds other data"):
        write(other_writer_first(collection(5)), tmp_path / "out")
    assert shards.verify_shards(tmp_path / "out").images == 5
    # and when the other one comes between the last look and the rename
    looks, look = [None, None], publish.existing_manifest
    monkeypatch.setattr(publish, "existing_manifest", lambda path: looks.pop() if looks else look(path))
    assert write(collection(5), tmp_path / "out").images == 5
    assert names(tmp_path) == ["out"]


def test_output_that_exists(tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = write(collection(), out)
    assert write(collection(), out, rows_per_shard=3) == first  # the same data: left as it is
    with pytest.raises(UserError, match=r"holds other data.*remove it"):
        write(collection(9), out)
    assert shards.verify_shards(out) == first
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("dear")
    with pytest.raises(UserError, match="exists already and is not a data set"):
        write(collection(), tmp_path / "mine")
    (tmp_path / "empty").mkdir()
    write(collection(), tmp_path / "empty")
    assert names(tmp_path) == ["empty", "mine", "out"]
    with pytest.raises(UserError, match=r"cannot write|exists already"):
        write(collection(), tmp_path / "mine" / "diary.txt" / "below")


def test_wrong_samples(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="x is listed twice"):
        write([sample("x", "a", "train", jpeg()), sample("x", "a", "test", jpeg())], tmp_path / "out")
    with pytest.raises(UserError, match=r"unknown split 'tset'; did you mean 'test'"):
        write([sample("x", "a", "tset", jpeg())], tmp_path / "out")
    with pytest.raises(UserError, match=r"unknown class 'crow'; did you mean 'crows'"):
        write([sample("x", "crow", "test", jpeg())], tmp_path / "out", classes=["crows"])


def test_directories_that_are_no_data_set(tmp_path: Path) -> None:
    ingest = r"python -m raysearch\.ingest"
    with pytest.raises(UserError, match=f"no data set at .*{ingest}"):
        shards.read_manifest(tmp_path / "nowhere")
    with pytest.raises(UserError, match=f"no manifest.json.*{ingest}"):
        shards.read_manifest(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="not a directory"):
        shards.read_manifest(tmp_path / "file")
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        shards.read_manifest(tmp_path)
    for version, message in ((99, r"a newer .*format 99.*upgrade"), (1, r"an older .*format 1,.*ingest .* again")):
        (tmp_path / "manifest.json").write_text(json.dumps({"format": version, "from": "another time"}))
        with pytest.raises(UserError, match=message):
            shards.read_manifest(tmp_path)


@pytest.mark.parametrize("damage", ["missing", "cut", "hole", "footer"])
def test_the_cheap_check_notices(damage: str, tmp_path: Path) -> None:
    write(collection(), tmp_path)
    shard = tmp_path / "00001.parquet"
    data = shard.read_bytes()
    if damage == "missing":
        shard.unlink()
    else:
        damaged = {"cut": data[:-100], "hole": data[:100] + data[200:], "footer": data[:-8] + bytes(8)}
        shard.write_bytes(damaged[damage])
    with pytest.raises(UserError, match=r"00001\.parquet (is missing|has .* bytes|cannot be read)"):
        shards.read_manifest(tmp_path)
    with pytest.raises(UserError, match=r"damaged.*00001\.parquet"):
        write(collection(), tmp_path)


@pytest.mark.parametrize("decode", [True, False])
def test_verify_names_the_row_of_a_flipped_byte(decode: bool, tmp_path: Path) -> None:
    write(collection(), tmp_path)
    shard = tmp_path / "00001.parquet"
    data = bytearray(shard.read_bytes())
    image = shards.read_rows(tmp_path)["image"][6].as_py()  # row 2 of the second shard
    data[data.index(image) + len(image) // 2] ^= 1
    shard.write_bytes(data)
    shards.read_manifest(tmp_path)  # the cheap check cannot see it
    with pytest.raises(UserError, match=r"00001\.parquet, row 2 \(b/3\.jpg\) is damaged"):
        shards.verify_shards(tmp_path, decode=decode)


def test_every_flipped_byte_of_a_shard_is_found(tmp_path: Path) -> None:
    write(collection(3), tmp_path)
    shard = tmp_path / "00000.parquet"
    whole = shard.read_bytes()
    for position in np.linspace(0, len(whole) - 1, 60).astype(int):
        data = bytearray(whole)
        data[position] ^= 0x10
        shard.write_bytes(data)
        with pytest.raises(UserError, match=r"00000\.parquet"):
            shards.verify_shards(tmp_path, decode=False)


def test_verify_notices_a_manifest_that_was_edited(tmp_path: Path) -> None:
    write(collection(), tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace('"a",', '"z",'))
    with pytest.raises(UserError, match="does not describe"):
        shards.verify_shards(tmp_path)


def test_verify_names_the_row_of_an_image_that_does_not_decode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_builder, "_prepare", lambda sample: (sample.load(), (1, 1)))
    write([sample("a/0.jpg", "a", "train", jpeg()), sample("a/1.jpg", "a", "train", b"junk")], tmp_path)
    monkeypatch.undo()
    shards.verify_shards(tmp_path, decode=False)
    with pytest.raises(UserError, match=r"row 1 \(a/1\.jpg\) does not decode: not an image"):
        shards.verify_shards(tmp_path)


def test_verify_names_the_row_of_an_image_that_training_cannot_decode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_builder, "_prepare", lambda sample: (sample.load(), (1, 1)))
    write([sample("a/0.jpg", "a", "train", jpeg()), sample("a/1.png", "a", "train", jpeg(format="PNG"))], tmp_path)
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"row 1 \(a/1\.png\) is not an RGB JPEG that training can decode"):
        shards.verify_shards(tmp_path)
