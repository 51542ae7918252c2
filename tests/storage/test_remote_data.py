"""Data sets read from an S3 server: the same bytes as from disk, few requests, and damage named as on a disk."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from raysearch import sweep, train
from raysearch.core import Unreachable, UserError, cli
from raysearch.data import class_splits, feed, image_sources, shards
from raysearch.data.shards import ShardReader
from raysearch.engine.drivers import study_data
from raysearch.runs.study_record import DataRecord, StudyRecord
from raysearch.storage import Location

from ..s3_server import Server, reads


@pytest.mark.parametrize(("side", "parts"), [(32, None), (20, None), (20, ("train", "test", "val", "train"))])
def test_decoding_gives_the_same_bytes_as_from_disk(
    remote: str, eight_shards: Path, side: int, parts: tuple[str, ...] | None
) -> None:
    here, there = feed.decode_dataset(eight_shards, side, parts=parts), feed.decode_dataset(remote, side, parts=parts)
    assert list(there) == list(here)
    for split, expected in here.items():
        assert there[split].images.tobytes() == expected.images.tobytes()
        assert np.array_equal(there[split].labels, expected.labels)


def test_rows_partition_and_photos_are_the_same(remote: str, eight_shards: Path) -> None:
    assert shards.read_rows(remote).equals(shards.read_rows(eight_shards))
    assert shards.read_rows(remote, ["source"], "test").equals(shards.read_rows(eight_shards, ["source"], "test"))
    assert class_splits.partition_of(remote, "auto") == class_splits.partition_of(eight_shards, "auto")
    here, there = (
        [(one.path, one.label, one.load()) for one in image_sources.find_images(place).images]
        for place in (eight_shards, remote)
    )
    assert there == here
    assert shards.verify_shards(remote) == shards.verify_shards(eight_shards)


def test_a_manifest_costs_a_listing_and_a_read(remote: str, s3: Server) -> None:
    shards.read_manifest(remote)
    assert len(s3.requests) == 3, s3.requests
    asked = [request.split('"')[1] for request in s3.requests]
    assert sum("list-type=2" in one for one in asked) == 1
    assert sum("manifest.json" in one for one in asked) == 2  # its size, its bytes
    s3.requests.clear()
    shards.verify_shards(remote)
    assert len(reads(s3)) == 8, "each shard is read once"


def test_data_sets_that_are_not_there(remote: str, s3: Server) -> None:
    with pytest.raises(UserError, match=r"^no data set at s3://bucket/data/dog\S*; make one with"):
        shards.read_manifest(s3.uri("data/dog"))
    with pytest.raises(UserError, match=r"^cannot reach 's3://nobody/cub[^']*': no such bucket$"):
        shards.read_manifest(s3.uri("cub", bucket="nobody"))
    with pytest.raises(UserError, match=r"^s3://bucket/data\S* has no manifest.json"):
        shards.read_manifest(s3.uri("data"))
    Location.parse(f"{s3.uri('data/cub/manifest.json')}").delete()
    with pytest.raises(UserError, match=r"^s3://bucket/data/cub\S* has no manifest.json"):
        image_sources.find_images(remote)


def test_shards_that_are_cut_missing_or_damaged(remote: str) -> None:
    place = Location.parse(remote)
    shard = place / "00002.parquet"
    whole, image = shard.read(), shards.read_rows(remote)["image"][13].as_py()  # row 3 of the third shard
    shard.write(whole[:-100])
    for use in (
        shards.read_manifest,
        lambda uri: feed.decode_dataset(uri, 32),
        lambda uri: class_splits.partition_of(uri, "auto"),
    ):
        with pytest.raises(UserError, match=r"shard s3://bucket/data/cub/00002\.parquet\S* has [\d,]+ bytes where"):
            use(remote)
    flipped = bytearray(whole)
    flipped[whole.index(image) + len(image) // 2] ^= 1
    shard.write(bytes(flipped))
    with pytest.raises(UserError, match=r"shard s3://bucket/data/cub/00002\.parquet\S*, row 3 \(.*\) is damaged"):
        shards.verify_shards(remote)
    shard.write(whole[:-8] + bytes(8))
    with pytest.raises(UserError, match=r"shard s3://bucket/data/cub/00002\.parquet\S* cannot be read"):
        feed.decode_dataset(remote, 32)
    shard.delete()
    with pytest.raises(UserError, match=r"shard s3://bucket/data/cub/00002\.parquet\S* is missing"):
        shards.read_manifest(remote)


@pytest.mark.usefixtures("cache")
def test_a_store_that_fails_is_not_taken_for_damage(remote: str, s3: Server) -> None:
    place, shelf = Location.parse(remote), ShardReader(remote, shards.read_manifest(remote))
    s3.request("POST", "/moto-api/reset-auth", b"0")
    for use in (lambda: shards.read_shard(place / "00000.parquet", ["label"]), lambda: shelf.images(np.array([0]))):
        with pytest.raises(Unreachable, match=r"^cannot reach 's3://bucket/data/cub/00000[^']*': access denied"):
            use()


def test_one_run_trains_from_a_store(remote: str, s3: Server, capsys: pytest.CaptureFixture[str]) -> None:
    def output(data: str) -> dict[str, float]:
        words = ["retrieval", "--data", data, "--set", "train.iterations=1", "--set", "train.epochs=1"]
        with pytest.raises(SystemExit) as ended:
            cli.run(train.app, [*words, "--set", "data.side=32", "--set", "train.samples=24"])
        assert ended.value.code == 0
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    assert output(remote)["map"] > 0
    with pytest.raises(SystemExit) as ended:
        cli.run(train.app, ["retrieval", "--data", s3.uri("none", user="KEY:HUSH@")])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: no data set at s3://bucket/none?")
    assert said.count("\n") == 1
    assert "HUSH" not in said


def test_a_study_finds_its_data_in_a_store_and_keeps_no_secret(
    remote: str, s3: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    given = s3.uri("data/cub", user="KEY:HUSH@")
    words = ["srem_ablation", "--profile", "laptop", "--data", given, f"--storage={given}", "--set", "data.side=32"]
    monkeypatch.setattr(sys, "argv", ["sweep", *words])
    with pytest.raises(SystemExit) as ended:
        cli.run(sweep.app, [*words, "--dry-run"])
    assert ended.value.code == 0
    assert "to run" in capsys.readouterr().out
    assert "HUSH" not in sweep._command()
    assert sweep._command().count(remote) == 2
    assert str(study_data.locate_shards(given, "retrieval", Console())) == remote


def test_a_run_names_the_data_that_it_was_made_of(remote: str, s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{s3.port}")  # a record names no server
    with pytest.raises(UserError, match=r"a server that a record names is not contacted: give the URI with --data"):
        DataRecord(path=remote).recorded_path()
    remote = remote.partition("?")[0]

    def find_data(path: str, content_hash: str) -> str:
        data = DataRecord(path=path, content_hash=content_hash)
        return str(train._data_of_run(StudyRecord(study="s", variants=[], cells=[], data=data)))

    content_hash = shards.read_manifest(remote).content_hash
    assert find_data(remote, content_hash) == remote
    with pytest.raises(UserError, match="holds other data than the run used"):
        find_data(remote, "0" * 64)
    with pytest.raises(UserError, match=r"no longer at s3://bucket/gone;"):
        find_data("s3://bucket/gone", content_hash)
