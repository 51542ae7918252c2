"""Parquet of Hugging Face: columns by the schema's metadata, names in their order, bytes as they were."""

import json
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysearch.core import UserError
from raysearch.data import layouts

from .trees import picture, put, read, reasons, rows, written

IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
NAMES = ["wren", "owl", "auk"]  # in no sorted order


def parquet(
    path: Path,
    images: Sequence[bytes | None],
    labels: Sequence[Any],
    names: Sequence[str] | None = NAMES,
    columns: tuple[str, str] = ("image", "label"),
    more: dict[str, dict[str, Any]] | None = None,
) -> Path:
    """A file as `datasets` writes it; without `names` as others do, with no metadata. `more` are further features."""
    image, label = columns
    table = {
        image: pa.array([{"bytes": data, "path": f"{n}.jpg"} for n, data in enumerate(images)], IMAGE),
        label: pa.array(labels),
        **{name: pa.array([0] * len(images)) for name in more or {}},
    }
    features = {image: {"_type": "Image"}, label: {"names": names, "_type": "ClassLabel"}, **(more or {})}
    metadata = {} if names is None else {"huggingface": json.dumps({"info": {"features": features}})}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(table).replace_schema_metadata(metadata), path, row_group_size=2)
    return path


def test_splits_names_and_bytes(tmp_path: Path) -> None:
    photos = [picture(red=(0, 0, n, 8)) for n in range(1, 7)]
    src = put(tmp_path / "src", {"README.md": "---"})
    parquet(src / "data/train-00000-of-00002-ab12.parquet", photos[:3], [1, 0, 1])
    parquet(src / "data/train-00001-of-00002-cd34.parquet", photos[3:5], [0, 1])
    parquet(src / "data/validation-00000-of-00001.parquet", photos[5:], [0])
    found = read("parquet", src)
    first = "data/train-00000-of-00002-ab12.parquet"
    assert rows(found) >= {(f"{first}/00000000", "owl", "train"), (f"{first}/00000002", "owl", "train")}
    assert [sample.load() for sample in found] == photos
    assert found.classes == ("wren", "owl")
    assert written(found, tmp_path / "out").counts == {"train": (2, 3), "val": (1, 0)}
    layout, reason = layouts.detect_layout(str(src))
    assert (layout.name, reason) == ("parquet", f"images in column 'image' of {first}")


def test_other_columns(tmp_path: Path) -> None:
    coarse = {"coarse_label": {"names": ["bird"], "_type": "ClassLabel"}}
    path = parquet(tmp_path / "train.parquet", [picture()], [2], columns=("img", "species"))
    assert rows(read("parquet", tmp_path)) == {("train.parquet/00000000", "auk", "train")}
    parquet(path, [picture()], [2], columns=("img", "label"), more=coarse)
    assert rows(read("parquet", tmp_path)) == {("train.parquet/00000000", "auk", "train")}
    parquet(path, [picture()], [2], columns=("img", "species"), more=coarse)
    with pytest.raises(UserError, match="has species, coarse_label in place of a column 'label'; choose one"):
        read("parquet", tmp_path)


def test_without_metadata_numbers_keep_their_order(tmp_path: Path) -> None:
    parquet(tmp_path / "train.parquet", [picture()] * 3, [10, 9, 10], names=None)
    assert read("parquet", tmp_path).classes == ("9", "10")
    parquet(tmp_path / "train.parquet", [picture()] * 3, ["wren", "auk", "wren"], names=None)
    assert read("parquet", tmp_path).classes == ("auk", "wren")


def test_rows_that_are_left_out(tmp_path: Path) -> None:
    parquet(tmp_path / "test.parquet", [picture(), None, picture(), picture()], [0, 1, -1, 3])
    found = read("parquet", tmp_path)
    assert reasons(found) == {
        "test.parquet/00000001": "a path and no bytes",
        "test.parquet/00000002": "no label",
        "test.parquet/00000003": "its label is 3, and there are 3",
    }
    assert len(found) == 1


def test_files_that_are_none(tmp_path: Path) -> None:
    put(tmp_path, {"train.parquet": "version https://git-lfs.github.com/spec/v1"})
    with pytest.raises(UserError, match=r"train.parquet cannot be read as Parquet \(ArrowInvalid\); is it whole"):
        read("parquet", tmp_path)
    pq.write_table(pa.table({"text": ["a"], "label": [0]}), tmp_path / "train.parquet")
    with pytest.raises(UserError, match="has none that could be in place of a column 'image'"):
        read("parquet", tmp_path)
    parquet(tmp_path / "train.parquet", [picture()], [0])
    parquet(tmp_path / "test.parquet", [picture()], [0], names=["a"])
    with pytest.raises(UserError, match=r"train.parquet and .*test.parquet have different names of labels"):
        read("parquet", tmp_path)


def test_a_file_that_broke_off_within(tmp_path: Path) -> None:
    path = parquet(tmp_path / "train.parquet", [picture()] * 6, [0] * 6)
    data = bytearray(path.read_bytes())
    group = pq.ParquetFile(path).metadata.row_group(2).column(0)
    start = group.dictionary_page_offset or group.data_page_offset
    data[start : start + 20] = b"\xff" * 20
    path.write_bytes(data)
    found = read("parquet", tmp_path)
    assert "it breaks off at row" in reasons(found)["train.parquet"]


def test_a_caption_is_no_label(tmp_path: Path) -> None:
    """Any column may be text about an image; the user names the column of the labels then, and so do the messages."""
    for columns in (("image", "caption"), ("image", "text"), ("image", "id"), ("image", "species")):
        path = parquet(tmp_path / "train.parquet", [picture()] * 2, ["a wren", "an owl"], names=None, columns=columns)
        with pytest.raises(UserError, match=rf"it has {columns[1]} \(string\)\. Name one by --label-column"):
            read("parquet", tmp_path)
        assert layouts.detect_layout(str(tmp_path))[0].name == "parquet", "the error is about the column"
    chosen = layouts.LAYOUTS["parquet"].with_options(layouts.ReadOptions(label_column="species"))
    assert rows(chosen.read(str(tmp_path), None)) == {
        ("train.parquet/00000000", "a wren", "train"),
        ("train.parquet/00000001", "an owl", "train"),
    }
    assert chosen.read(str(tmp_path), None).notes == ("columns: image 'image', label 'species'",)
    for asked, words in (("specise", "did you mean 'species'"), ("image", "has no such column")):
        with pytest.raises(UserError, match=words):
            chosen.with_options(layouts.ReadOptions(label_column=asked)).read(str(tmp_path), None)
    with pytest.raises(UserError, match=r"--label-column has no effect in the layout cub; it is for .*parquet"):
        layouts.LAYOUTS["cub"].with_options(layouts.ReadOptions(label_column="species"))
    assert path.is_file()


def test_the_name_or_the_metadata_tells_the_label(tmp_path: Path) -> None:
    caption = {"caption": {"_type": "Value", "dtype": "string"}, "width": {"_type": "Value", "dtype": "int64"}}
    parquet(tmp_path / "train.parquet", [picture()], [1], columns=("image", "species"), more=caption)
    assert {label for _, label, _ in rows(read("parquet", tmp_path))} == {"owl"}
    for name in ("Label", "labels", "class", "cls", "category", "target"):
        path = tmp_path / "train.parquet"
        parquet(path, [picture()], ["wren"], names=None, columns=("image", name), more=caption)
        assert {label for _, label, _ in rows(read("parquet", tmp_path))} == {"wren"}
    images = [{"bytes": picture(), "path": None}]
    two = {"before": pa.array(images, IMAGE), "after": pa.array(images, IMAGE), "label": ["wren"]}
    pq.write_table(pa.table(two), path)
    with pytest.raises(UserError, match=r"'image'.*it has before, after\. Name one by --image-column"):
        read("parquet", tmp_path)
    chosen = layouts.LAYOUTS["parquet"].with_options(layouts.ReadOptions(image_column="after"))
    assert [sample.label for sample in chosen.read(str(tmp_path), None)] == ["wren"]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (pa.array([1, 0, None], pa.int8()), ["1", "0", None]),
        (pa.array([1, 0, None], pa.uint64()), ["1", "0", None]),
        (pa.array([1.0, 0.0, float("nan")], pa.float32()), ["1", "0", None]),
        (pa.array([True, False, None]), ["True", "False", None]),
        (pa.array(["wren", " owl ", ""], pa.large_string()), ["wren", "owl", None]),
        (pa.array(["wren", "owl", None], pa.string_view()), ["wren", "owl", None]),
        (pa.array(["wren", "owl", None]).dictionary_encode(), ["wren", "owl", None]),
        (pa.array([10, 9, -1]).dictionary_encode(), ["10", "9", None]),
        (pa.array([Decimal("3.00"), Decimal("12.00"), None], pa.decimal128(5, 2)), ["3", "12", None]),
        (pa.array([date(2024, 5, 1), date(2024, 4, 1), None]), ["2024-05-01", "2024-04-01", None]),
        (pa.array([b"wren", b"owl", None]), ["wren", "owl", None]),
        (pa.nulls(3), [None, None, None]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_every_type_of_single_values(labels: pa.Array, expected: list[str | None], tmp_path: Path) -> None:
    images = pa.array([{"bytes": picture(), "path": None}] * 3, IMAGE)
    pq.write_table(pa.table({"image": images, "label": labels}), tmp_path / "train.parquet")
    found = read("parquet", tmp_path)
    by_row = {sample.source: sample.label for sample in found}
    assert [by_row.get(f"train.parquet/{row:08d}") for row in range(3)] == expected
    assert set(reasons(found).values()) == ({"no label"} if None in expected else set())


def test_images_that_are_plain_bytes(tmp_path: Path) -> None:
    for kind in (pa.binary(), pa.large_binary(), pa.binary_view()):
        pq.write_table(
            pa.table({"image": pa.array([picture(), None], kind), "label": ["a", "b"]}), tmp_path / "train.parquet"
        )
        found = read("parquet", tmp_path)
        assert [sample.load() for sample in found] == [picture()]
        assert reasons(found) == {"train.parquet/00000001": "no image"}


def test_lists_and_structs_name_no_class(tmp_path: Path) -> None:
    images = pa.array([{"bytes": picture(), "path": None}], IMAGE)
    for value in ([["a", "b"]], [{"name": "a"}]):
        pq.write_table(pa.table({"image": images, "label": value}), tmp_path / "train.parquet")
        with pytest.raises(UserError, match="none that could be in place of a column 'label'"):
            read("parquet", tmp_path)


def test_names_that_are_there_twice_stay_apart(tmp_path: Path) -> None:
    parquet(tmp_path / "train.parquet", [picture()] * 3, [0, 2, 1], names=["crane", "maillot", "crane"])
    found = read("parquet", tmp_path)
    assert found.classes == ("crane (0)", "maillot", "crane (2)")
    assert found.warnings == ("class names that are there twice are told apart by their numbers: 'crane'",)
    assert written(found, tmp_path.parent / f"{tmp_path.name}-out").counts == {"train": (1, 1, 1)}
    parquet(tmp_path / "train.parquet", [picture()] * 2, [1, 2], names=["a", "b"])
    found = read("parquet", tmp_path)
    assert found.classes == ("b",), "metadata counts from 0, whatever the labels"
    assert "1 image has a label without a class name, and is left out: '2' (1)" in found.warnings


def test_a_damaged_column_name_is_one_line(tmp_path: Path) -> None:
    path = parquet(tmp_path / "src/train.parquet", [picture()], [0], None)
    path.write_bytes(path.read_bytes().replace(b"label", b"l\x9abel"))
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        read("parquet", tmp_path / "src")
    with pytest.raises(UserError):
        layouts.detect_layout(str(tmp_path / "src"))


def test_rows_behind_a_damage_are_counted(tmp_path: Path) -> None:
    """What is read, corrupt and lost are all rows of the footer; the entry that names the damage comes on top."""
    path = parquet(tmp_path / "src/train.parquet", [picture()] * 200, [0] * 200, None)
    data = bytearray(path.read_bytes())
    start = len(data) // 2
    data[start : start + 2_000] = bytes(2_000)
    path.write_bytes(data)
    listing, account = layouts.read_source(layouts.LAYOUTS["parquet"], str(tmp_path / "src"))
    (lost,) = (entry.number for entry in account.left_out if entry.kind == "row")
    assert 0 < len(listing) < 200
    assert len(listing) + lost == 200
    assert [image.source for image in listing.corrupt] == ["train.parquet"]
