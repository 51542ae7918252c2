"""Few-shot data sets: each class is in one part, and the parts are lists of images or folders.

| on disk                                                    | as published by                                   |
|------------------------------------------------------------|---------------------------------------------------|
| `split/*.csv`, images in `images/<class>/`                 | HelixFormer's Dogs, CUB and NABirds; FEAT's CUB   |
| `split/*.csv`, images in `images/`                         | HelixFormer's Cars; miniImageNet of FEAT and RENet |
| `data/split/*.csv`, images in `data/images/`               | HelixFormer's Aircraft                            |
| `*.csv`, images in `images/`                               | LibFewShot                                        |
| `train/`, `val/`, `test/`, each with folders of classes    | FRN, tieredImageNet, FC100                        |
| `meta-train/`, `meta-val/`, `meta-test/`, the same         | CIFAR-FS                                          |

The lists are `train.csv`, `val.csv` and `test.csv` with the columns `filename` and `label`. Parts may have other usual
names, such as `validation.csv` or `Training/`. Other lists are ignored, and so are the folders `val_pre` and `test_pre`
of resized images. CUB-200-2011 comes in three partitions of its classes that do not agree. Only the user knows which
one SRC has; results carry a hash of it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from raysearch.core import UserError
from raysearch.data.class_splits import split_files
from raysearch.data.layouts.layout import NO_OPTIONS, Layout, ReadOptions, refuse_test_fraction, register_layout
from raysearch.data.layouts.listing import Listing, same_form
from raysearch.data.layouts.own_images import check_class_names
from raysearch.data.layouts.readers import disk
from raysearch.data.layouts.readers.columns import LABEL_NAMES
from raysearch.data.part_names import in_order, name_parts
from raysearch.data.shards import Corrupt, Sample

LISTS = (("", "split"), ("data/", "split"), ("", "."))  # root of a data set below SRC, and its lists below that
IMAGE_PATTERNS = ("images/{label}/{filename}", "images/{filename}", "{filename}", "{label}/{filename}")


def read_fewshot(src: str, test_fraction: float | None = None, options: ReadOptions = NO_OPTIONS) -> Listing:
    """List the images of a few-shot data set in any form of the table.

    Args:
        src: directory of the data set.
        test_fraction: must be None.
        options: the label column of the lists.

    Raises:
        UserError: none of the forms, a list that cannot be read, a list none of whose files exists, a class in two
            parts, or no images.
    """
    refuse_test_fraction(test_fraction, "the lists or folders of its parts")
    with disk.directory(src) as root:
        samples = list(_samples_from_folders(root))
        used = [] if samples else [path.relative_to(root).as_posix() for path in _lists(root)]
        samples = samples or list(_samples_from_lists(root, options.label_column))
    if not samples:
        raise UserError(
            f"SRC {src} holds no few-shot data set: neither split/train.csv, nor train.csv, nor class folders "
            "in train/ or meta-train/"
        )
    _check_samples(samples)
    exists = [(root / sample.source).is_file() for sample in samples]
    return Listing(
        tuple(sample for sample, is_file in zip(samples, exists, strict=True) if is_file),
        corrupt=tuple(
            Corrupt(source=sample.source, reason=f"listed in {sample.split}, and there is no such file")
            for sample, is_file in zip(samples, exists, strict=True)
            if not is_file
        ),
        used=tuple(used),
    )


def find_parts(root: Path) -> tuple[dict[str, str], str]:
    """Return class -> part and the evidence for it; both empty if a class is in two parts, or there is one part only.

    Raises:
        UserError: a list that cannot be read.
    """
    folders = _part_folders(root)
    classes = {part: list(map(same_form, disk.folders(root / folder))) for part, folder in folders.items()}
    names = [name for part_names in classes.values() for name in part_names]
    if sum(map(bool, classes.values())) > 1 and len(set(names)) == len(names):
        parts = {name: part for part, part_names in classes.items() for name in part_names}
        return parts, f"folders of different classes in {', '.join(f'{folder}/' for folder in folders.values())}"
    for base, folder in LISTS:
        lists = split_files.image_lists(root / base / folder)
        if lists:
            parts = {row["label"]: part for part, path in lists.items() for row in _read_list(path)}
            return parts, f"lists of images {', '.join(str(path.relative_to(root)) for path in lists.values())}"
    return {}, ""


def _samples_from_folders(root: Path) -> Iterator[Sample]:
    for part, folder in _part_folders(root).items():
        check_class_names(root, f"{folder}/")
        for label, sources in disk.class_folders(root, f"{folder}/").items():
            yield from (disk.file_sample(root, source, label, part) for source in sources)


def _part_folders(root: Path) -> dict[str, str]:
    """Return part -> its folder in SRC.

    Raises:
        UserError: two folders name the same part.
    """
    return in_order(name_parts(disk.folders(root)))


def _lists(root: Path) -> list[Path]:
    """Return the lists of images, of all forms."""
    lists = (split_files.image_lists(root / base / folder).values() for base, folder in LISTS)
    return list(dict.fromkeys(path for paths in lists for path in paths))


def _samples_from_lists(root: Path, label_column: str | None) -> Iterator[Sample]:
    for base, folder in LISTS:
        for part, path in split_files.image_lists(root / base / folder).items():
            rows = _read_list(path, label_column)
            pattern = _image_pattern(root, base, rows, path) if rows else ""
            for row in rows:
                source = disk.source_path(root, base + pattern.format_map(row), str(path))
                yield disk.file_sample(root, source, row["label"], part)


def _read_list(path: Path, label_column: str | None = None) -> list[dict[str, str]]:
    text = split_files.read_text(path)
    header = split_files.header_of(text)
    column = label_column or next((name for name in LABEL_NAMES if name in header), LABEL_NAMES[0])
    return [{**row, "label": row[column]} for row in split_files.csv_rows(text, ("filename", column), str(path))]


def _image_pattern(root: Path, base: str, rows: Sequence[dict[str, str]], path: Path) -> str:
    """Return the pattern of a list's image paths below SRC, by the first image that exists."""
    for row in rows:
        for pattern in IMAGE_PATTERNS:
            if (root / disk.source_path(root, base + pattern.format_map(row), str(path))).is_file():
                return pattern
    tried = [base + pattern.format_map(rows[0]) for pattern in IMAGE_PATTERNS]
    raise UserError(f"{path} lists {rows[0]['filename']}, and {root} has none of {', '.join(tried)}, nor any other")


def _check_samples(samples: list[Sample]) -> None:
    parts: dict[str, str] = {}
    sources: set[str] = set()
    for sample in samples:
        if (first := parts.setdefault(same_form(sample.label), sample.split)) != sample.split:
            raise UserError(
                f"class {sample.label!r} is in {first} and in {sample.split}, so this is not a few-shot data set; "
                "try the layout folder"
            )
        if sample.source in sources:
            raise UserError(f"{sample.source} is listed twice")
        sources.add(sample.source)


LAYOUT = register_layout(
    Layout(
        name="fewshot",
        about="lists or folders of train, val and test classes",
        looks_for="split/train.csv, train.csv, or train/ and test/ (meta-train/ and meta-test/) with different classes",
        recognize=lambda root: find_parts(root)[1],
        read=read_fewshot,
        read_with=read_fewshot,
        options=("--label-column",),
        disjoint=True,
    )
)
