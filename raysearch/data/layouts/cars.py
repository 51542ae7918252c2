"""Stanford Cars, the official releases: 196 makes, models and years, 16,185 photos.

Krause, Stark, Deng and Fei-Fei, "3D Object Representations for Fine-Grained Categorization", 3dRR workshop, ICCV 2013.
The devkit's README describes the lists. There are two releases of the same photos and split. The first has
`cars_train/`, `cars_test/`, `devkit/cars_meta.mat` (names), `devkit/cars_train_annos.mat` and
`cars_test_annos_withlabels.mat` (beside devkit/ or in it), each a struct array `annotations` of bbox_x1 to bbox_y2,
class and fname. The second has `car_ims/` and `cars_annos.mat`, with relative_im_path and test (1 or 0) instead of
fname, and the names as `class_names`.

Traps. `devkit/cars_test_annos.mat` has no labels; the file with labels was published later. Classes count from 1, in an
order that is not quite sorted. Names contain slashes ("Ram C/V Cargo Van Minivan 2012"). A few photos are gray. Boxes
follow Matlab: the first pixel is 1, and the last one is inside the box.
"""

from pathlib import Path
from typing import Any, NamedTuple

from raysearch.core import UserError
from raysearch.data.layouts.layout import PublishedCounts, Signature, official_release, register_layout
from raysearch.data.layouts.listing import ListEntry, Listing, listing_from_lists
from raysearch.data.layouts.readers import matlab
from raysearch.data.shards import Box

FIRST_RELEASE = ("cars_train", "cars_test", "devkit/cars_train_annos.mat", "devkit/cars_meta.mat")
SECOND_RELEASE = ("cars_annos.mat", "car_ims")
TEST_LABELS = "cars_test_annos_withlabels.mat"
FOLDERS = ("", "stanford_cars")


class Annotation(NamedTuple):
    """One row of `annotations`."""

    source: str
    number: int  # of the class, from 1
    split: str
    box: Box


def list_samples(base: Path) -> Listing:
    """List the samples of either release.

    Raises:
        UserError: a list that is missing or cannot be read.
    """
    names = _class_names(base)
    entries: list[ListEntry] = []
    wrong: dict[str, str] = {}
    for photo in _annotations(base):
        if 1 <= photo.number <= len(names):
            entries.append(ListEntry(photo.source, names[photo.number - 1], photo.split))
        else:
            wrong[photo.source] = f"its class is {photo.number}, and there are names for 1 to {len(names)}"
    folders = ["car_ims"] if _is_second_release(base) else ["cars_train", "cars_test"]
    return listing_from_lists(base, folders, entries, names, wrong)


def read_boxes(base: Path) -> dict[str, Box]:
    """Return source -> bounding box.

    Raises:
        UserError: a list that is missing or cannot be read.
    """
    return {photo.source: photo.box for photo in _annotations(base)}


def _is_second_release(base: Path) -> bool:
    return all((base / path).exists() for path in SECOND_RELEASE)


def _class_names(base: Path) -> list[str]:
    path = base / ("cars_annos.mat" if _is_second_release(base) else "devkit/cars_meta.mat")
    (names,) = matlab.read_variables(path, "class_names")
    return [str(name) for name in names]


def _annotations(base: Path) -> list[Annotation]:
    if _is_second_release(base):
        (rows,) = matlab.read_variables(base / "cars_annos.mat", "annotations")
        _check_fields(base / "cars_annos.mat", rows, "relative_im_path", "test")
        return [_annotation(str(row["relative_im_path"]), row, "test" if row["test"] else "train") for row in rows]
    labeled = next((path for path in (base / TEST_LABELS, base / "devkit" / TEST_LABELS) if path.exists()), None)
    if labeled is None:
        raise UserError(
            f"{base / TEST_LABELS} is missing; devkit/cars_test_annos.mat has no labels and does not replace it"
        )
    annotations = []
    for split, path in (("train", base / "devkit/cars_train_annos.mat"), ("test", labeled)):
        (rows,) = matlab.read_variables(path, "annotations")
        _check_fields(path, rows, "fname")
        annotations += [_annotation(f"cars_{split}/{row['fname']}", row, split) for row in rows]
    return annotations


def _check_fields(path: Path, rows: Any, *fields: str) -> None:
    needed = (*fields, "class", "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")
    if missing := [field for field in needed if field not in (rows.dtype.names or ())]:
        raise UserError(f"{path}: annotations without {missing[0]!r}; they need {', '.join(needed)}")


def _annotation(source: str, row: Any, split: str) -> Annotation:
    left, top, right, bottom = (float(row[f"bbox_{edge}"]) for edge in ("x1", "y1", "x2", "y2"))
    return Annotation(source, int(row["class"]), split, (left - 1, top - 1, right, bottom))


LAYOUT = register_layout(
    official_release(
        "cars",
        "Stanford Cars",
        (Signature(FIRST_RELEASE, FOLDERS), Signature(SECOND_RELEASE, FOLDERS)),
        list_samples,
        PublishedCounts({"train": 8144, "test": 8041}, {"train": 196, "test": 196}),
        read_boxes,
        annotations=(TEST_LABELS, f"devkit/{TEST_LABELS}"),
    )
)
