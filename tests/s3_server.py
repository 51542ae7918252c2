"""An S3 server on loopback, ended with the tests; nothing that they send leaves the machine."""

import logging
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest


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
def s3_server() -> Iterator[Server]:
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
def s3(s3_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The server with one empty bucket, and the environment that a client needs."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    # Without credentials the client asks 169.254.169.254, a cloud's address, for the machine's role.
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3_server.request("POST", "/moto-api/reset")
    s3_server.request("PUT", "/bucket")
    s3_server.requests.clear()
    yield s3_server
    s3_server.request("POST", "/moto-api/reset-auth", b"inf")


def reads(server: Server) -> list[str]:
    """The requests that read shards."""
    return [one for one in server.requests if "GET" in one and ".parquet" in one]
