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
so are the folders `val_pre` and `test_pre` of images that somebody made smaller.
"""

from collections.abc import Iterator
from pathlib import Path

from raysearch.data import split_files
from raysearch.data.layouts import class_folders, sample
from raysearch.data.manifest import SPLITS
from raysearch.data.shards import Sample
from raysearch.errors import UserError

FOLDERS = ("", "meta-")  # what stands before the name of a part
LISTS = (("", "split"), ("data/", "split"), ("", "."))  # where a data set begins below SRC, and its lists below that
IMAGES = ("images/{label}/{filename}", "images/{filename}", "{filename}", "{label}/{filename}")


def samples(src: str) -> list[Sample]:
    """The images of a few-shot data set, in whichever form of the table it lies at `src`.

    Raises UserError: none of the forms, a list that cannot be read or names a file that is not there, a class in two
    parts, no images.
    """
    root = Path(src)
    if not root.is_dir():
        raise UserError(f"SRC {src} is not a directory" if root.exists() else f"SRC {src} does not exist")
    try:
        found = list(_from_folders(root)) or list(_from_lists(root))
    except OSError as error:
        raise UserError(f"SRC {src} cannot be read: {error.strerror}") from error
    if not found:
        raise UserError(
            f"SRC {src} holds no few-shot data set: neither split/train.csv, nor train.csv, nor class folders "
            "in train/ or meta-train/"
        )
    _check(found)
    return found


def _from_folders(root: Path) -> Iterator[Sample]:
    for before in FOLDERS:
        for part in SPLITS:
            if (root / f"{before}{part}").is_dir():
                for label, sources in class_folders(root, f"{before}{part}/").items():
                    yield from (sample(root, source, label, part) for source in sources)


def _from_lists(root: Path) -> Iterator[Sample]:
    for base, folder in LISTS:
        for part, path in split_files.image_lists(root / base / folder).items():
            rows = list(split_files.rows(split_files.text_of(path), ("filename", "label"), str(path)))
            pattern = _pattern(root, base, rows[0], path) if rows else ""
            for row in rows:
                source = base + pattern.format_map(row)
                if Path(source).is_absolute():
                    raise UserError(f"{path}: {source} is absolute; paths are relative to SRC")
                if not (root / source).is_file():
                    raise UserError(f"{path} lists {row['filename']}, and there is no {source} in {root}")
                yield sample(root, source, row["label"], part)


def _pattern(root: Path, base: str, row: dict[str, str], path: Path) -> str:
    """How a list's first image lies below SRC, and so all of them."""
    places = [base + pattern.format_map(row) for pattern in IMAGES]
    for pattern, place in zip(IMAGES, places, strict=True):
        if (root / place).is_file():
            return pattern
    raise UserError(f"{path} lists {row['filename']}, and {root} has none of {', '.join(places)}")


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
