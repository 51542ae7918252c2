"""What few-shot data sets look like on disk: a class is in one part, and parts are lists of images or folders.

| on disk                                                    | as published by                                   |
|------------------------------------------------------------|---------------------------------------------------|
| `split/*.csv`, images in `images/<class>/`                 | HelixFormer's Dogs, CUB and NABirds; FEAT's CUB   |
| `split/*.csv`, images in `images/`                         | HelixFormer's Cars; miniImageNet of FEAT and RENet |
| `data/split/*.csv`, images in `data/images/`               | HelixFormer's Aircraft                            |
| `*.csv`, images in `images/`                               | LibFewShot                                        |
| `train/`, `val/`, `test/`, each with folders of classes    | FRN, tieredImageNet, FC100                        |
| `meta-train/`, `meta-val/`, `meta-test/`, the same         | CIFAR-FS                                          |

The lists are `train.csv`, `val.csv` and `test.csv` with the columns `filename` and `label`; others are left alone, and
so are the folders `val_pre` and `test_pre` of images that somebody made smaller. CUB-200-2011 comes in three partitions
of its classes that do not agree; which one lies here is the user's own knowledge, and results carry a hash of it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from raysearch.core.errors import UserError
from raysearch.data.class_splits import split_files
from raysearch.data.layouts.layout import Layout, refuse_test_fraction
from raysearch.data.layouts.listing import Listing
from raysearch.data.layouts.readers import disk
from raysearch.data.shards import SPLITS, Corrupt, Sample

FOLDERS = ("", "meta-")  # what stands before the name of a part
LISTS = (("", "split"), ("data/", "split"), ("", "."))  # where a data set begins below SRC, and its lists below that
IMAGES = ("images/{label}/{filename}", "images/{filename}", "{filename}", "{label}/{filename}")


def fewshot(src: str, test_fraction: float | None = None) -> Listing:
    """The images of a few-shot data set, in whichever form of the table it lies at `src`.

    Raises UserError: none of the forms, a list that cannot be read or none of whose files is there, a class in two
    parts, no images.
    """
    refuse_test_fraction(test_fraction, "the lists or folders of its parts")
    with disk.directory(src) as root:
        found = list(_from_folders(root)) or list(_from_lists(root))
    if not found:
        raise UserError(
            f"SRC {src} holds no few-shot data set: neither split/train.csv, nor train.csv, nor class folders "
            "in train/ or meta-train/"
        )
    _check(found)
    there = [(root / one.source).is_file() for one in found]
    return Listing(
        tuple(one for one, is_file in zip(found, there, strict=True) if is_file),
        corrupt=tuple(
            Corrupt(source=one.source, reason=f"listed in {one.split}, and there is no such file")
            for one, is_file in zip(found, there, strict=True)
            if not is_file
        ),
    )


def parts(root: Path) -> tuple[dict[str, str], str]:
    """Class -> part, and where that was found; nothing where a class is in two parts or there is one part only."""
    for before in FOLDERS:
        held = {part: disk.folders(root / f"{before}{part}") for part in SPLITS if (root / f"{before}{part}").is_dir()}
        classes = [name for names in held.values() for name in names]
        if sum(map(bool, held.values())) > 1 and len(set(classes)) == len(classes):
            by_class = {name: part for part, names in held.items() for name in names}
            return by_class, f"folders of different classes in {', '.join(f'{before}{part}/' for part in held)}"
    for base, folder in LISTS:
        lists = split_files.image_lists(root / base / folder)
        if lists:
            by_class = {row["label"]: part for part, path in lists.items() for row in _rows(path)}
            return by_class, f"lists of images {', '.join(str(path.relative_to(root)) for path in lists.values())}"
    return {}, ""


def _from_folders(root: Path) -> Iterator[Sample]:
    for before in FOLDERS:
        for part in SPLITS:
            if (root / f"{before}{part}").is_dir():
                for label, sources in disk.class_folders(root, f"{before}{part}/").items():
                    yield from (disk.sample(root, source, label, part) for source in sources)


def _from_lists(root: Path) -> Iterator[Sample]:
    for base, folder in LISTS:
        for part, path in split_files.image_lists(root / base / folder).items():
            rows = _rows(path)
            pattern = _pattern(root, base, rows, path) if rows else ""
            for row in rows:
                source = base + pattern.format_map(row)
                if Path(source).is_absolute():
                    raise UserError(f"{path}: {source} is absolute; paths are relative to SRC")
                yield disk.sample(root, source, row["label"], part)


def _rows(path: Path) -> list[dict[str, str]]:
    return list(split_files.csv_rows(split_files.read_text(path), ("filename", "label"), str(path)))


def _pattern(root: Path, base: str, rows: Sequence[dict[str, str]], path: Path) -> str:
    """How the images of a list lie below SRC, by the first that is there."""
    for row in rows:
        for pattern in IMAGES:
            if (root / base / pattern.format_map(row)).is_file():
                return pattern
    places = [base + pattern.format_map(rows[0]) for pattern in IMAGES]
    raise UserError(f"{path} lists {rows[0]['filename']}, and {root} has none of {', '.join(places)}, nor any other")


def _check(found: list[Sample]) -> None:
    parts: dict[str, str] = {}
    sources: set[str] = set()
    for one in found:
        if (first := parts.setdefault(one.label, one.split)) != one.split:
            raise UserError(
                f"class {one.label!r} is in {first} and in {one.split}: no few-shot data set; try the layout folder"
            )
        if one.source in sources:
            raise UserError(f"{one.source} is listed twice")
        sources.add(one.source)


LAYOUT = Layout(
    about="lists or folders of train, val and test classes",
    looks_for="split/train.csv, train.csv, or train/ and test/ (meta-train/ and meta-test/) with different classes",
    recognise=lambda root: parts(root)[1],
    read=fewshot,
    disjoint=True,
)
