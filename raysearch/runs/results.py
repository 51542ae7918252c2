"""The results of a run as one table: its finished and failed cells, beside the plan in `study.json`.

`study.json` and `results.parquet` are replaced whole. `cells` writes and reads the files of single cells; its functions
are exported here too.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raysearch.core import UserError, atomic, open_below
from raysearch.runs import study_record
from raysearch.runs.cells import (
    STATUSES,
    CellReader,
    as_table,
    failed_by_input,
    read_cells,
    write_cell,
)
from raysearch.runs.study_record import StudyRecord
from raysearch.studies.analysis import FAMILY, SEEDS, devices
from raysearch.studies.analysis.input_errors import is_input_error

__all__ = [
    "STATUSES",
    "CellReader",
    "adopt",
    "failed_by_input",
    "is_input_error",
    "load",
    "read_cells",
    "read_study",
    "save_table",
    "table",
    "write_cell",
    "write_study",
]


def load(run_dir: str | Path, reader: CellReader | None = None) -> pa.Table:
    """Return the results of a run, one row per cell in the order of the plan. Cells that have not ended are left out.

    Args:
        run_dir: a directory that `raysearch.sweep` wrote.
        reader: reader of the run's cells, kept by callers that load the results repeatedly.

    Returns:
        Columns study, variant, seed, cell, status, error, config (JSON), one per factor, one per metric, seconds,
        gpu_seconds, epochs, attempts, data, code_version, metric_ids (JSON), metric_steps (JSON), history (JSON),
        environment (JSON), device (the name of the GPU, or "cpu"). A search also has stage, and a study on several data
        sets data_set, the set's name, with which the names of its variants begin. The table's metadata holds
        the number of the study's comparisons and its planned seeds.

    Raises:
        UserError: the directory is not a run directory, or a cell file cannot be read.
    """
    study = read_study(run_dir)
    reader = reader or CellReader(Path(run_dir) / "cells")
    return table(study, reader.read(cell.cell for cell in study.cells))


def table(study: StudyRecord, ended: Mapping[str, Mapping[str, Any]]) -> pa.Table:
    """Return the table of `load` from data that was read before.

    Args:
        study: the record of the run.
        ended: cells by hash, as `CellReader.read` returns them.

    Raises:
        UserError: a metric that is not a number.
    """
    _check_metrics(study, ended)
    settings = {variant.name: variant.settings for variant in study.variants}
    data_sets = {variant.name: variant.data_set for variant in study.variants if variant.data_set is not None}
    rows = [
        {
            "study": study.study,
            "variant": cell.variant,
            **({"data_set": data_sets[cell.variant]} if cell.variant in data_sets else {}),
            **({"stage": cell.stage} if cell.stage is not None else {}),
            **settings.get(cell.variant, {}),
            **ended[cell.cell],
        }
        for cell in study.cells
        if cell.cell in ended
    ]
    loaded = as_table(rows, study.factors)
    metadata = {SEEDS: json.dumps(study.seeds)} if study.seeds else {}
    if study.comparisons is not None:
        metadata[FAMILY] = str(study.comparisons)
    return loaded.replace_schema_metadata(metadata) if metadata else loaded


def _check_metrics(study: StudyRecord, ended: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise a UserError if a metric that variants are compared by is a text in some cell."""
    for metric in {study.metric, study.judge_metric, *study.metrics} - {None}:
        for cell, row in ended.items():
            if isinstance(row.get(str(metric)), str):
                raise UserError(
                    f"cell '{cell}' holds a text where its metric '{metric}' should be a number; remove its file in "
                    "cells/ to run it again"
                )


def save_table(run_dir: str | Path, reader: CellReader | None = None, out: str | Path | None = None) -> pa.Table:
    """Write `results.parquet` from the cells and return the table.

    Args:
        run_dir: see `load`.
        reader: see `load`.
        out: the directory to write to; None for that of the run.

    Raises:
        UserError: the errors of `load`, or the file cannot be written.
    """
    loaded = load(run_dir, reader)
    atomic.replace_file(Path(out or run_dir) / "results.parquet", lambda path: pq.write_table(loaded, path))
    return loaded


def read_study(run_dir: str | Path) -> StudyRecord:
    """Return the record of a run from its `study.json`.

    Raises:
        UserError: the directory is not a run directory, or its `study.json` cannot be read.
    """
    path = Path(run_dir) / "study.json"
    if not path.is_file():
        raise UserError(f"'{run_dir}' is not a run directory: it holds no study.json")
    try:
        with open_below(run_dir, path.name) as file:
            return study_record.parse_record(file.read().decode(), str(path))
    except UnicodeDecodeError as error:
        raise UserError(f"'{path}' is damaged: {error}") from None
    except OSError as error:
        raise UserError(f"'{path}' cannot be read: {error.strerror}") from None


def write_study(run_dir: str | Path, study: StudyRecord) -> None:
    """Write `study.json`, whole or not at all."""
    text = json.dumps(study.to_dict(), indent=1, sort_keys=False)
    atomic.write_text(Path(run_dir) / "study.json", text)


def adopt(run_dir: Path, hashes: Iterable[str], device: str = "cpu", further: Iterable[Path] = ()) -> dict[str, int]:
    """Copy finished cells from the runs beside this one, and from further ones.

    A cell's hash covers everything that decides its outcome. So a cell that another study finished is valid here. Two
    kinds of files are left alone. Earlier versions gave cells of CPUs and of GPUs the same hash. And anybody can write
    numbers under a hash, so files of other users do not count.

    Args:
        run_dir: the run's directory.
        hashes: the cells to look for.
        device: the kind of device that computes the cells, "cpu" or "cuda".
        further: directories of runs elsewhere.

    Returns:
        Directory of the other run -> number of its cells that were copied.
    """
    resolved = run_dir.resolve()
    missing = set(hashes)
    adopted: dict[str, int] = {}
    elsewhere = [path / "study.json" for path in further]
    for study_path in [*sorted(resolved.parent.glob("*/study.json")), *elsewhere]:
        if study_path.parent == resolved or not missing:
            continue
        cells_dir = study_path.parent / "cells"
        try:
            neighbor_cells = CellReader(cells_dir, own_only=True).read(missing)
        except UserError:  # a damaged neighbor does not concern this run: its cells run again
            continue
        finished = {
            cell: row
            for cell, row in neighbor_cells.items()
            if row["status"] == "finished" and not devices.is_foreign(row, device)
        }
        for row in finished.values():
            write_cell(run_dir / "cells", row)
        missing -= finished.keys()
        if finished:
            adopted[str(study_path.parent)] = len(finished)
    return adopted
