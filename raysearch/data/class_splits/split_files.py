"""Read the part of each class from a user's files, and from the shipped lists.

There are two forms. A list of classes is a CSV file with the columns `class` and `split`; lines with # are comments.
Lists of images, as in most few-shot repositories, are a folder with `train.csv`, `val.csv` and `test.csv`, or with a
folder `split` that has them, each with a column `label`. Other columns are ignored.
"""

import csv
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from raysearch.core import UserError, nearest
from raysearch.data.part_names import parse_part
from raysearch.data.shards import SPLITS

Parts = dict[str, str]  # class -> "train", "val" or "test"


def read_parts(path: Path) -> Parts:
    """Read class -> part from a list of classes, or from a folder with lists of images.

    Raises:
        UserError: no such file, a missing column or part, or a class in two parts.
    """
    return _read_image_lists(path) if path.is_dir() else parse_class_list(read_text(path), str(path))


def parse_class_list(text: str, where: str) -> Parts:
    """Parse a list of classes.

    Args:
        text: the text of the CSV file.
        where: its name in errors.

    Raises:
        UserError: a missing column, an unknown part, or a class in two parts.

    >>> parse_class_list("# source: a paper\\nclass,split\\nwren,train\\nowl,test\\n", "birds.csv")
    {'wren': 'train', 'owl': 'test'}
    """
    return _collect((row["class"], row["split"], where) for row in csv_rows(text, ("class", "split"), where))


def csv_rows(text: str, columns: tuple[str, ...], where: str) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV text, with stripped names and cells.

    Args:
        text: the text of the CSV file.
        columns: the columns that must be there, with a value in each row.
        where: the file's name in errors.

    Raises:
        UserError: a missing column or value.
    """
    lines = _rows_of(text)
    reader = csv.DictReader(lines, skipinitialspace=True, delimiter=find_delimiter(lines[0] if lines else "", columns))
    header = [name.strip() for name in reader.fieldnames or ()]
    if missing := [name for name in columns if name not in header]:
        raise UserError(f"{where} lacks the column {missing[0]!r}; it needs {' and '.join(columns)}")
    for row in reader:
        values = (cell.strip() if isinstance(cell, str) else "" for cell in row.values())
        cells = dict(zip(header, values, strict=False))
        if empty := [name for name in columns if not cells[name]]:
            raise UserError(f"{where}: a row without a {empty[0]}")
        yield cells


def header_of(text: str) -> list[str]:
    """Return the names in the first row of a CSV text, whatever its separator."""
    return [name.strip(' "') for name in re.split("[,;\t|]", next(iter(_rows_of(text)), ""))]


def find_delimiter(header: str, columns: Sequence[str]) -> str:
    """Return the separator of a table, by which its header has most of the expected columns; a comma if none has any.

    >>> find_delimiter("path;label;split", ("path", "label")), find_delimiter("a\\tlabel", ("label",))
    (';', '\\t')
    """
    columns_by_separator = {mark: {name.strip(' "') for name in header.split(mark)} for mark in ",;\t|"}
    return max(columns_by_separator, key=lambda mark: len(columns_by_separator[mark] & set(columns)))


def read_text(path: Path) -> str:
    """Return a file's text.

    Raises:
        UserError: the file cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a CSV file in UTF-8 ({error})") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def image_lists(folder: Path) -> dict[str, Path]:
    """Return part -> its list of images, `folder/<part>.csv`, for the lists that exist.

    A list of a part that is missing may have another name of it, such as `validation.csv` or `Test.csv`.
    """
    lists = {part: folder / f"{part}.csv" for part in SPLITS if (folder / f"{part}.csv").is_file()}
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() == ".csv" and (part := parse_part(path.stem)) and path.is_file():
                lists.setdefault(part, path)
    return {part: lists[part] for part in SPLITS if part in lists}


def _rows_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def _read_image_lists(folder: Path) -> Parts:
    lists = image_lists(folder) or image_lists(folder / "split")
    if missing := [part for part in SPLITS if part not in lists]:
        raise UserError(f"{folder} has no {missing[0]}.csv; a split is train.csv, val.csv and test.csv")
    return _collect(
        (row["label"], part, str(path))
        for part, path in lists.items()
        for row in csv_rows(read_text(path), ("label",), str(path))
    )


def _collect(entries: Iterator[tuple[str, str, str]]) -> Parts:
    parts: Parts = {}
    for name, text, where in entries:
        label = unicodedata.normalize("NFC", name)
        part = parse_part(text)
        if not part:
            raise UserError(f"{where}: unknown split {text!r} of class {label!r}{nearest(text, SPLITS)}")
        if (first := parts.setdefault(label, part)) != part:
            raise UserError(f"{where}: class {label!r} is in {part} and in {first}; a class has one part")
    return parts
