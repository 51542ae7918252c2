"""Where a run lives: in a directory, or in a store that a directory of this machine mirrors.

A sweep works on a directory. Where its `--out` is a URI, that directory lies in the cache: what the store has of the
run comes here first, and what is written here goes there every few seconds and at the end. So the machine that drives
a sweep may be lost: the same command on another one goes on with what is in the store, and a report is drawn from it
anywhere. Two machines must not drive one run at the same time: claims on cells are locks of one machine.
"""

import contextlib
import hashlib
import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path

from raysearch.core import atomic
from raysearch.core.background import run_periodically
from raysearch.core.errors import UserError
from raysearch.storage import Location, cache_dir

_PROBE = ".probe"
INTERVAL = 5.0  # seconds between looks at what is new
_CELLS, _STUDY, _COST, _OPTUNA = "cells", "study.json", "cost.json", "optuna.db"
_CELL = re.compile(r"[0-9a-f]{8,64}\.parquet")  # what is taken from a store, which others may write to
_PROGRESS = "progress"
_NEWS = re.compile(r"[A-Za-z0-9][\w.-]*\.json")
_ALWAYS = -1  # no file's size: it is replaced by one of the same size
_FOLDERS = (_CELLS, "tables", _PROGRESS)
_FILES = (_STUDY, _COST, "results.parquet", "report.html", "gallery.html")


class RunLocation:
    """A run's home.

    Args:
        location: path or URI.

    Attributes:
        directory: on this machine, where the run is worked on.
        place: the home itself; None where that is the directory.

    Raises:
        UserError: no file system for such a URI.

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
        """Bring what the store has of the run here: `study.json`, cells, news, and a search's own record.

        Raises:
            UserError: a store that does not answer.
        """
        if self.place is None:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        for name, size in _listing(self.place).items():
            if name in (_STUDY, _COST) or (name == _OPTUNA and not (self.directory / name).exists()):
                _bring(self.place / name, self.directory / name, size)
        for folder, names in ((_CELLS, _CELL), (_PROGRESS, _NEWS)):
            place = self.place / folder
            for name, size in _listing(place).items():
                if names.fullmatch(name):
                    _bring(place / name, self.directory / folder / name, size if folder == _CELLS else _ALWAYS)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Bring what is new, again and again, while somebody looks; a store that is silent is asked again."""
        if self.place is None:
            yield
            return

        def fetch() -> None:
            with contextlib.suppress(UserError):
                self.fetch()

        with run_periodically(fetch, INTERVAL):
            yield

    def check_writable(self) -> None:
        """Find out before any work whether results can be kept.

        Raises:
            UserError: they cannot.
        """
        try:
            (self.directory / _CELLS).mkdir(parents=True, exist_ok=True)
            probe = self.directory / _CELLS / _PROBE
            probe.write_bytes(bytes(1 << 16))
            probe.unlink()
        except OSError as error:
            raise UserError(f"cannot write to --out '{self.directory}': {error.strerror or error}") from None
        if self.place is not None:
            self.place.make_directory()
            (self.place / _PROBE).write(b"")
            (self.place / _PROBE).delete()

    @contextlib.contextmanager
    def synced(self, say: Callable[[str], None]) -> Iterator[None]:
        """Carry what is written to the store, now and then and at the end.

        Args:
            say: tells the user that the store does not answer; at the end that is an error.

        Raises:
            UserError: the store did not take everything.
        """
        if self.place is None:
            yield
            return
        carrier = _Carrier(self.directory, self.place)

        def carry() -> None:
            try:
                carrier.carry()
            except (UserError, OSError) as error:
                say(f"{error}; tried again until the end")

        try:
            with run_periodically(carry, INTERVAL):
                yield
        finally:
            carrier.carry()


class _Carrier:
    """Takes to the store what changed since the last time; cells first, then what tells of them."""

    def __init__(self, directory: Path, place: Location) -> None:
        self._directory, self._place = directory, place
        self._carried: dict[str, tuple[int, int]] = {}
        self._made: set[str] = set()

    def carry(self) -> None:
        for folder in _FOLDERS:
            for file in sorted((self._directory / folder).glob("*")):
                if not file.name.startswith("."):  # of one that is being written
                    self._upload(f"{folder}/{file.name}")
        for name in _FILES:
            self._upload(name)
        if (self._directory / _OPTUNA).exists():
            self._upload(_OPTUNA, _as_it_is)

    def _upload(self, name: str, taken: Callable[[Path], AbstractContextManager[Path]] = nullcontext) -> None:
        path = self._directory / name
        try:
            status = path.stat()
        except FileNotFoundError:
            return
        stamp = status.st_mtime_ns, status.st_size
        if self._carried.get(name) == stamp:
            return
        folder = name.rpartition("/")[0]
        if folder not in self._made:  # stores on disks have directories
            (self._place / folder if folder else self._place).make_directory()
            self._made.add(folder)
        with taken(path) as source:
            (self._place / name).upload(source)
        self._carried[name] = stamp


@contextlib.contextmanager
def _as_it_is(database: Path) -> Iterator[Path]:
    """A whole copy of a database that somebody may be writing to."""
    with tempfile.TemporaryDirectory(prefix="raysearch-") as folder:
        copy = Path(folder) / database.name
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        yield copy


def _mirror(place: Location) -> Path:
    """A run's directory in the cache; runs that lie side by side in the store do so there."""
    above = str(place).partition("?")[0].rpartition("/")[0]
    return cache_dir() / "runs" / hashlib.sha256(above.encode()).hexdigest()[:16] / place.name


def _listing(place: Location) -> dict[str, int]:
    try:
        return place.listing()
    except FileNotFoundError:
        return {}


def _bring(file: Location, path: Path, size: int) -> None:
    if not path.exists() or path.stat().st_size != size:
        with contextlib.suppress(FileNotFoundError):  # removed since it was listed
            content = file.read()
            atomic.replace_file(path, lambda temporary: temporary.write_bytes(content))
