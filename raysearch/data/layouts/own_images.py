"""A folder of the user's own images: one folder per class, or a `split.csv` that lists everything.

With `SRC/split.csv` (columns path, label, split) images may be anywhere below SRC. Otherwise SRC contains one folder
per class, or train/, val/ and test/ with one folder per class in each. Parts may have other usual names, such as
`Training/` or `val_images/`. Plain class folders are split here, within each class by hash.

Traps. A class may be truly named "test": --no-parts makes every folder a class. Folders of masks or annotations are not
classes.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from raysearch.core import UserError, nearest
from raysearch.data import part_names, reading_account, shards
from raysearch.data.class_splits import split_files
from raysearch.data.layouts.layout import NO_OPTIONS, Layout, ReadOptions, refuse_test_fraction, register_layout
from raysearch.data.layouts.listing import Listing, same_form
from raysearch.data.layouts.readers import disk
from raysearch.data.layouts.readers.columns import LABEL_NAMES, choose_column

COLUMNS = ("path", "label", "split")
UNLISTED = "an image that split.csv does not list"


def read_folder(src: str, test_fraction: float | None = None, options: ReadOptions = NO_OPTIONS) -> Listing:
    """List a folder of images; files that split.csv lists and that do not exist are named in the listing.

    Args:
        src: directory of the images.
        test_fraction: share of each class for testing, of plain class folders; None for the default.
        options: the label column of split.csv, and whether folders named as parts are classes.

    Raises:
        UserError: no SRC, no images, a wrong split.csv (with the line), folders that may be parts or classes, folders
            of masks or annotations, or a class too small to split.
    """
    with disk.directory(src) as root:
        if (root / "split.csv").is_file():
            refuse_test_fraction(test_fraction, "split.csv")
            return _read_split_csv(root, options.label_column)
        folders = disk.folders(root)
        if not folders:
            problem = "images but no class folders" if disk.images(root) else "neither class folders nor a split.csv"
            raise UserError(f"SRC {src} holds {problem}; put images in SRC/<class>/")
        if options.no_parts:
            return _split_by_hash(root, disk.class_folders(root, ""), test_fraction)
        parts = part_names.name_parts(folders)
        if not parts:
            _refuse_nested(root, folders)
            check_class_names(root, "")
            return _split_by_hash(root, disk.class_folders(root, ""), test_fraction)
        refuse_test_fraction(test_fraction, f"{next(iter(parts))}/")
        return _read_parts(root, parts)


def check_class_names(root: Path, prefix: str) -> None:
    """Check that folders are classes, by their names.

    Args:
        root: SRC.
        prefix: the folder below SRC, with a slash, whose folders should be classes; "" for SRC itself.

    Raises:
        UserError: some are kinds of files, such as masks, or all in a part are parts again.
    """
    folders = disk.folders(root / prefix)
    if prefix and folders and all(part_names.parse_part(name) for name in folders):
        raise UserError(
            f"SRC {root} holds {prefix}{folders[0]}/, a part in a part; put images into SRC/{prefix}<class>/, or use "
            f"{root / prefix} as SRC"
        )
    kinds = [name for name in part_names.kinds_of_files(folders) if _holds_images(root / prefix / name)]
    if not kinds or (len(kinds) < len(folders) and not any(disk.images(root / prefix / name) for name in kinds)):
        return
    listed = " and ".join(f"{prefix}{name}/" for name in kinds)
    raise UserError(
        f"SRC {root} holds {listed}, by name {'a kind' if len(kinds) == 1 else 'kinds'} of files and no class; put "
        f"images into SRC/{prefix}<class>/, or list them in split.csv. With --no-parts every folder in SRC is a class"
    )


def recognize_parts(root: Path) -> str:
    """Recognize split.csv, or parts that share classes."""
    if (root / "split.csv").is_file():
        return "split.csv"
    try:
        parts = part_names.in_order(part_names.name_parts(disk.folders(root)))
    except UserError as error:  # which reading them will raise
        return str(error)
    classes = [names for folder in parts.values() if (names := set(map(same_form, disk.folders(root / folder))))]
    if classes and (len(classes) == 1 or sum(map(len, classes)) > len(set().union(*classes))):
        return f"class folders in {', '.join(f'{folder}/' for folder in parts.values())}" + (
            ", which share classes" if len(classes) > 1 else ""
        )
    return ""


def recognize_class_folders(root: Path) -> str:
    """Recognize class folders with images, directly below SRC."""
    folders = [name for name in disk.folders(root) if disk.images(root / name)]
    if any((root / name / "split.csv").is_file() for name in folders):
        return ""
    return f"{len(folders)} folders of images and no lists" if folders else ""


def _read_parts(root: Path, parts: Mapping[str, str]) -> Listing:
    """List parts with class folders, and note the folders that are none."""
    others = [name for name in disk.folders(root) if name not in parts and _holds_images(root / name)]
    annotations = part_names.kinds_of_files(others)
    if classes := [name for name in others if name not in annotations]:
        raise UserError(
            f"SRC {root} holds {next(iter(parts))}/ beside {classes[0]}/; keep either class folders or train/, val/ "
            "and test/. With --no-parts every folder in SRC is a class"
        )
    samples: list[shards.Sample] = []
    unused = [
        reading_account.Unused("folder", name, "by its name a kind of files, and no part") for name in annotations
    ]
    for part, folder in part_names.in_order(parts).items():
        check_class_names(root, f"{folder}/")
        for label, sources in disk.class_folders(root, f"{folder}/").items():
            samples += [disk.file_sample(root, source, label, part) for source in sources]
        reason = "an image of a part, without a class folder"
        unused += [reading_account.Unused("file", f"{folder}/{image}", reason) for image in disk.images(root / folder)]
    if not samples:
        first = next(iter(part_names.in_order(parts).values()))
        loose = [folder for folder in part_names.in_order(parts).values() if disk.images(root / folder)]
        problem = f"images directly in {loose[0]}/, a part, and no class folders there" if loose else "no images"
        raise UserError(
            f"SRC {root} holds {problem}; put images into {first}/<class>/, or list them in split.csv"
            + (". With --no-parts every folder in SRC is a class" if loose else "")
        )
    return Listing(tuple(samples), unused=tuple(unused))


def _holds_images(folder: Path) -> bool:
    return bool(disk.images(folder)) or any(_holds_images(folder / name) for name in disk.folders(folder))


def _refuse_nested(root: Path, folders: Sequence[str]) -> None:
    """Raise UserError if the data set begins in a folder of SRC."""
    if any(disk.images(root / name) for name in folders):
        return
    inner = _inner_source(root)
    if inner is not None:
        folder = root / inner.relative_to(root).parts[0]
        raise UserError(f"class folder {folder} holds the folder {disk.folders(folder)[0]}; use {inner} as SRC")


def _inner_source(root: Path, levels: int = 3) -> Path | None:
    """Return the folder below SRC in which parts or class folders begin, if there is only one."""
    folders = []
    for name in disk.folders(root):
        folder = root / name
        if recognize_parts(folder) or recognize_class_folders(folder):
            folders.append(folder)
        elif levels > 1 and (inner := _inner_source(folder, levels - 1)):
            folders.append(inner)
    return folders[0] if len(folders) == 1 else None


def _read_split_csv(root: Path, label_column: str | None) -> Listing:
    path = root / "split.csv"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            delimiter = split_files.find_delimiter(file.readline().strip(), COLUMNS)
            file.seek(0)
            reader = csv.DictReader(file, delimiter=delimiter)
            columns = _find_columns(path, reader.fieldnames or (), label_column)
            rows = [(reader.line_num, *_cells(row, columns)) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a CSV file in UTF-8 ({error})") from error
    if not rows:
        raise UserError(f"{path} lists no images")
    lines: dict[str, int] = {}
    samples: list[shards.Sample] = []
    corrupt: list[shards.Corrupt] = []
    for line, listed, label, text in rows:
        where = f"{path}, line {line}"
        if not listed or not label:
            raise UserError(f"{where}: path or label is empty")
        split = part_names.parse_part(text)
        if not split:
            raise UserError(f"{where}: unknown split {text!r}{nearest(text, shards.SPLITS)}")
        source = disk.source_path(root, listed, where)
        if (first := lines.setdefault(source, line)) != line:
            raise UserError(f"{where}: {source} is listed already on line {first}")
        if (root / source).is_file():
            samples.append(disk.file_sample(root, source, label, split))
        else:
            corrupt.append(shards.Corrupt(source=source, reason=f"split.csv, line {line}: no such file in SRC"))
    notes = () if columns[1] == "label" else (f"labels: column {columns[1]!r} of split.csv",)
    return Listing(tuple(samples), corrupt=tuple(corrupt), used=("split.csv",), rest=UNLISTED, notes=notes)


def _find_columns(path: Path, header: Sequence[str], label_column: str | None) -> tuple[str, str, str]:
    """Return the columns of path, label and split, as the header spells them."""
    names = {name.strip(): name for name in header if name is not None}
    missing = [name for name in ("path", "split") if name not in names]
    if missing:
        raise UserError(f"{path} lacks the column {missing[0]!r}; it needs {', '.join(COLUMNS)}")
    others = {name: "" for name in names if name not in ("path", "split")}
    label = choose_column(str(path), "--label-column", label_column, others, (), LABEL_NAMES)
    return names["path"], names[label], names["split"]


def _cells(row: Mapping[str, str | None], columns: Sequence[str]) -> tuple[str, str, str]:
    path, label, split = ((row[name] or "").strip() for name in columns)
    return path, label, split


def _split_by_hash(root: Path, classes: dict[str, list[str]], test_fraction: float | None) -> Listing:
    if not any(classes.values()):
        raise UserError(f"SRC {root} holds no images in its class folders")
    test_sources = shards.choose_test_sources(classes, test_fraction, root)

    def _samples() -> Iterator[shards.Sample]:
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
        read_with=read_folder,
        options=("--label-column", "--no-parts"),
        recognize_plain=recognize_class_folders,
    )
)
