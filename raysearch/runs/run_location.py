"""The location of a run: a local directory, or a remote store that a local directory mirrors.

A sweep works on a local directory. If its `--out` is a URI, that directory is in the cache. The files of the run in the
store are downloaded first, and new files are uploaded every few seconds and at the end. So the machine that drives a
sweep may be lost: the same command on another machine continues from the store, and a report can be drawn anywhere. Two
machines must not drive one run at the same time, because the locks on cells are local.
"""

import contextlib
import hashlib
import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path

from raysearch.core import UserError, atomic, refuse_link, run_periodically
from raysearch.storage import Location, cache_dir, private_place

INTERVAL = 5.0  # seconds between two transfers

_PROBE = ".probe"
_CELLS = "cells"
_STUDY = "study.json"
_COST = "cost.json"
_OPTUNA = "optuna.db"
_PROGRESS = "progress"
# Only files of these names are downloaded, because others may write to the store.
_CELL_NAME = re.compile(r"[0-9a-f]{8,64}\.parquet")
_HEARTBEAT_NAME = re.compile(r"[A-Za-z0-9][\w.-]*\.json")
_ANY_SIZE = -1  # differs from every size, so the file is always downloaded: a new one may have the old size
_FOLDERS = (_CELLS, "tables", _PROGRESS)
_FILES = (_STUDY, _COST, "results.parquet", "report.html", "gallery.html")


class RunLocation:
    """The location of a run.

    Args:
        location: path or URI.

    Attributes:
        directory: the local directory that a sweep works on.
        place: the remote location; None if the run is local.

    Raises:
        UserError: the URI has no file system.

    >>> RunLocation("runs/srem_ablation-laptop").directory
    PosixPath('runs/srem_ablation-laptop')
    """

    def __init__(self, location: str | Path) -> None:
        place = Location.parse(location)
        self.place = None if place.local is not None else place
        self.directory = place.local or _mirror(place)

    def __str__(self) -> str:
        return str(self.place or self.directory)

    def fetch(self) -> None:
        """Download the run from its store: `study.json`, cells, heartbeats, and the database of a search.

        Raises:
            UserError: the store does not answer.
        """
        if self.place is None:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        for name, size in _list_files(self.place).items():
            if name in (_STUDY, _COST) or (name == _OPTUNA and not (self.directory / name).exists()):
                _download(self.place / name, self.directory / name, size)
        for folder, names in ((_CELLS, _CELL_NAME), (_PROGRESS, _HEARTBEAT_NAME)):
            place = self.place / folder
            for name, size in _list_files(place).items():
                if names.fullmatch(name):
                    _download(place / name, self.directory / folder / name, size if folder == _CELLS else _ANY_SIZE)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Download new files again and again while the block runs. If the store does not answer, it is asked again."""
        if self.place is None:
            yield
            return

        def _fetch() -> None:
            with contextlib.suppress(UserError):
                self.fetch()

        with run_periodically(_fetch, INTERVAL):
            yield

    def check_writable(self) -> None:
        """Check before any work that results can be written.

        Raises:
            UserError: they cannot.
        """
        for name in (*_FOLDERS, _OPTUNA):
            refuse_link(self.directory, name)
        try:
            (self.directory / _CELLS).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.directory / _CELLS) as probe:  # others may start at the same moment
                probe.write(bytes(1 << 16))
        except OSError as error:
            raise UserError(f"cannot write to --out '{self.directory}': {error.strerror or error}") from None
        if self.place is not None:
            self.place.make_directory()
            (self.place / _PROBE).write(b"")
            (self.place / _PROBE).delete()

    @contextlib.contextmanager
    def synced(self, report: Callable[[str], None]) -> Iterator[None]:
        """Upload new files to the store while the block runs, and at its end.

        Args:
            report: shows the user that the store does not answer. At the end that is an error.

        Raises:
            UserError: at the end, not every file could be uploaded.
        """
        if self.place is None:
            yield
            return
        uploader = _Uploader(self.directory, self.place)

        def upload() -> None:
            try:
                uploader.upload_changes()
            except (UserError, OSError) as error:
                report(f"{error}; will be tried again until the end")

        try:
            with run_periodically(upload, INTERVAL):
                yield
        finally:
            uploader.upload_changes()


class _Uploader:
    """Uploads files that changed since the last time: cells first, then the files that mention them."""

    def __init__(self, directory: Path, place: Location) -> None:
        self._directory = directory
        self._place = place
        self._uploaded: dict[str, tuple[int, int]] = {}  # modification time and size
        self._folders: set[str] = set()  # that exist in the store

    def upload_changes(self) -> None:
        """Upload every changed file."""
        for folder in _FOLDERS:
            for file in sorted((self._directory / folder).glob("*")):
                if not file.name.startswith("."):  # a temporary file
                    self._upload(f"{folder}/{file.name}")
        for name in _FILES:
            self._upload(name)
        if (self._directory / _OPTUNA).exists():
            self._upload(_OPTUNA, _database_copy)

    def _upload(self, name: str, snapshot: Callable[[Path], AbstractContextManager[Path]] = nullcontext) -> None:
        path = self._directory / name
        try:
            status = path.stat()
        except FileNotFoundError:
            return
        stamp = (status.st_mtime_ns, status.st_size)
        if self._uploaded.get(name) == stamp:
            return
        folder = name.rpartition("/")[0]
        if folder not in self._folders:  # some stores have directories
            (self._place / folder if folder else self._place).make_directory()
            self._folders.add(folder)
        with snapshot(path) as source:
            (self._place / name).upload(source)
        self._uploaded[name] = stamp


@contextlib.contextmanager
def _database_copy(database: Path) -> Iterator[Path]:
    """Make a consistent copy of an SQLite database that may be written to meanwhile."""
    with tempfile.TemporaryDirectory(prefix="raysearch-") as folder:
        copy = Path(folder) / database.name
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        yield copy


def _mirror(place: Location) -> Path:
    """Return a run's directory in the cache. Runs that share a parent in the store share one there."""
    parent = str(place).partition("?")[0].rpartition("/")[0]
    return private_place(cache_dir() / "runs" / hashlib.sha256(parent.encode()).hexdigest()[:16] / place.name)


def _list_files(place: Location) -> dict[str, int]:
    try:
        return place.listing()
    except FileNotFoundError:
        return {}


def _download(file: Location, path: Path, size: int) -> None:
    if not path.exists() or path.stat().st_size != size:
        with contextlib.suppress(FileNotFoundError):  # removed since it was listed
            content = file.read()
            atomic.write_bytes(path, content)
