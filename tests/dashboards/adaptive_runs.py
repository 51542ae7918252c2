"""Adaptive runs, written as a sweep leaves them: of each look only the cells that were needed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raysearch.runs import results
from raysearch.studies.analysis import looks as look_rule

from .conftest import ablation, write_run

LOOKS = (3, 5, 8, 12, 20)


def write_adaptive(
    run_dir: Path,
    looks: Sequence[int] = LOOKS,
    margin: float | None = None,
    until: int | None = None,
    extra: Sequence[tuple[str, int]] = (),
    design: str = "one_at_a_time",
    **options: Any,
) -> Path:
    """Write an adaptive run.

    Args:
        run_dir: where.
        looks: numbers of seeds.
        margin: inside which a difference does not matter.
        until: number of the last look whose cells have ended; None: as many as are needed.
        extra: (variant, seed) of cells that ran before their look.
        design: of the study.
        options: see `write_run`.
    """
    study = ablation(design, "How many regions?")
    write_run(run_dir, study, seeds=looks[-1], looks=list(looks), margin=margin, **options)
    record = results.read_study(run_dir)
    table = results.load(run_dir)
    reference = str(record.reference)
    wanted = {variant.name for variant in record.variants}
    ran = set(extra)
    for number, seeds in enumerate(looks, start=1):
        if until is not None and number > until:
            break
        ran |= {(name, seed) for name in wanted for seed in range(seeds)}
        hashes = [cell.cell for cell in record.cells if (cell.variant, cell.seed) in ran - set(extra)]
        so_far = table.filter(pc.is_in(table["cell"], pa.array(hashes, pa.string())))
        undecided = look_rule.undecided(so_far, "map", reference, looks, margin, record.comparisons)
        if not undecided:
            break
        wanted = {reference, *undecided}
    for cell in record.cells:
        if (cell.variant, cell.seed) not in ran:
            (run_dir / "cells" / f"{cell.cell}.parquet").unlink(missing_ok=True)
    return run_dir
