"""An S3 server on loopback, ended with the tests; nothing that they send leaves the machine."""

import logging
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from raysearch.data import copies, synthetic
from raysearch.data.places import Place

SPEC = synthetic.Spec(classes=4, train_per_class=6, test_per_class=3, side=32)


@dataclass
class Server(logging.Handler):
    """A server, and the requests that it answered, as "GET /bucket/cub/manifest.json HTTP/1.1" """

    port: int
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def emit(self, record: logging.LogRecord) -> None:
        self.requests.append(record.getMessage())

    def uri(self, folder: str, bucket: str = "bucket", user: str = "") -> str:
        return f"s3://{user}{bucket}/{folder}?endpoint_override=http://127.0.0.1:{self.port}"

    def request(self, method: str, path: str, data: bytes | None = None) -> None:
        headers = {"Content-Type": "text/plain"}
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers, method=method)
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked).close()

    __hash__ = logging.Handler.__hash__


@pytest.fixture(scope="session")
def _server() -> Iterator[Server]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    running, log = Server(server.get_host_and_port()[1]), logging.getLogger("werkzeug")
    log.addHandler(running)
    log.setLevel(logging.INFO)
    log.propagate = False
    yield running
    log.removeHandler(running)
    server.stop()


@pytest.fixture
def s3(_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The server with one empty bucket, and the environment that a client needs."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    # Without credentials the client asks 169.254.169.254, a cloud's address, for the machine's role.
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    _server.request("POST", "/moto-api/reset")
    _server.request("PUT", "/bucket")
    _server.requests.clear()
    yield _server
    _server.request("POST", "/moto-api/reset-auth", b"inf")


@pytest.fixture(scope="session")
def eight_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 images of 32 px in 8 shards."""
    return synthetic.ensure(SPEC, tmp_path_factory.mktemp("eight"), rows_per_shard=5)


@pytest.fixture
def remote(s3: Server, eight_shards: Path) -> str:
    """The URI of `eight_shards` on the server."""
    place = Place.parse(s3.uri("data/cub"))
    for file in eight_shards.iterdir():
        (place / file.name).upload(file)
    s3.requests.clear()
    return s3.uri("data/cub")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where copies go; nothing is there yet."""
    monkeypatch.setenv("RAYSEARCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / copies.FOLDER


def reads(server: Server) -> list[str]:
    """The requests that read shards."""
    return [one for one in server.requests if "GET" in one and ".parquet" in one]
