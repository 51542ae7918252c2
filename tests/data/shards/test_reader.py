"""Images by row number are those that a whole read of the shards has at these rows."""

import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from raysearch.core import UserError
from raysearch.data import shards
from raysearch.data.shards import ShardReader, reader

from .test_writer import jpeg, sample

ROWS = 95


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of 40, 40 and 15 rows, so that a middle row group may be left out and the last one is short."""
    out = tmp_path_factory.mktemp("shelf") / "out"
    samples = [sample(f"{i:03d}.jpg", "ab"[i % 2], "train", jpeg(i, side=8)) for i in range(ROWS)]
    manifest = shards.write_shards(samples, out, name="n", layout="folder", rows_per_shard=40)
    assert [shard.rows for shard in manifest.shards] == [40, 40, 15]
    assert pq.ParquetFile(out / "00000.parquet").num_row_groups == 3
    return out


@pytest.fixture
def images(directory: Path) -> ShardReader:
    return ShardReader(directory, shards.read_manifest(directory))


@pytest.fixture(scope="module")
def expected(directory: Path) -> list[bytes]:
    return shards.read_rows(directory, ["image"])["image"].to_pylist()


def test_any_rows_in_any_order(images: ShardReader, expected: list[bytes]) -> None:
    assert len(images) == len(expected) == ROWS
    draws = [np.random.default_rng(n).integers(0, ROWS, n) for n in range(50)]
    for rows in ([], [94], [0, 0], range(ROWS), range(ROWS - 1, -1, -1), *draws):
        assert images.images(np.array(rows, np.int64)) == [expected[row] for row in rows]


@pytest.mark.parametrize("row", [-1, ROWS])
def test_rows_that_are_not_there(row: int, images: ShardReader) -> None:
    with pytest.raises(IndexError, match=f"of {ROWS}"):
        images.images(np.array([3, row]))


def test_it_travels_without_what_it_opened(images: ShardReader, expected: list[bytes]) -> None:
    before = pickle.dumps(images)
    images.images(np.arange(ROWS))
    assert pickle.dumps(images) == before
    there, opened = pickle.loads(before), dict(reader._OPEN_SHARDS.shards)
    assert there.images(np.array([40, 2])) == [expected[40], expected[2]]
    assert reader._OPEN_SHARDS.shards == opened, "what its process had open already"


def test_few_files_are_open_at_a_time(
    images: ShardReader, expected: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "MAX_OPEN_SHARDS", 2)
    for rows in ([0, 60, 94], [60], [0], [94]):
        assert images.images(np.array(rows)) == [expected[row] for row in rows]
        assert len(reader._OPEN_SHARDS.shards) <= 2


def test_threads_take_turns(images: ShardReader, expected: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_OPEN_SHARDS", 1)

    def draw(seed: int) -> bool:
        rows = np.random.default_rng(seed).integers(0, ROWS, (40, 9))
        return all(images.images(some) == [expected[row] for row in some] for some in rows)

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(draw, range(3)))


def test_a_shard_that_broke_off_is_named(directory: Path, tmp_path: Path) -> None:
    shutil.copytree(directory, tmp_path / "out")
    images = ShardReader(tmp_path / "out", shards.read_manifest(tmp_path / "out"))
    (tmp_path / "out" / "00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"00001\.parquet cannot be read"):
        images.images(np.array([60]))
