"""Equal images in two parts or under two labels are counted and named, however they are spelled on disk."""

import io
import json
from collections import defaultdict
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from raysearch.data import shards
from raysearch.data.shards import Place, Sample
from raysearch.data.shards.duplicates import find_duplicates

from ..layouts.trees import picture


def encoded(shade: int, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 2 * shade, 90)).save(file, form, quality=95)
    return file.getvalue()


def written(directory: Path, *places: tuple[str, str, str, bytes], side: int | None = None) -> shards.Manifest:
    samples = [Sample(source, label, split, partial(bytes, data)) for source, label, split, data in places]
    if side is not None:
        samples = shards.reshape_samples(samples, None, side)
    return shards.write_shards(samples, directory, name="n", layout="l", rows_per_shard=2)


def test_the_same_file_in_two_parts(tmp_path: Path) -> None:
    manifest = written(
        tmp_path / "out",
        ("a/1.jpg", "a", "train", encoded(10)),
        ("a/2.jpg", "a", "test", encoded(10)),
        ("a/3.jpg", "a", "train", encoded(20)),
        ("a/4.jpg", "a", "train", encoded(20)),  # twice in train: no leakage
        ("b/1.jpg", "b", "train", encoded(30)),
        ("b/2.jpg", "b", "val", encoded(30)),
        ("b/3.jpg", "b", "test", encoded(30)),
        ("b/4.jpg", "b", "test", b"no image"),
    )
    found = shards.read_manifest(tmp_path / "out").duplicates
    assert found == manifest.duplicates
    assert found is not None
    assert (found.in_parts, found.in_labels) == (2, 0)
    assert found.groups[0] == (Place("a/1.jpg", "a", "train"), Place("a/2.jpg", "a", "test"))
    (line,) = found.warnings()
    assert line.startswith("2 images are in several parts")
    assert line.endswith("(first: a/1.jpg in train, a/2.jpg in test)")


def test_one_image_under_two_labels(tmp_path: Path) -> None:
    places = [("a/1.jpg", "a", "train", encoded(10)), ("b/1.jpg", "b", "train", encoded(10))]
    found = written(tmp_path / "out", *places, ("c/1.jpg", "c", "train", encoded(11))).duplicates
    assert found is not None
    assert found.warnings() == ["1 image is under several labels (first: a/1.jpg as a, b/1.jpg as b)"]
    # Classes that a study puts into different parts: the image is trained on and tested.
    leak = found.warnings({"a": "train", "b": "test", "c": "train"})[0]
    assert leak.startswith("1 image is in several parts")
    assert "a/1.jpg in train, b/1.jpg in test" in leak
    assert len(found.warnings({"a": "test", "b": "test", "c": "train"})) == 1


@pytest.mark.parametrize("side", [None, 16])
def test_equal_pixels_in_other_files(side: int | None, tmp_path: Path) -> None:
    places = [
        (f"{form}.x", "a", split, encoded(40, form))
        for form, split in (("PNG", "train"), ("BMP", "test"), ("TIFF", "test"))
    ]
    found = written(tmp_path / "out", *places, side=side).duplicates
    assert found is not None
    assert (found.in_parts, len(found.groups[0])) == (1, 3)


def test_a_jpeg_with_other_metadata_after_side(tmp_path: Path) -> None:
    plain = picture(size=(32, 32))
    exif = Image.Exif()
    exif[0x010E] = "a description"
    file = io.BytesIO()
    Image.open(io.BytesIO(plain)).save(file, "JPEG", quality="keep", exif=exif)
    places = [("1.jpg", "a", "train", plain), ("2.jpg", "a", "test", file.getvalue())]
    found = written(tmp_path / "out", *places, side=16).duplicates
    assert found is not None
    assert found.in_parts == 1


def test_manifests_of_earlier_versions_are_read(tmp_path: Path) -> None:
    written(tmp_path / "out", ("1.jpg", "a", "train", encoded(1)), ("2.jpg", "a", "test", encoded(1)))
    path = tmp_path / "out" / "manifest.json"
    fields = json.loads(path.read_text())
    for name in ("duplicates", "warnings", "limits"):
        del fields[name]
    path.write_text(json.dumps(fields))
    manifest = shards.read_manifest(tmp_path / "out")
    assert (manifest.duplicates, manifest.warnings, manifest.limits) == (None, (), ())
    found = shards.verify_shards(tmp_path / "out").duplicates
    assert found is not None
    assert found.in_parts == 1, "reading all bytes again finds them in an older data set, too"


def test_a_thousand_copies_take_little_room() -> None:
    copies = [Place(f"{number:04d}.jpg", "ab"[number % 2], ("train", "test")[number // 500]) for number in range(1_000)]
    many = [("digest", place) for place in copies]
    pairs = [(f"{number}", Place(f"{part}/{number}", "a", part)) for number in range(500) for part in ("train", "test")]
    found = find_duplicates([*many, *pairs])
    assert (found.in_parts, found.in_labels) == (501, 1)
    assert found.groups[0] == (copies[0], copies[1], copies[500], copies[501])  # one for each label and part
    assert found.warnings()[0].startswith("501 images are in several parts")
    assert found.warnings({"a": "train", "b": "test"})[0].startswith("1 image is in several parts")
    assert len(found.model_dump_json()) < 5_000


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from("ab"), st.sampled_from(["train", "test"]))))
def test_the_numbers_are_those_of_a_plain_count(rows: list[tuple[str, str, str]]) -> None:
    images = [(digest, Place(f"{index}.jpg", label, split)) for index, (digest, label, split) in enumerate(rows)]
    found = find_duplicates(images)
    splits, labels = defaultdict(set), defaultdict(set)
    for digest, label, split in rows:
        splits[digest].add(split)
        labels[digest].add(label)
    assert found.in_parts == sum(len(values) > 1 for values in splits.values())
    assert found.in_labels == sum(len(values) > 1 for values in labels.values())
    assert bool(found.warnings()) == bool(found.in_parts or found.in_labels)
