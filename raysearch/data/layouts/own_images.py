"""A folder of the user's own images: one folder per class, or a `split.csv` that lists everything.

With `SRC/split.csv` (columns path, label, split) images may be anywhere below SRC. Otherwise SRC contains one folder
per class, or train/, val/ and test/ with one folder per class in each. Plain class folders are split here, within each
class by hash.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from raysearch.core import UserError, nearest
from raysearch.data.layouts.layout import Layout, Listing, refuse_test_fraction, register_layout
from raysearch.data.layouts.readers import disk
from raysearch.data.shards import SPLITS, Corrupt, Sample, choose_test_sources

COLUMNS = ("path", "label", "split")


def read_folder(src: str, test_fraction: float | None = None) -> Listing:
    """List a folder of images; files that split.csv lists and that do not exist are named in the listing.

    Args:
        src: directory of the images.
        test_fraction: share of each class for testing, of plain class folders; None for the default.

    Raises:
        UserError: no SRC, no images, a wrong split.csv (with the line), or a class too small to split.
    """
    with disk.directory(src) as root:
        if (root / "split.csv").is_file():
            refuse_test_fraction(test_fraction, "split.csv")
            return _read_split_csv(root)
        folders = disk.folders(root)
        if not folders:
            problem = "images but no class folders" if disk.images(root) else "neither class folders nor a split.csv"
            raise UserError(f"SRC {src} holds {problem}; put images in SRC/<class>/")
        parts = [name for name in folders if name in SPLITS]
        if not parts:
            return _split_by_hash(root, disk.class_folders(root, ""), test_fraction)
        if extra := sorted(set(folders) - set(SPLITS)):
            raise UserError(
                f"SRC {src} holds {parts[0]}/ beside {extra[0]}/; keep either class folders or train/, val/ and test/"
            )
        refuse_test_fraction(test_fraction, f"{parts[0]}/")
        samples = tuple(
            disk.file_sample(root, source, label, split)
            for split in parts
            for label, sources in disk.class_folders(root, f"{split}/").items()
            for source in sources
        )
    if not samples:
        raise UserError(f"SRC {src} holds no images")
    return Listing(samples)


def recognize_parts(root: Path) -> str:
    """Recognize split.csv, or parts that share classes."""
    if (root / "split.csv").is_file():
        return "split.csv"
    parts = {part: set(disk.folders(root / part)) for part in SPLITS if (root / part).is_dir()}
    classes = [names for names in parts.values() if names]
    if classes and (len(classes) == 1 or sum(map(len, classes)) > len(set().union(*classes))):
        return f"class folders in {', '.join(f'{part}/' for part in parts)}" + (
            ", which share classes" if len(classes) > 1 else ""
        )
    return ""


def recognize_class_folders(root: Path) -> str:
    """Recognize class folders with images, directly below SRC."""
    folders = [name for name in disk.folders(root) if disk.images(root / name)]
    return f"{len(folders)} folders of images and no lists" if folders else ""


def _read_split_csv(root: Path) -> Listing:
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
    samples: list[Sample] = []
    corrupt: list[Corrupt] = []
    for line, source, label, split in rows:
        where = f"{path}, line {line}"
        if not source or not label:
            raise UserError(f"{where}: path or label is empty")
        if split not in SPLITS:
            raise UserError(f"{where}: unknown split {split!r}{nearest(split, SPLITS)}")
        if Path(source).is_absolute():
            raise UserError(f"{where}: {source} is absolute; paths are relative to SRC")
        if (first := lines.setdefault(source, line)) != line:
            raise UserError(f"{where}: {source} is listed already on line {first}")
        if (root / source).is_file():
            samples.append(disk.file_sample(root, source, label, split))
        else:
            corrupt.append(Corrupt(source=source, reason=f"split.csv, line {line}: no such file in SRC"))
    return Listing(tuple(samples), corrupt=tuple(corrupt))


def _cells(row: dict[str, str | None]) -> tuple[str, str, str]:
    path, label, split = ((row[name] or "").strip() for name in COLUMNS)
    return path, label, split


def _split_by_hash(root: Path, classes: dict[str, list[str]], test_fraction: float | None) -> Listing:
    if not any(classes.values()):
        raise UserError(f"SRC {root} holds no images in its class folders")
    test_sources = choose_test_sources(classes, test_fraction, root)

    def _samples() -> Iterator[Sample]:
        for label, sources in classes.items():
            for source in sources:
                yield disk.file_sample(root, source, label, "test" if source in test_sources else "train")

    return Listing(tuple(_samples()))


LAYOUT = register_layout(
    Layout(
        name="folder",
        about="your own: folders of classes, or split.csv",
        looks_for="split.csv, or a folder per class, also in train/, val/ and test/",
        recognize=recognize_parts,
        read=read_folder,
        recognize_plain=recognize_class_folders,
    )
)
