"""Stanford Cars, the official releases: 196 makes, models and years, 16,185 photos.

Krause, Stark, Deng and Fei-Fei, "3D Object Representations for Fine-Grained Categorization", 3dRR workshop, ICCV 2013;
described in the devkit's README. There are two releases of the same photos and split. The first has `cars_train/`,
`cars_test/`, `devkit/cars_meta.mat` (names), `devkit/cars_train_annos.mat` and `cars_test_annos_withlabels.mat` (beside
devkit/ or in it), each a struct array `annotations` of bbox_x1 to bbox_y2, class and fname. The second has `car_ims/`
and `cars_annos.mat`, with relative_im_path and test (1 or 0) for fname, and the names as `class_names`.

Traps. `devkit/cars_test_annos.mat` has no labels; the file with labels was published later, by itself. Classes count
from 1, in an order that is not quite the sorted one. Names hold slashes ("Ram C/V Cargo Van Minivan 2012"). A few
photos are grey. Boxes are Matlab's: the first pixel is 1, and the last one is inside the box.
"""

from pathlib import Path
from typing import NamedTuple

from raysearch.core.errors import UserError
from raysearch.data.layouts.layout import PublishedCounts, Signature, official_release
from raysearch.data.layouts.listing import ListEntry, Listing, listing_from_lists
from raysearch.data.layouts.readers import matlab
from raysearch.data.shards import Box

FIRST = ("cars_train", "cars_test", "devkit/cars_train_annos.mat", "devkit/cars_meta.mat")
SECOND = ("cars_annos.mat", "car_ims")
TEST = "cars_test_annos_withlabels.mat"
PLACES = ("", "stanford_cars")


class Photo(NamedTuple):
    """What an annotation says."""

    source: str
    number: int  # of the class, from 1
    split: str
    box: Box


def listing(base: Path) -> Listing:
    """Samples of either release."""
    names = _names(base)
    entries, wrong = [], {}
    for photo in _photos(base):
        if 1 <= photo.number <= len(names):
            entries.append(ListEntry(photo.source, names[photo.number - 1], photo.split))
        else:
            wrong[photo.source] = f"its class is {photo.number}, and there are names for 1 to {len(names)}"
    return listing_from_lists(
        base, ["car_ims"] if _second(base) else ["cars_train", "cars_test"], entries, names, wrong
    )


def boxes(base: Path) -> dict[str, Box]:
    """Source -> bounding box."""
    return {photo.source: photo.box for photo in _photos(base)}


def _second(base: Path) -> bool:
    return all((base / path).exists() for path in SECOND)


def _names(base: Path) -> list[str]:
    (names,) = matlab.variables(base / ("cars_annos.mat" if _second(base) else "devkit/cars_meta.mat"), "class_names")
    return [str(name) for name in names]


def _photos(base: Path) -> list[Photo]:
    if _second(base):
        (rows,) = matlab.variables(base / "cars_annos.mat", "annotations")
        _check(base / "cars_annos.mat", rows, "relative_im_path", "test")
        return [_photo(str(row["relative_im_path"]), row, "test" if row["test"] else "train") for row in rows]
    labelled = next((path for path in (base / TEST, base / "devkit" / TEST) if path.exists()), None)
    if labelled is None:
        raise UserError(f"{base / TEST} is missing; devkit/cars_test_annos.mat has no labels and does not replace it")
    photos = []
    for split, path in (("train", base / "devkit/cars_train_annos.mat"), ("test", labelled)):
        (rows,) = matlab.variables(path, "annotations")
        _check(path, rows, "fname")
        photos += [_photo(f"cars_{split}/{row['fname']}", row, split) for row in rows]
    return photos


def _check(path: Path, rows, *fields: str) -> None:
    needed = (*fields, "class", "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")
    if missing := [field for field in needed if field not in (rows.dtype.names or ())]:
        raise UserError(f"{path}: annotations without {missing[0]!r}; they need {', '.join(needed)}")


def _photo(source: str, row, split: str) -> Photo:
    left, top, right, bottom = (float(row[f"bbox_{edge}"]) for edge in ("x1", "y1", "x2", "y2"))
    return Photo(source, int(row["class"]), split, (left - 1, top - 1, right, bottom))


LAYOUT = official_release(
    "Stanford Cars",
    (Signature(FIRST, PLACES), Signature(SECOND, PLACES)),
    listing,
    PublishedCounts({"train": 8144, "test": 8041}, {"train": 196, "test": 196}),
    boxes,
)
