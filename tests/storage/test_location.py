"""Locations: the same operations give the same answers on a disk, in an object store and through fsspec."""

import pickle
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from pyarrow.fs import FileType

from raysearch.core import UserError
from raysearch.storage import Location

from ..s3_server import Server


@pytest.fixture(params=["path", "uri", "fsspec", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Location]:
    locations = {
        "path": lambda: tmp_path / "deep" / "box",
        "uri": lambda: (tmp_path / "deep" / "box").as_uri(),
        "fsspec": lambda: f"memory://{tmp_path.name}/box",
        "s3": lambda: request.getfixturevalue("s3").uri("deep/box of a@b"),
    }
    yield Location.parse(locations[request.param]())
    fsspec.filesystem("memory").store.clear()


def test_files_are_written_read_listed_and_removed(place: Location, tmp_path: Path) -> None:
    assert place.file_type() == FileType.NotFound
    with pytest.raises(FileNotFoundError):
        place.listing()
    with pytest.raises(FileNotFoundError):
        (place / "a").read()
    place.make_directory()
    (place / "a").write(b"one")
    (place / "a").write(b"other")
    (tmp_path / "source").write_bytes(bytes(range(256)) * 40_000)  # more than one chunk
    (place / "b").upload(tmp_path / "source")
    (place / "below").make_directory()
    (place / "below" / "c").write(b"")
    assert place.file_type() == FileType.Directory
    assert place.listing() == {"a": 5, "b": 10_240_000, "below/": 0}
    assert (place / "a").read() == b"other"
    assert b"".join((place / "b").chunks()) == (tmp_path / "source").read_bytes()
    with (place / "b").open() as file:
        file.seek(257)
        assert file.read(2) == b"\x01\x02"
    (place / "a").delete()
    (place / "a").delete()
    assert set(place.listing()) == {"b", "below/"}


def test_a_location_travels_between_processes(place: Location) -> None:
    if place.filesystem.type_name == "py::fsspec+memory":
        pytest.skip("a memory file system stays in its process")
    place.make_directory()
    (place / "a").write(b"one")
    copy = pickle.loads(pickle.dumps(place))
    assert copy == place
    assert (copy / "a").read() == b"one"


def test_local_paths_stay_as_they_were_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Location.parse("box").local == Path("box")
    assert str(Location.parse("box") / "a") == "box/a"
    assert str(Location.parse("~/box")) == "~/box"
    Location.parse("box").make_directory()
    (Location.parse("box") / "a").write(b"")
    assert (tmp_path / "box" / "a").is_file()
    assert Location.parse(tmp_path.as_uri()).local == tmp_path


def test_failures_of_the_local_disk_stay_os_errors(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        Location.parse(tmp_path / "file").listing()
    with pytest.raises(OSError, match="directory"):
        (Location.parse(tmp_path / "file") / "below").write(b"")
    with pytest.raises(OSError, match="directory"):
        Location.parse(tmp_path).write(b"")
    assert [path.name for path in tmp_path.iterdir()] == ["file"], "nothing half-written stays"


def test_a_missing_bucket(s3: Server) -> None:
    place = Location.parse(s3.uri("cub", bucket="nobody"))
    for operation in (place.listing, lambda: place.write(b"")):
        with pytest.raises(UserError, match=r"^cannot reach 's3://nobody/cub[^']*': no such bucket$"):
            operation()
    with pytest.raises(FileNotFoundError):
        Location.parse(s3.uri("cub")).listing()
