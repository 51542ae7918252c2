"""The file of Optuna's studies: opened if it is sound, else put aside, because the cells are the record.

A file is put aside when it cannot be read, cannot be written, was written by another version of Optuna, or stays locked
by another program. Its name then holds the reason: `optuna.damaged.db`.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from raysearch.core import UserError, lock_file

LOCK_SECONDS = 60.0  # how long to wait for another driver, which holds the file for moments only
_COMPANIONS = ("", "-journal", "-wal", "-shm")  # what SQLite keeps beside a database, and would apply to a new one
_URL = "sqlite:///optuna.db"  # names the kind of database; the path goes to SQLite as it is


@dataclass(frozen=True)
class Aside:
    """A file that was put aside.

    Attributes:
        path: its new path.
        reason: why, in a few words.
    """

    path: Path
    reason: str


@contextlib.contextmanager
def locked(location: Path) -> Iterator[None]:
    """Keep other drivers from opening the file while the block runs.

    Raises:
        UserError: the directory of the file cannot be written.
    """
    path = location.with_name(f".{location.name}.lock")
    try:
        location.parent.mkdir(parents=True, exist_ok=True)
        lock = lock_file(path, create=True, wait=True)
    except OSError as error:
        raise UserError(f"cannot write to '{location.parent}': {error.strerror or error}") from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.close()


def open_storage(location: Path) -> tuple[optuna.storages.RDBStorage, Aside | None]:
    """Open the file of Optuna's studies, or create it. Call it inside `locked`.

    Two drivers may write to the file; SQLite's own locks keep them apart.

    Returns:
        The storage; and the file that was put aside, if the one that was there is of no use.

    Raises:
        UserError: no such file can be written there.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    aside = None
    if location.exists() or location.is_symlink():
        try:
            _check_file(location)
            storage = _connect(location)
            _read_all(storage)
            return storage, None
        except Exception as error:  # whatever a damaged file makes SQLite, SQLAlchemy or Optuna raise
            aside = _put_aside(location, error)
    with errors_in_one_line(location):
        return _connect(location), aside


@contextlib.contextmanager
def errors_in_one_line(location: Path) -> Iterator[None]:
    """Turn an error of the database into one line.

    Raises:
        UserError: the database failed in the block.
    """
    try:
        yield
    except (StorageInternalError, SQLAlchemyError, sqlite3.Error) as error:
        raise UserError(
            f"'{location}' cannot be used ({_first_line(error)}); the same command rebuilds it from the cells"
        ) from None


def _connect(location: Path) -> optuna.storages.RDBStorage:
    path = str(location.resolve())
    connect = {"creator": lambda: sqlite3.connect(path, timeout=LOCK_SECONDS, check_same_thread=False)}
    return optuna.storages.RDBStorage(_URL, engine_kwargs=connect)


def _check_file(location: Path) -> None:
    """Raise for a file that is not a sound database, or that cannot be written."""
    if not location.is_file():
        raise OSError("it is not a file")
    if not location.stat().st_size:
        raise EOFError("it is empty")
    with contextlib.closing(sqlite3.connect(location, timeout=LOCK_SECONDS, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        problem = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        (number,) = database.execute("PRAGMA user_version").fetchone()
        database.execute(f"PRAGMA user_version = {number}")  # raises if the file is read-only; BEGIN does not
        database.execute("ROLLBACK")
    if problem != "ok":
        raise sqlite3.DatabaseError(problem)


def _read_all(storage: optuna.storages.RDBStorage) -> None:
    """Raise for a trial that cannot be read."""
    for name in optuna.get_all_study_names(storage):
        storage.get_all_trials(storage.get_study_id_from_name(name), deepcopy=False)


def _put_aside(location: Path, error: Exception) -> Aside:
    word = _word(error)
    number = 1
    while (path := location.with_name(f"{location.stem}.{word}{number if number > 1 else ''}.db")).exists():
        number += 1
    for companion in _COMPANIONS:
        with contextlib.suppress(FileNotFoundError):
            location.with_name(location.name + companion).rename(f"{path}{companion}")
    return Aside(path, f"{word.replace('-', ' ')}: {_first_line(error)}")


def _word(error: Exception) -> str:
    """Return why a file is of no use, as a part of a file name."""
    text = str(error).lower()
    if isinstance(error, EOFError):
        return "empty"
    if "locked" in text:
        return "locked"
    if "readonly" in text or isinstance(error, PermissionError):
        return "read-only"
    if isinstance(error, RuntimeError) and "schema" in text:
        return "other-version"
    return "damaged"


def _first_line(error: BaseException) -> str:
    """Return the first line of the error that SQLite gave, if it did."""
    while (cause := getattr(error, "orig", None) or error.__cause__) is not None:
        error = cause
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(". ")[:120]
