"""Data sets written into a store: there with their manifest and not before, and never in one another's way."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from raysearch import ingest
from raysearch.core import Unreachable, UserError, cli
from raysearch.data import shards, synthetic
from raysearch.data.shards import publish, shard_builder
from raysearch.storage import Location

from ...s3_server import Server
from ..conftest import SPEC
from .test_ingest import start


@pytest.fixture(params=["s3", "fsspec"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Location]:
    uri = f"memory://{tmp_path.name}/cub" if request.param == "fsspec" else request.getfixturevalue("s3").uri("cub")
    yield Location.parse(uri)
    fsspec.filesystem("memory").store.clear()


def write(target: Location, spec: synthetic.SyntheticSpec = SPEC, rows_per_shard: int = 5) -> shards.Manifest:
    return shards.write_shards(
        synthetic.list_samples(spec), target, name="n", layout="synthetic", rows_per_shard=rows_per_shard
    )


OTHER = SPEC.model_copy(update={"classes": 3})


def test_what_is_written_is_what_a_disk_would_hold(
    target: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYSEARCH_CACHE", str(tmp_path / "cache"))
    there, here = write(target), write(Location.parse(tmp_path / "here"))
    assert there.content_hash == here.content_hash
    assert shards.verify_shards(target) == shards.read_manifest(target) == there
    assert shards.read_rows(target).equals(shards.read_rows(tmp_path / "here"))
    assert [shard.sha256 for shard in there.shards] == [shard.sha256 for shard in here.shards]
    assert not (tmp_path / "cache" / "uploads").exists(), "nothing stays on this machine"


def test_the_manifest_comes_last(target: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, upload = [], Location.upload

    def watched(self: Location, source: Path) -> None:
        upload(self, source)
        seen.append(self.name)
        assert publish.existing_manifest(target) is None
        with pytest.raises(UserError, match=r"no manifest\.json"):
            shards.read_manifest(target)

    monkeypatch.setattr(Location, "upload", watched)
    manifest = write(target)
    assert sorted(seen) == [shard.file for shard in manifest.shards]
    assert set(target.listing()) == {*seen, "manifest.json"}


def test_an_upload_that_was_broken_off_goes_on(
    target: Location, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAYSEARCH_CACHE", str(tmp_path / "cache"))
    upload, done, again = Location.upload, list[str](), list[str]()

    def broken(self: Location, source: Path) -> None:
        if len(done) == 3:
            raise Unreachable("cannot reach the store")
        done.append(self.name)
        upload(self, source)

    def noted(self: Location, source: Path) -> None:
        again.append(self.name)
        upload(self, source)

    monkeypatch.setattr(publish, "UPLOADS_AT_ONCE", 1)
    monkeypatch.setattr(Location, "upload", broken)
    with pytest.raises(UserError, match="cannot reach the store"):
        write(target)
    (target / done[0]).write(b"the beginning of a shard")
    monkeypatch.setattr(Location, "upload", noted)
    monkeypatch.setattr(shard_builder, "build_shard", lambda *given: pytest.fail("a shard is made again"))
    manifest = write(target)
    names = [shard.file for shard in manifest.shards]
    assert again == [names[0], *names[3:]]
    assert shards.verify_shards(target) == manifest
    assert not list((tmp_path / "cache" / "uploads").iterdir()), "nothing stays on this machine"


def test_a_killed_ingest_goes_on(s3: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed when some shards are there; none of these is uploaded a second time, and none that was left is lost."""
    monkeypatch.setenv("RAYSEARCH_CACHE", str(tmp_path / "cache"))
    asked = ("synthetic", "classes=4,train_per_class=6,test_per_class=3,side=16", s3.uri("cub"), "--rows-per-shard", 1)
    process = start(*asked)
    while not uploads(s3):
        assert process.poll() is None
        time.sleep(0.001)
    process.kill()
    process.communicate()
    before = set(Location.parse(s3.uri("cub")).listing())
    assert 0 < len(before) < 37, "it was to be killed half-way"
    assert publish.existing_manifest(Location.parse(s3.uri("cub"))) is None
    s3.requests.clear()
    monkeypatch.setattr(shard_builder, "build_shard", lambda *given: pytest.fail("a shard is made again"))
    with pytest.raises(SystemExit) as ended:
        cli.run(ingest.app, [str(word) for word in asked])
    assert ended.value.code == 0
    assert not before & {name for one in uploads(s3) for name in before if name in one}
    assert shards.verify_shards(s3.uri("cub")).images == 36
    assert not list((tmp_path / "cache" / "uploads").iterdir())


def uploads(server: Server) -> list[str]:
    """The requests that end an upload of several parts, as the client's all are."""
    return [one for one in list(server.requests) if "POST" in one and "?uploadId=" in one]


def test_what_is_there_already(target: Location) -> None:
    first = write(target)
    before = target.listing()
    assert write(target, rows_per_shard=36) == first  # the same data: left as it is
    assert target.listing() == before
    with pytest.raises(UserError, match=r"holds other data \(hash .*remove it or choose another OUT"):
        write(target, OTHER)
    shard = first.shards[2]
    (target / shard.file).write(b"")
    with pytest.raises(UserError, match="exists already and is damaged"):
        write(target)


def test_something_else_is_refused_before_any_work(target: Location) -> None:
    target.make_directory()
    for name in ("diary.txt", "00000.parquet", "folder/file"):
        if "/" in name:
            (target / "folder").make_directory()
        (target / name).write(b"dear")
        refused = shards.Sample("a", "a", "train", lambda: pytest.fail("an image was loaded"))
        with pytest.raises(UserError, match="exists already and is not a data set"):
            shards.write_shards([refused], target, name="n", layout="folder")
        (target / name).delete()


def test_two_writers_at_once(target: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one's manifest appears when all shards of ours have been uploaded."""
    upload = Location.upload

    def other_first(self: Location, source: Path) -> None:
        monkeypatch.setattr(Location, "upload", upload)
        upload(self, source)
        write(target, OTHER)

    monkeypatch.setattr(publish, "UPLOADS_AT_ONCE", 1)
    monkeypatch.setattr(Location, "upload", other_first)
    with pytest.raises(UserError, match="holds other data"):
        write(target)
    assert len(shards.verify_shards(target).classes) == 3
    monkeypatch.setattr(Location, "upload", other_first)
    assert len(write(target, OTHER, rows_per_shard=4).classes) == 3


def test_a_missing_bucket_is_said_before_any_work(s3: Server) -> None:
    with pytest.raises(UserError, match=r"cannot reach 's3://nobody/cub\S*': no such bucket"):
        write(Location.parse(s3.uri("cub", bucket="nobody")))


def test_from_the_command_line(s3: Server, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["synthetic", "classes=2,train_per_class=3,test_per_class=2,side=16", s3.uri("deep/birds"), "--verify"]
    with pytest.raises(SystemExit) as ended:
        cli.run(ingest.app, words)
    assert ended.value.code == 0
    assert "s3://bucket/deep/birds" in capsys.readouterr().out
    written = json.loads((Location.parse(s3.uri("deep/birds")) / "manifest.json").read())
    assert (written["name"], written["images"]) == ("birds", 10)
    with pytest.raises(SystemExit) as ended:
        cli.run(ingest.app, ["synthetic", "-", s3.uri("cub", bucket="nobody", user="KEY:HUSH@")])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: cannot reach 's3://nobody/cub")
    assert said.count("\n") == 1
    assert "HUSH" not in said


def test_other_nodes_do_not_see_what_is_uploaded(
    s3: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["synthetic", "classes=2,train_per_class=3,test_per_class=2,side=16", s3.uri("cub", user="KEY:HUSH@")]
    with pytest.raises(SystemExit) as ended:
        cli.run(ingest.app, [*words, "--address", "auto"])
    assert ended.value.code == 2
    refused = capsys.readouterr().err
    assert refused.startswith("error: --address: shards for s3://bucket/cub?")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # as inside a job of a cluster
    with pytest.raises(SystemExit) as ended:
        cli.run(ingest.app, words)
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "are built on this machine only" in said
    assert "HUSH" not in refused + said


def test_verify_as_a_command(s3: Server, capsys: pytest.CaptureFixture[str]) -> None:
    target = Location.parse(s3.uri("cub"))
    manifest = write(target)

    def verify() -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as ended:
            ingest.main(["verify", s3.uri("cub", user="KEY:HUSH@")])
        return ended.value.code, *capsys.readouterr()

    assert verify() == (0, f"{target} is whole: 36 rows in 8 shards, hash {manifest.content_hash}\n", "")
    file = target / manifest.shards[1].file
    data = bytearray(file.read())
    data[len(data) // 3] ^= 1
    file.write(bytes(data))
    code, out, err = verify()
    assert (code, out) == (2, "")
    assert err.startswith(f"error: shard {file}, row ")
    assert "HUSH" not in err
