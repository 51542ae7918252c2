"""A small data set on disk and on the S3 server, and an empty cache."""

from pathlib import Path

import pytest

from raysearch.data import synthetic
from raysearch.data.shards import reader
from raysearch.storage import Location, local_copies

from ..s3_server import Server

SPEC = synthetic.SyntheticSpec(classes=4, train_per_class=6, test_per_class=3, side=32)


@pytest.fixture(scope="session")
def eight_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 images of 32 px in 8 shards."""
    return synthetic.ensure_shards(SPEC, tmp_path_factory.mktemp("eight"), rows_per_shard=5)


@pytest.fixture
def remote(s3: Server, eight_shards: Path) -> str:
    """The URI of `eight_shards` on the server."""
    place = Location.parse(s3.uri("data/cub"))
    for file in eight_shards.iterdir():
        (place / file.name).upload(file)
    s3.requests.clear()
    return s3.uri("data/cub")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where copies go; nothing is there yet."""
    monkeypatch.setenv("RAYSEARCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / local_copies.COPIES_FOLDER


@pytest.fixture(autouse=True)
def _nothing_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """No shard is open in this process from an earlier test."""
    monkeypatch.setattr(reader, "_OPEN_SHARDS", reader._OpenShards())
