"""Write a source as a run directory: `study.json` and a file per cell, which every report and comparison reads."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from raysearch.core import UserError, refuse_link
from raysearch.runs import results
from raysearch.runs.imported import grouping, registry, source, tables
from raysearch.runs.imported.columns import ColumnChoice, Columns, choose_columns, choose_reference
from raysearch.runs.imported.grouping import ImportedCell
from raysearch.runs.imported.source import Row, Source
from raysearch.runs.study_record import CellRecord, DataRecord, Mode, StudyRecord, VariantRecord

_UNPLANNED = (
    "these results were made elsewhere: p-values are corrected over the variants in the source, not over variants that "
    "were tried and left out, and they assume that the number of seeds was not chosen by looking at results"
)


@dataclass(frozen=True)
class ImportedRun:
    """A run directory that was written from a source.

    Attributes:
        directory: of the run.
        kind: of the source.
        columns: the meaning of its columns.
        reference: the variant that the others are compared with.
        variants: number of variants.
        seeds: number of seeds.
        cells: number of cells with a row.
    """

    directory: Path
    kind: str
    columns: Columns
    reference: str
    variants: int
    seeds: int
    cells: int

    @property
    def summary(self) -> str:
        """What was read and how it was understood, in two lines."""
        return (
            f"read as {self.kind}: {self.cells:,} results of {self.variants:,} variants and {self.seeds:,} seeds\n"
            f"columns: {self.columns.sentence()}; reference {self.reference}"
        )


def default_directory(path: Path) -> Path:
    """Return where a source's report goes: a folder beside it.

    >>> default_directory(Path("results/runs.csv")), default_directory(Path("mlruns"))
    (PosixPath('results/runs-report'), PosixPath('mlruns-report'))
    """
    return path.parent / f"{path.stem if path.suffix else path.name}-report"


def import_run(origin: Any, out: Path, given: ColumnChoice | None = None, part: str | None = None) -> ImportedRun:
    """Read results that another tool wrote, and write them as a run directory.

    Args:
        origin: a path, a pandas or polars data frame, or an Arrow table.
        out: the run directory. An earlier import in it is replaced.
        given: columns that are known; the others are guessed.
        part: the study or experiment of a source that holds several, or the study's name for a table.

    Raises:
        UserError: the source cannot be read, its columns are not clear, or `out` is a run of raysearch.
    """
    choice = given or ColumnChoice()
    if isinstance(origin, str | Path):
        path = Path(origin)
        kind, content = registry.read_source(path, part)
        name = content.name or (part if kind in ("CSV", "Parquet", "W&B export") else None) or path.stem
    else:
        kind = "a data frame"
        content = tables.read_frame(origin)
        path = None
        name = part or "results"
    columns = choose_columns(content, choice)
    cells = grouping.group_rows(content, columns)
    names = list(dict.fromkeys(cell.variant for cell in cells))
    reference = choose_reference(names, choice.reference)
    shared = grouping.common_items(cells)
    study = _record(name, cells, columns, reference, content)
    study.question = f"Which variant is better than {reference}?"
    if path is not None:
        study.data = DataRecord(name=path.name)
    study.warnings = [_UNPLANNED, *_item_warnings(cells, shared)]
    _clear(out)
    for cell in [*cells, *_holes(cells)]:
        results.write_cell(out / "cells", cell.record(columns.metric, shared))
    results.write_study(out, study)
    return ImportedRun(out, kind, columns, reference, len(names), len(study.seeds), len(cells))


def _record(name: str, cells: Sequence[ImportedCell], columns: Columns, reference: str, content: Source) -> StudyRecord:
    seeds = sorted({cell.seed for cell in cells})
    first: dict[str, ImportedCell] = {}
    for cell in cells:
        first.setdefault(cell.variant, cell)
    ordered = [first[reference], *(cell for variant, cell in first.items() if variant != reference)]
    by_name = {(cell.variant, cell.seed): cell for cell in [*cells, *_holes(cells)]}
    planned = [by_name[cell.variant, seed] for cell in ordered for seed in seeds]
    factors = columns.variant if len(columns.variant) > 1 else ()
    return StudyRecord(
        kind="ablation",
        study=name,
        imported=True,
        seeds=seeds,
        factors=list(factors),
        reference=reference,
        metric=columns.metric,
        mode=cast(Mode, columns.mode),
        comparisons=len(ordered) - 1,
        variants=[VariantRecord(name=cell.variant, settings=_levels(cell.settings, factors)) for cell in ordered],
        cells=[CellRecord(cell=cell.hash, variant=cell.variant, seed=cell.seed) for cell in planned],
    )


def _holes(cells: Sequence[ImportedCell]) -> list[ImportedCell]:
    """Return a failed cell for each seed that other variants have a result of, and a variant has not."""
    known = {(cell.variant, cell.seed) for cell in cells}
    variants = {cell.variant: cell.settings for cell in cells}
    return [
        ImportedCell(variant, settings, seed, {source.ERROR: "the source holds no result of this seed"}, "failed")
        for variant, settings in variants.items()
        for seed in sorted({cell.seed for cell in cells})
        if (variant, seed) not in known
    ]


def _levels(settings: Row, factors: Sequence[str]) -> Row:
    return {name: settings[name] for name in factors}


def _item_warnings(cells: Sequence[ImportedCell], shared: Sequence[str]) -> list[str]:
    items = {item for cell in cells for item in cell.items}
    if len(items) == len(shared):
        return []
    return [f"{len(shared):,} of {len(items):,} test items have a score in every cell; only these are paired"]


def _clear(out: Path) -> None:
    """Remove the cells of an earlier import.

    Raises:
        UserError: the directory holds a run of raysearch, or cannot be written.
    """
    if (out / "study.json").exists() and not results.read_study(out).imported:
        raise UserError(f"--out '{out}' is a run of raysearch, which would be replaced; name another directory")
    cells = refuse_link(out, "cells")
    try:
        cells.mkdir(parents=True, exist_ok=True)
        for file in os.scandir(cells):
            if file.name.endswith(".parquet"):
                os.unlink(file.path)
    except OSError as error:
        raise UserError(f"cannot write '{cells}': {error.strerror or error}; name a directory with --out") from None
