"""Pictures that the cells of a user's task kept: PNG and JPEG files beside their checkpoints.

They were made where the cell was trained. No code of the run directory is needed, so none runs.
"""

import contextlib
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from raysearch.core import UserError
from raysearch.data.shards import image_opening
from raysearch.inspection.cell_choice import CellChoice
from raysearch.runs import cell_files, checkpoints

_ENDINGS = (".png", ".jpg", ".jpeg")
_MAX_SIDE = 1024  # pixels; a larger picture is scaled down as soon as it is read


class KeptPictures(NamedTuple):
    """The pictures of a cell, in the order of their names."""

    cell: CellChoice
    pictures: dict[str, NDArray[np.uint8]]  # name without ending -> (H, W, 3)


def read_pictures(directory: Path, cells: Sequence[CellChoice], count: int, storage: str | None) -> list[KeptPictures]:
    """Read the pictures of cells, for each the first ones by name.

    Args:
        directory: the directory of the run.
        cells: the cells to show.
        count: pictures at most per cell.
        storage: path or URI of the checkpoints, if they are not in the directory.

    Raises:
        UserError: a picture that cannot be read, or the store fails.
    """
    return [KeptPictures(cell, dict(itertools.islice(_pictures_of(directory, cell, storage), count))) for cell in cells]


def _pictures_of(directory: Path, cell: CellChoice, storage: str | None) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield name and pixels of a cell's pictures, from this run or from the sibling run that trained the cell."""
    for files in _places(directory, cell, storage):
        names = [name for name in files.names() if name.lower().endswith(_ENDINGS)]
        for name in names:
            data = files.read(name)
            if data is not None:
                yield Path(name).stem, _decode(data, name, cell)
        if names:
            return


def _places(directory: Path, cell: CellChoice, storage: str | None) -> Iterator[checkpoints.CheckpointFiles]:
    """Yield the directories that may hold a cell's files. In siblings, files of others than the run's owner are left.

    A sibling is a run directory beside this one; cells that it has finished are not trained again.
    """
    folder = f"{cell.cell}/{cell_files.FOLDER}"
    yield checkpoints.CheckpointFiles(storage or str(directory / checkpoints.FOLDER), folder)
    owners = {os.geteuid(), 0, (directory / "study.json").stat().st_uid}
    for sibling in sorted(directory.resolve().parent.glob(f"*/{checkpoints.FOLDER}/{folder}")):
        with contextlib.suppress(UserError, OSError):  # links that lead elsewhere, folders of others
            yield checkpoints.CheckpointFiles(str(sibling.parents[1]), folder, owners)


def _decode(data: bytes, name: str, cell: CellChoice) -> NDArray[np.uint8]:
    """Return a picture's pixels (H, W, 3).

    Raises:
        UserError: it is none.
    """
    try:
        with image_opening.open_image(data) as image:
            rgb = image_opening.upright_rgb(image)
            rgb.thumbnail((_MAX_SIDE, _MAX_SIDE))
            return np.asarray(rgb)
    except image_opening.CorruptImage as error:
        raise UserError(f"'{name}' of cell {cell.cell} (variant '{cell.variant}') is no picture: {error}") from None
