"""A data set from elsewhere: its manifest names files beside it, by their hashes, and nothing else."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysearch.core import UserError, open_below
from raysearch.data import shards, synthetic
from raysearch.data.image_sources import find_images

SPEC = synthetic.SyntheticSpec(classes=2, train_per_class=2, test_per_class=1, side=16)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return synthetic.ensure_shards(SPEC, tmp_path / "drawn").rename(tmp_path / "data")


def change(data: Path, **fields: Any) -> None:
    manifest = json.loads((data / "manifest.json").read_text())
    manifest["shards"][0] |= fields
    (data / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "fields",
    [
        {"sha256": "../../outside/work"},
        {"sha256": "/home/alice/work"},
        {"sha256": "a" * 63},
        {"sha256": "A" * 64},
        {"sha256": "a" * 64 + "\n"},
        {"file": "../x.parquet"},
        {"file": "/x.parquet"},
        {"file": "a\\b"},
        {"file": ""},
        {"file": "a\0b"},
    ],
    ids=str,
)
def test_a_manifest_names_no_other_place(fields: dict[str, str], data: Path) -> None:
    change(data, **fields)
    with pytest.raises(UserError, match=r"manifest.json cannot be read \(ValidationError\)"):
        shards.read_manifest(data)


def link_out(path: Path) -> None:
    path.rename(path.parent.parent / "outside")
    path.symlink_to("../outside")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [("label", 10**6), ("label", -5), ("label", None), ("split", None), ("image", None), ("source", None)],
)
def test_values_that_no_row_has_are_one_line(name: str, value: Any, data: Path) -> None:
    (file,) = data.glob("*.parquet")
    table = pq.read_table(file)
    number = table.column_names.index(name)
    pq.write_table(table.set_column(number, name, pa.array([value] * len(table), table.schema.types[number])), file)
    change(data, bytes=file.stat().st_size, sha256=shards.file_sha256(file))
    with pytest.raises(UserError, match="cannot be read"):
        shards.read_rows(data)
    if name != "split":  # which nobody asks for in an index
        with pytest.raises(UserError, match="cannot be read"):
            [image.load() for image in find_images(data).images]
    with pytest.raises(UserError):
        shards.verify_shards(data)


@pytest.mark.parametrize("spoil", [link_out, pipe])
@pytest.mark.parametrize("name", ["manifest.json", "00000.parquet"])
def test_no_link_is_followed_and_no_pipe_read(name: str, spoil: Callable[[Path], None], data: Path) -> None:
    spoil(data / name)
    with pytest.raises(UserError, match=r"is a link that leads out of|cannot be read|bytes where its manifest says"):
        shards.read_manifest(data)


def test_a_snapshot_of_the_hub_is_read(data: Path, tmp_path: Path) -> None:
    """A download of the Hugging Face hub consists of links to blobs beside it."""
    snapshot = tmp_path / "hub/snapshots/abc"
    snapshot.mkdir(parents=True)
    (tmp_path / "hub/blobs").mkdir()
    for number, file in enumerate(sorted(data.iterdir())):
        file.rename(tmp_path / f"hub/blobs/{number}")
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    assert shards.read_manifest(snapshot).images == 6
    assert shards.verify_shards(snapshot).images == 6


def test_files_are_opened_below_a_directory_alone(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "inner").mkdir(parents=True)
    (root / "inner/file").write_text("inside")
    (tmp_path / "outside").write_text("outside")
    (tmp_path / "named").symlink_to(root)
    (root / "alias").symlink_to("inner")
    (root / "loop").symlink_to("loop")
    (root / "up").symlink_to("..")
    (root / "inner/out").symlink_to(tmp_path / "outside")
    for start in (root, tmp_path / "named"):
        for name in ("inner/file", "alias/file"):
            with open_below(start, name) as file:
                assert file.read() == b"inside"
        for name in ("../outside", "inner/../../outside", "/etc/passwd", "", ".", "a//b", "a\0b"):
            with pytest.raises(UserError, match="is not the name of a file below"):
                open_below(start, name)
        for name in ("up/outside", "inner/out", "alias/out"):
            with pytest.raises(UserError, match="is a link that leads out of"):
                open_below(start, name)
        for name in ("inner", "loop", "inner/file/x"):
            with pytest.raises(OSError, match=r"not a regular file|symbolic links|Not a directory"):
                open_below(start, name)
        with pytest.raises(FileNotFoundError):
            open_below(start, "none")
