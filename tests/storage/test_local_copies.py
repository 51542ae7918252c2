"""Copies of remote files on a node: one per content, fetched once, and the oldest are removed first."""

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from raysearch.core import UserError
from raysearch.storage import Location, cache_bytes, local_copies

DATA = bytes(range(256)) * 100


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Location]:
    """A store, with an empty cache on this machine."""
    monkeypatch.setenv("RAYSEARCH_CACHE", str(tmp_path / "cache"))
    box = Location.parse(f"memory://{tmp_path.name}")
    box.make_directory()
    yield box
    fsspec.filesystem("memory").store.clear()


def stored(box: Location, name: str, data: bytes) -> tuple[Location, int, str]:
    (box / name).write(data)
    return box / name, len(data), hashlib.sha256(data).hexdigest()


def cached(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache" / local_copies.COPIES_FOLDER).iterdir())


def age(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


def test_a_copy_is_made_once_and_known_by_its_content(box: Location, tmp_path: Path) -> None:
    file, size, sha = stored(box, "a", DATA)
    path = local_copies.local_copy(file, size, sha)
    assert path.read_bytes() == DATA
    file.delete()
    assert local_copies.local_copy(box / "the same elsewhere", size, sha) == path
    assert cached(tmp_path) == [sha]


def test_a_local_file_is_its_own_copy(tmp_path: Path, box: Location) -> None:
    assert local_copies.local_copy(Location.parse(tmp_path / "x"), 1, "") == tmp_path / "x"
    assert not (tmp_path / "cache").exists()


def test_many_at_once_fetch_it_once(box: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[int] = []
    fetch = local_copies._fetch

    def slowly(*arguments) -> None:
        fetched.append(1)
        time.sleep(0.2)
        fetch(*arguments)

    monkeypatch.setattr(local_copies, "_fetch", slowly)
    file = stored(box, "a", DATA)
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(local_copies.local_copy(*file).read_bytes())) for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [DATA] * 12
    assert fetched == [1]
    assert cached(tmp_path) == [file[2]]


def test_a_copy_that_a_killed_process_left_is_fetched_again(box: Location, tmp_path: Path) -> None:
    file, size, sha = stored(box, "a", DATA)
    folder = tmp_path / "cache" / local_copies.COPIES_FOLDER
    folder.mkdir(parents=True)
    (folder / f"{sha}.partial").write_bytes(b"junk" * 50_000)
    (folder / sha).write_bytes(b"a disk that was full")
    assert local_copies.local_copy(file, size, sha).read_bytes() == DATA
    assert cached(tmp_path) == [sha]


@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"x", bytes(len(DATA))])
def test_content_with_another_hash_is_refused(box: Location, tmp_path: Path, data: bytes) -> None:
    stored(box, "a", data)
    with pytest.raises(UserError, match=r"memory://.*/a holds other data than its manifest says"):
        local_copies.local_copy(box / "a", len(DATA), hashlib.sha256(DATA).hexdigest())
    assert cached(tmp_path) == []
    with pytest.raises(FileNotFoundError):
        local_copies.local_copy(box / "nothing", 1, "0" * 64)
    assert cached(tmp_path) == []


def test_the_oldest_unused_copies_are_removed(box: Location, tmp_path: Path) -> None:
    files = [stored(box, name, name.encode() * 1000) for name in "abcdef"]
    paths = [local_copies.local_copy(*file) for file in files[:4]]
    for path, seconds in zip(paths, (4000, 3000, 2000, 1000), strict=True):
        age(path, seconds)
    local_copies.local_copy(*files[0])  # asked for again: now the newest
    with paths[1].open("rb"):
        local_copies.local_copy(*files[4], cap=3000)
        # b is open, and a and e were used a moment ago: only c and d can be removed
        assert cached(tmp_path) == sorted(files[index][2] for index in (0, 1, 4))
    for path in paths[:2]:
        age(path, 4000)
    local_copies.local_copy(*files[5], cap=2500)
    assert cached(tmp_path) == sorted(files[index][2] for index in (4, 5))


def test_a_removed_copy_stays_readable_while_it_is_open(
    box: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_copies, "_is_open", lambda path: False)  # as on a system that cannot tell
    first = stored(box, "a", DATA)
    second = stored(box, "b", DATA[::-1])
    path = local_copies.local_copy(*first)
    age(path, 1000)
    with path.open("rb") as opened:
        local_copies.local_copy(*second, cap=1)
        assert not path.exists()
        assert opened.read() == DATA
    assert local_copies.local_copy(*first).read_bytes() == DATA


def test_the_cap_is_a_number_of_gigabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAYSEARCH_CACHE_GB", raising=False)
    assert cache_bytes() == 200 * 10**9
    monkeypatch.setenv("RAYSEARCH_CACHE_GB", "0.5")
    assert cache_bytes() == 5 * 10**8
    for wrong in ("much", "inf", "nan"):
        monkeypatch.setenv("RAYSEARCH_CACHE_GB", wrong)
        with pytest.raises(UserError, match="RAYSEARCH_CACHE_GB is a size in GB"):
            cache_bytes()


def test_a_cache_that_cannot_be_written_is_reported(box: Location, tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"")
    with pytest.raises(UserError, match=r"cannot copy memory://.*/a to .*directory; RAYSEARCH_CACHE names another"):
        local_copies.local_copy(*stored(box, "a", DATA))
