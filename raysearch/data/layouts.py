"""What data sets look like on disk: one function a layout, from SRC to the list of its samples.

A layout is `(src, test_fraction) -> list[Sample]`; `src` is what the user typed, and `test_fraction` is None unless
the user asked for one. A sample's `source` is its path below SRC with forward slashes, whatever the machine. To add a
layout, write its function and name it in LAYOUTS.
"""

import csv
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from raysearch.data.shards import SPLITS, Sample
from raysearch.errors import UserError, nearest

EXTENSIONS = {".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
TEST_FRACTION = 0.5  # the public fine-grained sets (CUB-200-2011, NABirds) halve their photos
COLUMNS = ("path", "label", "split")


def folder(src: str, test_fraction: float | None = None) -> list[Sample]:
    """A folder of images.

    With `SRC/split.csv` (columns path, label, split) that file says everything. Else SRC holds one folder a class,
    or train/, val/ and test/ with one folder a class in each. Plain class folders are split here: in each class the
    `test_fraction` of images whose path has the smallest hash is the test part, whatever order files are listed in.

    Raises UserError: no SRC, no images, a split.csv that is wrong (with the line), a class too small to be split.
    """
    root = Path(src)
    if not root.is_dir():
        raise UserError(f"SRC {src} is not a directory" if root.exists() else f"SRC {src} does not exist")
    try:
        if (root / "split.csv").is_file():
            refuse(test_fraction, "split.csv")
            return list(_from_csv(root))
        folders = _folders(root)
        if not folders:
            where = "images but no class folders" if _images(root) else "neither class folders nor a split.csv"
            raise UserError(f"SRC {src} holds {where}; put images in SRC/<class>/")
        inside = [name for name in folders if name in SPLITS]
        if not inside:
            return list(
                _split(root, class_folders(root, ""), TEST_FRACTION if test_fraction is None else test_fraction)
            )
    except OSError as error:
        raise UserError(f"SRC {src} cannot be read: {error.strerror}") from error
    if extra := sorted(set(folders) - set(SPLITS)):
        raise UserError(
            f"SRC {src} holds {inside[0]}/ beside {extra[0]}/; keep either class folders or train/, val/ and test/"
        )
    refuse(test_fraction, f"{inside[0]}/")
    samples = [
        sample(root, source, label, split)
        for split in inside
        for label, sources in class_folders(root, f"{split}/").items()
        for source in sources
    ]
    if not samples:
        raise UserError(f"SRC {src} holds no images")
    return samples


def synthetic(src: str, test_fraction: float | None = None) -> list[Sample]:
    """The embedded data set; SRC is `-` or settings such as `classes=20,side=64,seed=0` (fields of synthetic.Spec)."""
    from raysearch.data import synthetic as drawn

    refuse(test_fraction, "train_per_class and test_per_class settings")
    return drawn.samples(drawn.parse(src))


def fewshot(src: str, test_fraction: float | None = None) -> list[Sample]:
    """A few-shot data set as it is published, a class in one part; the forms are in fewshot_layouts."""
    from raysearch.data import fewshot_layouts

    refuse(test_fraction, "the lists or folders of its parts")
    return fewshot_layouts.samples(src)


Layout = Callable[[str, float | None], list[Sample]]
LAYOUTS: dict[str, Layout] = {"folder": folder, "fewshot": fewshot, "synthetic": synthetic}


def find(name: str) -> Layout:
    """The layout of that name; UserError with the nearest known name."""
    if name not in LAYOUTS:
        raise UserError(f"unknown layout {name!r}{nearest(name, LAYOUTS)}")
    return LAYOUTS[name]


def refuse(test_fraction: float | None, own: str) -> None:
    """UserError where a test fraction was asked for and `own` decides already."""
    if test_fraction is not None:
        raise UserError(f"--test-fraction has no effect here: the split comes from {own}; leave the flag out")


def sample(root: Path, source: str, label: str, split: str) -> Sample:
    """The image at `source` below `root`."""
    return Sample(source, label, split, (root / source).read_bytes)


def _from_csv(root: Path) -> Iterator[Sample]:
    path = root / "split.csv"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
                raise UserError(f"{path} lacks the column {missing[0]!r}; it needs {', '.join(COLUMNS)}")
            rows = [(reader.line_num, *_cells(row)) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a CSV file in UTF-8 ({error})") from error
    if not rows:
        raise UserError(f"{path} lists no images")
    lines: dict[str, int] = {}
    for line, source, label, split in rows:
        where = f"{path}, line {line}"
        if not source or not label:
            raise UserError(f"{where}: path or label is empty")
        if split not in SPLITS:
            raise UserError(f"{where}: unknown split {split!r}{nearest(split, SPLITS)}")
        if Path(source).is_absolute():
            raise UserError(f"{where}: {source} is absolute; paths are relative to SRC")
        if not (root / source).is_file():
            raise UserError(f"{where}: no file {source} in SRC")
        if (first := lines.setdefault(source, line)) != line:
            raise UserError(f"{where}: {source} is listed already on line {first}")
        yield sample(root, source, label, split)


def _cells(row: dict[str, str | None]) -> tuple[str, str, str]:
    path, label, split = ((row[name] or "").strip() for name in COLUMNS)
    return path, label, split


def visible(directory: Path) -> list[Path]:
    """What a person put there, sorted; not what archivers and file managers left."""
    return sorted(entry for entry in directory.iterdir() if not entry.name.startswith((".", "__MACOSX", "@")))


def _folders(directory: Path) -> list[str]:
    return [entry.name for entry in visible(directory) if entry.is_dir()]


def _images(directory: Path) -> list[str]:
    return [entry.name for entry in visible(directory) if entry.suffix.lower() in EXTENSIONS and entry.is_file()]


def class_folders(root: Path, prefix: str) -> dict[str, list[str]]:
    """Class name -> sources of its images, of the class folders in `prefix` below `root`."""
    classes = {}
    for name in _folders(root / prefix):
        directory = root / prefix / name
        if deeper := _folders(directory):
            raise UserError(
                f"class folder {directory} holds the folder {deeper[0]}; "
                f"images lie directly in {directory.parent}/<class>/"
            )
        classes[name] = [f"{prefix}{name}/{image}" for image in _images(directory)]
    return classes


def _split(root: Path, classes: dict[str, list[str]], test_fraction: float) -> Iterator[Sample]:
    if not 0 < test_fraction < 1:
        raise UserError(f"--test-fraction must lie between 0 and 1, not {test_fraction:g}")
    if not any(classes.values()):
        raise UserError(f"SRC {root} holds no images in its class folders")
    for label, sources in classes.items():
        if len(sources) < 3:
            number = f"{len(sources)} image{'' if len(sources) == 1 else 's'}"
            raise UserError(
                f"class {label!r} has {number} in {root / label}; a class needs at least three: "
                "two to train, one to test"
            )
        tests = min(max(round(test_fraction * len(sources)), 1), len(sources) - 2)
        ranked = sorted(sources, key=lambda source: hashlib.sha256(source.encode("utf-8", "surrogateescape")).digest())
        for rank, source in enumerate(ranked):
            yield sample(root, source, label, "test" if rank < tests else "train")
