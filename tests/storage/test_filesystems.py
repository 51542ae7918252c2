"""URIs to file systems: an error is one line, comes soon, and contains no credentials."""

import socket
import time
from collections.abc import Iterator

import pytest
from pyarrow import fs

from raysearch.core import UserError
from raysearch.data.shards import read_manifest
from raysearch.storage import Location, filesystems

from ..s3_server import Server


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("nosuch://bucket/run", r"cannot reach 'nosuch://bucket/run': unknown kind of URI 'nosuch'; known: abfs, file"),
        ("file2://bucket/run", r"did you mean 'file'"),
        ("s3://", r"s3:// names no bucket; give s3://BUCKET/FOLDER"),
        ("gs:///folder", r"names no bucket"),
        ("s3://KEY@bucket/x", r"s3://bucket/x has half of a key"),
        ("s3://KEY:TOP/TOP@bucket/x", r"s3://bucket/x are not percent-encoded"),
        ("s3://KEY:TOP@bucket/x?regoin=a", r"unknown setting 'regoin' in s3://bucket/x\?regoin=a; did you mean 'regi"),
        ("abfs://box:TOP@host name/x", r"cannot reach 'abfs://box@host name/x': Cannot parse URI"),
    ],
)
def test_uris_that_cannot_work(uri: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        filesystems.find_filesystem(uri)
    assert "TOP" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_of_ones_own_by_uri_and_by_environment(s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    (Location.parse(s3.uri("cub")) / "file").write(b"here")
    forms = [
        s3.uri("cub"),
        f"s3://bucket/cub?endpoint_override=127.0.0.1:{s3.port}&scheme=http&region=eu-west-1",
        s3.uri("cub", user="KEY:SEC%2FRET@"),
    ]
    assert [(Location.parse(form) / "file").read() for form in forms] == [b"here"] * 3
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{s3.port}/")
        assert (Location.parse("s3://bucket/cub/") / "file").read() == b"here"
        monkeypatch.delenv(name)


def test_credentials_reach_the_client_and_travel_with_it(s3: Server) -> None:
    filesystem = Location.parse(s3.uri("cub", user="KEY:SEC%2FRET@")).filesystem
    state = filesystem.__reduce__()[1][0]
    assert (state["access_key"], state["secret_key"]) == ("KEY", "SEC/RET")
    assert (state["connect_timeout"], state["request_timeout"]) == (
        filesystems.CONNECT_TIMEOUT,
        filesystems.REQUEST_TIMEOUT,
    )


def test_access_denied_is_reported(s3: Server) -> None:
    place = Location.parse(s3.uri("cub", user="KEY:HUSH@"))
    s3.request("POST", "/moto-api/reset-auth", b"0")  # from now on the server checks every key, and knows none
    for operation in (
        place.listing,
        place.read,
        place.file_type,
        lambda: read_manifest(place),
        lambda: place.write(b""),
    ):
        with pytest.raises(UserError, match=r"^cannot reach 's3://bucket/cub[^']*': access denied; check") as caught:
            operation()
        assert "HUSH" not in str(caught.value)


@pytest.fixture
def refusing() -> Iterator[int]:
    """A port without a listener, reserved so that no other process gets it."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that accepts connections and never sends a byte."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen(50)
        yield bound.getsockname()[1]


@pytest.mark.usefixtures("s3")
@pytest.mark.parametrize("scheme", ["s3://", "gs://anonymous@"])
def test_a_host_that_refuses_is_reported_at_once(scheme: str, refusing: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    started = time.monotonic()
    with pytest.raises(
        UserError, match=r"^cannot reach '[^']*//(anonymous@)?bucket/x[^']*': the host does not answer$"
    ):
        read_manifest(f"{scheme}bucket/x?endpoint_override=127.0.0.1:{refusing}&scheme=http")
    assert time.monotonic() - started < 8


@pytest.mark.usefixtures("s3")
def test_a_host_that_is_silent_is_given_up(silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystems, "REQUEST_TIMEOUT", 0.2)
    with pytest.raises(UserError, match="the host does not answer"):
        read_manifest(f"s3://bucket/x?endpoint_override=127.0.0.1:{silent}&scheme=http")


def test_fsspec_serves_the_schemes_that_pyarrow_does_not_know() -> None:
    filesystem, path = filesystems.find_filesystem("memory://box/cub/")
    assert isinstance(filesystem, fs.PyFileSystem)
    assert path == "/box/cub"
