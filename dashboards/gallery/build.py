"""Build the gallery of a run: inspect its trained networks, and draw the page.

Each built-in task has a `GallerySpec` in the registry `GALLERIES`. A run directory only names its task. The name is
looked up there and is never imported, so a run from elsewhere cannot choose the code that runs. A user's task drew its
pictures where it was trained, and here they are only shown.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dashboards.gallery import page, user
from dashboards.gallery.elements import DisplayNames
from raysearch.core import Registry, UserError, cli
from raysearch.inspection import cell_choice, kept_pictures
from raysearch.inspection.finished_run import open_run
from raysearch.runs import StudyRecord, results
from raysearch.studies.configs import Reference, load_object


@dataclass(frozen=True)
class GallerySpec:
    """The two halves of a task's gallery.

    Args:
        task: name of the task.
        inspect: `(run, cells, images) -> (inspection, values)`, or its import path. `inspection` holds numpy arrays to
            draw; `values` are the cells' metrics, computed again.
        sections: `(inspection, names, detail) -> sections of the page`, or its import path. It must not need torch.
    """

    task: str
    inspect: Reference
    sections: Reference


GALLERIES: Registry[GallerySpec] = Registry("gallery for the task")


def register_gallery(spec: GallerySpec) -> GallerySpec:
    """Add a task's gallery, and return its spec.

    Raises:
        UserError: the task has a gallery already.
    """
    return GALLERIES.register(spec.task, spec)


register_gallery(
    GallerySpec(
        task="retrieval",
        inspect="raysearch.inspection.retrieval:inspect_cells",
        sections="dashboards.gallery.retrieval:sections",
    )
)
register_gallery(
    GallerySpec(
        task="fewshot",
        inspect="raysearch.inspection.fewshot:inspect_cells",
        sections="dashboards.gallery.fewshot:sections",
    )
)


def write_gallery(
    directory: Path,
    images: int,
    variants: Sequence[str] = (),
    seed: int | None = None,
    data: str | None = None,
    storage: str | None = None,
    out: Path | None = None,
) -> Path:
    """Write the page of a run's gallery, gallery.html.

    Args:
        directory: the directory of the run.
        images: number of pictures of each kind.
        variants: names to show; see `cell_choice.select_variants` for the default.
        seed: to show for each variant; None shows the one with the median metric.
        data: path or URI of the run's shards, if they have moved.
        storage: path or URI of the checkpoints, if they are not in the directory.
        out: the directory to write to; None for that of the run.

    Returns:
        The path of the page.

    Raises:
        UserError: the run's task has no gallery, a requested variant or seed cannot be shown, or the data is missing.
    """
    record = results.read_study(directory)
    if record.code:
        return _write_user_gallery(directory, record, images, variants, seed, storage, out)
    run = open_run(directory, data, storage)
    try:
        spec = GALLERIES[str(run.record.task)]
        names, left_out = cell_choice.select_variants(run.record, variants)
        cells, skipped = _choose_cells(run.record, partial(run.choose_cell, seed=seed), names, variants)
        inspection, values = load_object(spec.inspect)(run, cells, images)
    finally:
        run.close()
    checked = [page.CheckedCell(cell, value) for cell, value in zip(cells, values, strict=True)]
    for cell in checked:
        if not cell.reproduced:
            cli.warn(page.difference_text(cell))
    display_names = DisplayNames.of_study(run.record, run.manifest.classes)
    draw: Any = partial(load_object(spec.sections), inspection, display_names)
    return page.write_page(out or directory, run.record, page.Networks(checked, skipped, left_out), display_names, draw)


def _write_user_gallery(
    directory: Path,
    record: StudyRecord,
    images: int,
    variants: Sequence[str],
    seed: int | None,
    storage: str | None,
    out: Path | None,
) -> Path:
    """Write the page of a user's task: the pictures that its cells kept; see `write_gallery`.

    Raises:
        UserError: no cell kept a picture, or a requested variant or seed cannot be shown.
    """
    names, left_out = cell_choice.select_variants(record, variants)
    rows = results.load(directory).to_pylist()
    cells, skipped = _choose_cells(
        record, lambda name: cell_choice.choose_cell(record, rows, name, seed), names, variants
    )
    kept = kept_pictures.read_pictures(directory, cells, images, storage)
    if not any(cell.pictures for cell in kept):
        raise UserError(
            f"the runs of {record.task} kept no pictures; write PNG or JPEG files to run.out, or give a class the "
            "method `inspect`"
        )
    display_names = DisplayNames.of_study(record, ())
    networks = page.Networks([page.CheckedCell(cell, None) for cell in cells], skipped, left_out)
    draw = partial(user.sections, kept, display_names)
    return page.write_page(out or directory, record, networks, display_names, draw)


def _choose_cells(
    record: StudyRecord,
    choose: Callable[[str], cell_choice.CellChoice],
    names: Sequence[str],
    requested: Sequence[str],
) -> tuple[list[cell_choice.CellChoice], list[page.Skipped]]:
    """Choose a cell for each variant; skip variants that cannot be shown, unless they are requested or a reference."""
    cells: list[cell_choice.CellChoice] = []
    skipped: list[page.Skipped] = []
    for name in names:
        try:
            cells.append(choose(name))
        except UserError as error:
            if name in requested or name == cell_choice.reference_of(record, name):
                raise
            skipped.append(page.Skipped(name, str(error)))
    return cells, skipped
