"""Parquet of Hugging Face: columns by the schema's metadata, names in their order, bytes as they were."""

import json
from collections.abc import Sequence
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
    with pytest.raises(UserError, match="has species, coarse_label in place of a column 'label'; rename one"):
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
