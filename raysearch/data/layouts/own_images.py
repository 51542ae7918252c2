"""A folder of the user's own images: one folder a class, or a `split.csv` that says everything.

With `SRC/split.csv` (columns path, label, split) images may lie anywhere below SRC. Else SRC holds one folder a class,
or train/, val/ and test/ with one folder a class in each. Plain class folders are split here, in each class by hash.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from raysearch.core.errors import UserError, nearest
from raysearch.data import shards
from raysearch.data.layouts.layout import Layout, refuse_test_fraction
from raysearch.data.layouts.listing import Listing
from raysearch.data.layouts.readers import disk
from raysearch.data.shards import SPLITS, Corrupt, Sample

COLUMNS = ("path", "label", "split")


def folder(src: str, test_fraction: float | None = None) -> Listing:
    """A folder of images; a file that split.csv lists and that is not there is named in the listing.

    Raises UserError: no SRC, no images, a split.csv that is wrong (with the line), a class too small to be split.
    """
    with disk.directory(src) as root:
        if (root / "split.csv").is_file():
            refuse_test_fraction(test_fraction, "split.csv")
            return _from_csv(root)
        folders = disk.folders(root)
        if not folders:
            where = "images but no class folders" if disk.images(root) else "neither class folders nor a split.csv"
            raise UserError(f"SRC {src} holds {where}; put images in SRC/<class>/")
        inside = [name for name in folders if name in SPLITS]
        if not inside:
            return _split(root, disk.class_folders(root, ""), test_fraction)
        if extra := sorted(set(folders) - set(SPLITS)):
            raise UserError(
                f"SRC {src} holds {inside[0]}/ beside {extra[0]}/; keep either class folders or train/, val/ and test/"
            )
        refuse_test_fraction(test_fraction, f"{inside[0]}/")
        samples = tuple(
            disk.sample(root, source, label, split)
            for split in inside
            for label, sources in disk.class_folders(root, f"{split}/").items()
            for source in sources
        )
    if not samples:
        raise UserError(f"SRC {src} holds no images")
    return Listing(samples)


def recognise(root: Path) -> str:
    """split.csv, or parts that share classes; plain class folders are what remains when nothing else fits."""
    if (root / "split.csv").is_file():
        return "split.csv"
    parts = {part: set(disk.folders(root / part)) for part in SPLITS if (root / part).is_dir()}
    held = [classes for classes in parts.values() if classes]
    if held and (len(held) == 1 or sum(map(len, held)) > len(set().union(*held))):
        return f"class folders in {', '.join(f'{part}/' for part in parts)}" + (
            ", which share classes" if len(held) > 1 else ""
        )
    return ""


def recognise_plain(root: Path) -> str:
    """Class folders with images in them, right below SRC."""
    holding = [name for name in disk.folders(root) if disk.images(root / name)]
    return f"{len(holding)} folders of images and no lists" if holding else ""


def _from_csv(root: Path) -> Listing:
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
            samples.append(disk.sample(root, source, label, split))
        else:
            corrupt.append(Corrupt(source=source, reason=f"split.csv, line {line}: no such file in SRC"))
    return Listing(tuple(samples), corrupt=tuple(corrupt))


def _cells(row: dict[str, str | None]) -> tuple[str, str, str]:
    path, label, split = ((row[name] or "").strip() for name in COLUMNS)
    return path, label, split


def _split(root: Path, classes: dict[str, list[str]], test_fraction: float | None) -> Listing:
    if not any(classes.values()):
        raise UserError(f"SRC {root} holds no images in its class folders")
    tested = shards.choose_test_sources(classes, test_fraction, root)
    return Listing(tuple(_samples(root, classes, tested)))


def _samples(root: Path, classes: dict[str, list[str]], tested: set[str]) -> Iterator[Sample]:
    for label, sources in classes.items():
        for source in sources:
            yield disk.sample(root, source, label, "test" if source in tested else "train")


LAYOUT = Layout(
    about="your own: folders of classes, or split.csv",
    looks_for="split.csv, or a folder a class, also in train/, val/ and test/",
    recognise=recognise,
    read=folder,
)
