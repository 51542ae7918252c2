"""Loaders come out of another process as they went in, and their stamps change with what they stand on."""

import os
import pickle
from pathlib import Path

import pytest

from raysearch.core import UserError
from raysearch.data import layouts, shards, synthetic
from raysearch.data.shards import CorruptImage, FileLoader, SliceLoader
from raysearch.data.shards import samples as samples_module
from raysearch.data.shards.samples import MissingImage, ReshapingLoader, loader_stamp

from ..layouts.test_hf_parquet import parquet
from ..layouts.trees import picture, put


def test_a_file(tmp_path: Path) -> None:
    put(tmp_path, {"a/1.jpg": b"one"})
    load = FileLoader(str(tmp_path), "a/1.jpg")
    before = load.stamp()
    assert pickle.loads(pickle.dumps(load))() == load() == b"one"
    (tmp_path / "a/1.jpg").write_bytes(b"two!")
    assert load.stamp() != before
    os.utime(tmp_path / "a/1.jpg", (1, 1))
    assert load.stamp() == f"4 {10**9}"
    (tmp_path / "a/1.jpg").unlink()
    with pytest.raises(CorruptImage, match="no such file"):
        load()
    assert load.stamp() == "none"


def test_a_slice_opens_its_file_once_and_again_when_it_is_another(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(b"0123456789")
    load = SliceLoader(str(path), 2, 3, str(path))
    opened = samples_module._open_archive.cache_info().misses
    assert [load() for _ in range(5)] == [b"234"] * 5
    assert samples_module._open_archive.cache_info().misses == opened + 1
    path.unlink()
    path.write_bytes(b"abcdefghijk")
    assert load() == b"cde"
    with pytest.raises(CorruptImage, match="breaks off"):
        SliceLoader(str(path), 9, 3, str(path))()


def test_what_a_machine_does_not_see_is_not_corrupt(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    for load in (FileLoader(gone, "a.jpg"), SliceLoader(gone, 0, 1, gone)):
        with pytest.raises(UserError, match="every node must see SRC"):
            load()


def test_reshaped_stands_on_image_box_and_side(tmp_path: Path) -> None:
    put(tmp_path, {"1.png": picture(format="PNG", red=(4, 2, 9, 5))})
    file = FileLoader(str(tmp_path), "1.png")
    shapes = [((4.0, 2.0, 9.0, 5.0), None), (None, 8), ((4.0, 2.0, 9.0, 5.0), 8), (None, None)]
    found = [ReshapingLoader(file, box, side) for box, side in shapes]
    assert [shards.to_rgb_jpeg(load())[1] for load in found] == [(5, 3), (8, 8), (8, 8), (12, 8)]
    assert len({load.stamp() for load in found}) == 4
    assert ReshapingLoader(lambda: b"", None, 8).stamp() is None
    with pytest.raises(CorruptImage, match="no box"):
        MissingImage("no box")()


def test_drawn_images_stand_on_their_settings() -> None:
    loads = [synthetic.list_samples(synthetic.parse_spec(text))[0].load for text in ("seed=0", "seed=1", "side=32")]
    assert len({loader_stamp(load) for load in loads}) == 3
    assert pickle.loads(pickle.dumps(loads[2]))() == loads[2]()


def test_images_of_parquet_files_travel_and_their_store_goes_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "store").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "store"))
    parquet(tmp_path / "src" / "train.parquet", [picture(), picture("L"), picture(format="PNG")], [0, 2, 1])
    samples = layouts.LAYOUTS["parquet"].read(str(tmp_path / "src"), None).samples
    for sample in samples:
        there = pickle.loads(pickle.dumps(sample))
        assert there.load() == sample.load()
        assert there.load.stamp() == sample.load.stamp()
    stamps = [loader_stamp(sample.load) for sample in samples]
    assert len(list((tmp_path / "store").iterdir())) == 1
    del samples, sample, there
    assert list((tmp_path / "store").iterdir()) == []
    again = layouts.LAYOUTS["parquet"].read(str(tmp_path / "src"), None).samples
    assert [loader_stamp(sample.load) for sample in again] == stamps
