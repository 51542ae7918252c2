"""MLflow: an SQLite store (`mlflow.db`), or a folder of files (`mlruns`).

Both are read as files: opening a store with the library would change it to the library's version.
https://mlflow.org/docs/latest/self-hosting/architecture/backend-store
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raysearch.core import UserError
from raysearch.runs.imported import source, yaml_files
from raysearch.runs.imported.registry import READERS, SourceReader
from raysearch.runs.imported.source import Source

_TABLES = {"experiments", "runs", "metrics", "params"}
_STATUSES = ("RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED")  # by number, from 1, in files


@dataclass
class _Run:
    """A run of a store."""

    name: str
    status: str
    settings: dict[str, Any] = field(default_factory=dict)
    points: dict[str, dict[int, float]] = field(default_factory=dict)  # metric -> step -> value

    def curve(self) -> source.Curve:
        """Return the metrics that were logged at several steps, one entry per step."""
        curves = {name: points for name, points in self.points.items() if len(points) > 1}
        steps = sorted({step for points in curves.values() for step in points})
        return [
            {"step": float(step), **{name: points[step] for name, points in curves.items() if step in points}}
            for step in steps
        ]


def read_database(path: Path, experiment: str | None) -> Source:
    """Read an SQLite store.

    Raises:
        UserError: it is damaged, or holds several experiments and none was named.
    """
    with opened_database(path) as database:
        names = dict(
            database.execute(
                "SELECT DISTINCT e.name, e.experiment_id FROM experiments e JOIN runs r USING (experiment_id) "
                "WHERE r.lifecycle_stage = 'active'"
            )
        )
        chosen = source.choose_part(map(str, names), experiment, "experiment", path)
        query = "SELECT run_uuid, name, status FROM runs WHERE experiment_id = ? AND lifecycle_stage = 'active'"
        runs = {
            identity: _Run(str(name or identity), str(status))
            for identity, name, status in database.execute(query + f" LIMIT {source.MAX_RUNS}", (names[chosen],))
        }
        for identity, key, value in database.execute("SELECT run_uuid, key, value FROM params"):
            if identity in runs:
                runs[identity].settings[str(key)] = source.parse_value(str(value))
        for identity, key, value, step, is_nan in database.execute(
            "SELECT run_uuid, key, value, step, is_nan FROM metrics ORDER BY timestamp"
        ):
            if identity in runs and not is_nan:
                runs[identity].points.setdefault(str(key), {})[int(step)] = float(value)
    return _as_source(chosen, runs)


def read_folder(path: Path, experiment: str | None) -> Source:
    """Read a folder of files.

    Raises:
        UserError: it is damaged, or holds several experiments and none was named.
    """
    folders = {}
    for file in sorted(path.glob("*/meta.yaml")):
        if any(file.parent.glob("*/meta.yaml")):
            folders[str(yaml_files.read_mapping(file).get("name", file.parent.name))] = file.parent
    chosen = source.choose_part(folders, experiment, "experiment", path)
    runs = {}
    for file in sorted(folders[chosen].glob("*/meta.yaml"))[: source.MAX_RUNS]:
        meta = yaml_files.read_mapping(file)
        if meta.get("lifecycle_stage", "active") != "active":
            continue
        run = _Run(str(meta.get("run_name") or file.parent.name), _status_name(meta.get("status")))
        run.settings = {
            param.name: source.parse_value(source.read_text(param)) for param in _files_of(file.parent / "params")
        }
        run.points = {metric.name: _read_points(metric) for metric in _files_of(file.parent / "metrics")}
        runs[file.parent.name] = run
    return _as_source(chosen, runs)


@contextlib.contextmanager
def opened_database(path: Path) -> Iterator[sqlite3.Connection]:
    """Open an SQLite database that is not changed.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            yield database
    except (sqlite3.Error, ValueError, TypeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"'{path}' is damaged: {error}") from None


def table_names(path: Path) -> set[str]:
    """Return the names of the tables of an SQLite database; none for another file."""
    if not path.is_file() or not path.open("rb").read(16).startswith(b"SQLite format 3"):
        return set()
    with contextlib.suppress(UserError), opened_database(path) as database:
        return {str(name) for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return set()


def _as_source(name: str, runs: Mapping[str, _Run]) -> Source:
    settings = dict.fromkeys(setting for run in runs.values() for setting in run.settings)
    rows = []
    for run in runs.values():
        last = {metric: points[max(points)] for metric, points in run.points.items() if points}
        row = {metric: value for metric, value in last.items() if metric not in settings}
        rows.append({source.RUN: run.name, source.STATUS: run.status, **run.settings, **row})
    source.check_sizes(len(rows), 1, name)
    return Source(rows, tuple(settings), [run.curve() for run in runs.values()], name)


def _files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("**/*") if path.is_file() and not path.is_symlink())


def _read_points(path: Path) -> dict[int, float]:
    """Return step -> value of a metric's file: lines of time, value and step."""
    points: dict[int, float] = {}
    for line in source.read_text(path).splitlines():
        words = line.split()
        try:
            points[int(words[2]) if len(words) > 2 else len(points)] = float(words[1])
        except (ValueError, IndexError):
            raise UserError(f"'{path}' is damaged: {line[:60]!r} is not a time, a value and a step") from None
    return points


def _status_name(status: Any) -> str:
    if isinstance(status, int) and 1 <= status <= len(_STATUSES):
        return _STATUSES[status - 1]
    return str(status or "FINISHED")


READERS.register("MLflow database", SourceReader(lambda path: table_names(path) >= _TABLES, read_database))
READERS.register(
    "MLflow folder", SourceReader(lambda path: path.is_dir() and any(path.glob("*/*/meta.yaml")), read_folder)
)
