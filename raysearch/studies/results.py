"""The results store of a run: a small Parquet file a cell, under the cell's hash; the table is put together from them.

A file is written to a temporary name and renamed, so a cell is there whole or not at all, whatever is killed.
"""

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raysearch.errors import UserError

STATUSES = ("finished", "failed", "stopped")
_FIXED = ("study", "variant", "seed", "cell", "status", "error", "config")
_TYPES = {
    "seed": pa.int64(),
    "seconds": pa.float64(),
    "gpu_seconds": pa.float64(),
    "epochs": pa.int64(),
    "attempts": pa.int64(),
    "code_version": pa.int64(),
}
_STRINGS = {"study", "variant", "cell", "status", "error", "config", "data", "metric_ids", "history", "environment"}


def load(run_dir: str | Path) -> pa.Table:
    """The results of a run, a row a cell, in the order of the plan; cells that have not ended are left out.

    Args:
        run_dir: a directory that `raysearch.sweep` wrote.

    Returns:
        study, variant, seed, cell, status, error, config (JSON), a column a factor, a column a metric, seconds,
        gpu_seconds, epochs, attempts, data, code_version, metric_ids (JSON), history (JSON), environment (JSON).

    Raises:
        UserError: not a run directory, or a cell file that cannot be read.
    """
    record = read_study(run_dir)
    ended = read_cells(Path(run_dir) / "cells", [cell["cell"] for cell in record["cells"]])
    settings = {variant["name"]: variant["settings"] for variant in record["variants"]}
    rows = [
        {"study": record["study"], "variant": cell["variant"], **settings[cell["variant"]], **ended[cell["cell"]]}
        for cell in record["cells"]
        if cell["cell"] in ended
    ]
    return _table(rows, record["factors"])


def save_table(run_dir: str | Path) -> pa.Table:
    """Write `results.parquet` from the cells and return the table."""
    table = load(run_dir)
    _replace(Path(run_dir) / "results.parquet", lambda path: pq.write_table(table, path))
    return table


def read_study(run_dir: str | Path) -> dict[str, Any]:
    """What `study.json` says of a run."""
    path = Path(run_dir) / "study.json"
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"'{run_dir}' is not a run directory: it holds no study.json") from None
    except json.JSONDecodeError as error:
        raise UserError(f"'{path}' is damaged: {error}") from None


def write_study(run_dir: str | Path, record: Mapping[str, Any]) -> None:
    """Write `study.json` whole or not at all."""
    text = json.dumps(record, indent=1, sort_keys=False)
    _replace(Path(run_dir) / "study.json", lambda path: path.write_text(text))


def write_cell(cells_dir: Path, record: Mapping[str, Any]) -> None:
    """Write one ended cell under its hash.

    Args:
        cells_dir: the run's `cells` directory.
        record: seed, cell, status, error, config, metrics, seconds, gpu_seconds, epochs, attempts, data,
            code_version, metric_ids, history, environment.
    """
    assert record["status"] in STATUSES, record["status"]
    table = _table([dict(record)], [])
    _replace(cells_dir / f"{record['cell']}.parquet", lambda path: pq.write_table(table, path))


def read_cells(cells_dir: Path, hashes: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The ended cells among `hashes`, by hash."""
    present = {entry.name for entry in os.scandir(cells_dir)} if cells_dir.is_dir() else set()
    ended = {}
    for cell in dict.fromkeys(hashes):
        if f"{cell}.parquet" in present:
            ended[cell] = _read_cell(cells_dir / f"{cell}.parquet")
    return ended


def adopt(run_dir: Path, hashes: Iterable[str]) -> int:
    """Take over finished cells from the runs beside this one; returns how many.

    A cell's hash covers all that decides its outcome, so a cell that another study finished is this study's too.
    """
    here = run_dir.resolve()
    wanted = set(hashes)
    adopted = 0
    for study in sorted(here.parent.glob("*/study.json")):
        if study.parent == here:
            continue
        try:
            neighbour = read_cells(study.parent / "cells", wanted)
        except UserError:  # a damaged neighbour is not this run's concern: its cells are run again
            continue
        for cell, found in neighbour.items():
            if found["status"] == "finished":
                write_cell(run_dir / "cells", found)
                wanted.discard(cell)
                adopted += 1
    return adopted


def _read_cell(path: Path) -> dict[str, Any]:
    try:
        return pq.read_table(path).to_pylist()[0]
    except (pa.ArrowException, OSError, IndexError) as error:
        raise UserError(f"cell file '{path}' cannot be read ({error}); remove it to run the cell again") from None


def _table(rows: list[dict[str, Any]], factors: list[str]) -> pa.Table:
    """Rows as a table with typed columns: fixed names first, then factors, then metrics and the rest."""
    names = [name for name in _FIXED if not rows or name in rows[0]] + list(factors)
    names += [name for name in dict.fromkeys(key for row in rows for key in row) if name not in names]
    columns = {}
    for name in names:
        values = [row.get(name) for row in rows]
        columns[name] = pa.array(values, type=pa.string() if name in _STRINGS else _TYPES.get(name))
    return pa.table(columns)


def _replace(path: Path, write) -> None:
    """Write through a temporary name in the same directory, to disk, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        write(Path(temporary))
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
