"""Images by row number from a store: a copy of each shard on this node, whose absence or damage is one line."""

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from raysearch.core import UserError
from raysearch.data import feed, shards
from raysearch.data.feed import DecodeSpec, ImageStream, RayDataDecoder, ThreadDecoder
from raysearch.data.shards import ShardReader
from raysearch.data.shards.reader import _OpenShards
from raysearch.storage import Location

from ...s3_server import Server, reads

pytestmark = pytest.mark.usefixtures("cache")

EVERY = np.arange(36)


@pytest.fixture
def expected(eight_shards: Path) -> list[bytes]:
    return shards.read_rows(eight_shards, ["image"])["image"].to_pylist()


def shelf_of(location: str) -> ShardReader:
    return ShardReader(location, shards.read_manifest(location))


def test_a_shard_is_copied_once_and_only_if_wanted(remote: str, s3: Server, expected: list[bytes], cache: Path) -> None:
    shelf = shelf_of(remote)
    s3.requests.clear()
    for rows in ([35, 0, 0], [1, 4], [3]):  # of the first shard and the last
        assert shelf.images(np.array(rows)) == [expected[row] for row in rows]
    assert len(reads(s3)) == 2
    assert len(list(cache.iterdir())) == 2
    assert shelf_of(remote).images(EVERY) == expected
    assert len(reads(s3)) == 8


def test_copies_may_go_at_any_time(
    remote: str, s3: Server, expected: list[bytes], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = shelf_of(remote)
    assert shelf.images(EVERY) == expected
    shutil.rmtree(cache)
    s3.requests.clear()
    assert shelf.images(EVERY) == expected  # what is open stays
    monkeypatch.setattr("raysearch.data.shards.reader._OPEN_SHARDS", _OpenShards())  # as in another process
    assert pickle.loads(pickle.dumps(shelf)).images(EVERY) == expected
    assert len(reads(s3)) == 8


def test_it_travels_and_shows_no_secret(remote: str, s3: Server, expected: list[bytes]) -> None:
    shelf = shelf_of(s3.uri("data/cub", user="KEY:HUSH@"))
    shelf.images(np.array([7]))
    view = DecodeSpec(32)
    for one in (
        shelf,
        ThreadDecoder(shelf, view),
        RayDataDecoder(shelf, view),
        Location.parse(s3.uri("data/cub", user="KEY:HUSH@")),
    ):
        assert "HUSH" not in repr(one) + str(one)
        assert "KEY" not in repr(one) + str(one)
    assert pickle.loads(pickle.dumps(shelf)).images(EVERY) == expected


def test_a_stream_gives_what_decoding_at_once_gives(remote: str, eight_shards: Path) -> None:
    rows = np.random.default_rng(0).permutation(36)
    stream = ImageStream(shelf_of(remote), DecodeSpec(20))
    assert np.array_equal(stream[rows], ImageStream(shelf_of(str(eight_shards)), DecodeSpec(20))[rows])
    assert np.array_equal(
        feed.decode_dataset(remote, 20)["test"].images, feed.decode_dataset(eight_shards, 20)["test"].images
    )


def test_labels_and_splits_copy_nothing(remote: str, s3: Server, eight_shards: Path, cache: Path) -> None:
    here, there = feed.split_rows(eight_shards), feed.split_rows(remote)
    for split, expected in here.items():
        assert np.array_equal(there[split].rows, expected.rows)
        assert np.array_equal(there[split].labels, expected.labels)
    assert not cache.exists()


def test_damage_and_absence_are_one_line(remote: str) -> None:
    shelf, shard = shelf_of(remote), Location.parse(remote) / "00002.parquet"
    whole = shard.read()
    shard.write(os.urandom(len(whole)))
    with pytest.raises(UserError, match=r"^s3://bucket/data/cub/00002\.parquet\S* holds other data than its manifest"):
        shelf.images(EVERY)
    shard.delete()
    with pytest.raises(UserError, match=r"^shard s3://bucket/data/cub/00002\.parquet\S* is missing; ingest"):
        shelf.images(EVERY)
    shard.write(whole)
    assert len(shelf.images(EVERY)) == 36
