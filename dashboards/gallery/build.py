"""Make the gallery of a run: the trained networks looked at, and the page drawn.

A task's half is two modules of the same name. `raysearch.inspection.TASK` has `look(run, cells, images) -> (exhibit,
values)`: what there is to draw, in numpy arrays, and each cell's metric computed again. `dashboards.gallery.TASK` has
`sections(exhibit, names, detail)`: the parts of the page, of a detail of its pictures.
"""

import importlib
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from dashboards.gallery import page
from dashboards.gallery.names import Names
from raysearch.core.errors import UserError
from raysearch.inspection import choosing
from raysearch.inspection.loading import open_run

TASKS = ("retrieval", "fewshot")


def write(
    directory: Path,
    images: int,
    variants: Sequence[str] = (),
    seed: int | None = None,
    data: str | None = None,
    storage: str | None = None,
) -> Path:
    """Write RUN/gallery.html.

    Args:
        directory: of the run.
        images: of each kind of picture.
        variants: to show; none: see `choosing.names`.
        seed: to show of each variant; None for the median one.
        data: see `open_run`.
        storage: see `open_run`.

    Raises:
        UserError: nothing to show, or not what was asked for.
    """
    run = open_run(directory, data, storage)
    wanted, left_out = choosing.names(run.record, variants)
    cells: list[choosing.CellChoice] = []
    untold: list[page.Untold] = []
    for name in wanted:
        try:
            cells.append(run.chosen(name, seed))
        except UserError as error:
            if name in variants or name == choosing.reference_of(run.record, name):
                raise
            untold.append(page.Untold(name, str(error)))
    try:
        if run.record["task"] not in TASKS:
            raise UserError(f"no gallery of a run of the task {run.record['task']}")
        drawing, looking = (
            importlib.import_module(f"{package}.{run.record['task']}")
            for package in ("dashboards.gallery", "raysearch.inspection")
        )
        exhibit, values = looking.look(run, cells, images)
    finally:
        run.close()
    shown = [page.Checked(cell, value) for cell, value in zip(cells, values, strict=True)]
    for one in shown:
        if not one.same:
            print(page.difference(one), file=sys.stderr)
    names = Names.of(run.record, run.manifest.classes)
    draw = partial(drawing.sections, exhibit, names)
    return page.write(directory, run.record, page.Networks(shown, untold, left_out), names, draw)
