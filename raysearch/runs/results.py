"""The results of a run: its cells beside what `study.json` says of them, as one table.

`study.json` and `results.parquet` are replaced whole. Cells are written and read by `cells`, which is known here too.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raysearch.core import atomic
from raysearch.core.errors import UserError
from raysearch.runs import study_record
from raysearch.runs.cells import STATUSES, CellReader, as_table, read_cells, write_cell

__all__ = [
    "STATUSES",
    "CellReader",
    "adopt",
    "load",
    "read_cells",
    "read_study",
    "save_table",
    "table",
    "write_cell",
    "write_study",
]


def load(run_dir: str | Path, reader: CellReader | None = None) -> pa.Table:
    """The results of a run, a row a cell, in the order of the plan; cells that have not ended are left out.

    Args:
        run_dir: a directory that `raysearch.sweep` wrote.
        reader: of the run's cells, kept by who loads them again and again.

    Returns:
        study, variant, seed, cell, status, error, config (JSON), a column a factor, a column a metric, seconds,
        gpu_seconds, epochs, attempts, data, code_version, metric_ids (JSON), history (JSON), environment (JSON);
        of a search also stage.

    Raises:
        UserError: not a run directory, or a cell file that cannot be read.
    """
    study = read_study(run_dir)
    reader = reader or CellReader(Path(run_dir) / "cells")
    return table(study, reader.read(cell["cell"] for cell in study["cells"]))


def table(study: Mapping[str, Any], ended: Mapping[str, Mapping[str, Any]]) -> pa.Table:
    """What `load` returns, of what has been read already.

    Args:
        study: what `study.json` holds.
        ended: cells by hash, as `Reader.read` gives them.
    """
    settings = {variant["name"]: variant.get("settings") or {} for variant in study["variants"]}
    rows = [
        {
            "study": study["study"],
            "variant": cell["variant"],
            **({"stage": cell["stage"]} if "stage" in cell else {}),
            **settings.get(cell["variant"], {}),
            **ended[cell["cell"]],
        }
        for cell in study["cells"]
        if cell["cell"] in ended
    ]
    return as_table(rows, study.get("factors") or [])


def save_table(run_dir: str | Path, reader: CellReader | None = None) -> pa.Table:
    """Write `results.parquet` from the cells and return the table; arguments as `load`."""
    loaded = load(run_dir, reader)
    atomic.replace_file(Path(run_dir) / "results.parquet", lambda path: pq.write_table(loaded, path))
    return loaded


def read_study(run_dir: str | Path) -> dict[str, Any]:
    """What `study.json` says of a run.

    Raises:
        UserError: not a run directory, or a `study.json` that cannot be read.
    """
    path = Path(run_dir) / "study.json"
    if not path.is_file():
        raise UserError(f"'{run_dir}' is not a run directory: it holds no study.json")
    try:
        return study_record.parse_record(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise UserError(f"'{path}' is damaged: {error}") from None
    except OSError as error:
        raise UserError(f"'{path}' cannot be read: {error.strerror}") from None


def write_study(run_dir: str | Path, study: Mapping[str, Any]) -> None:
    """Write `study.json` whole or not at all."""
    text = json.dumps(study, indent=1, sort_keys=False)
    atomic.replace_file(Path(run_dir) / "study.json", lambda path: path.write_text(text))


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
