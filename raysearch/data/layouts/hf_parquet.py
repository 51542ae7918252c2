"""Parquet files of Hugging Face data sets: a column of images, a column of labels, class names in the schema.

The format of huggingface.co/docs/datasets: an image is a struct {bytes, path}, and a label is an integer. The schema's
metadata `huggingface` tells which columns are `Image` and `ClassLabel`, and the labels' names in order. Files are
called `train-00000-of-00002-*.parquet`, or are in a folder of their part.

A column is a label by its metadata ClassLabel, or by its name (`label`, `class`, ...). Any other column may be a
caption, so the user names it by --label-column; the same holds for images. A label may be of any type with single
values.

Traps. Data sets name their columns differently (`img`, `fine_label`). A number of -1 means no label (test parts of
competitions). An image may have a path and no bytes. Parquet cannot be read row by row, so all images are first copied
to one temporary file in the folder that TMPDIR names; every node must see it. The file is removed with the process; if
that was killed, with the next ingest that needs such a file.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from raysearch.core import UserError
from raysearch.data.layouts.layout import NO_OPTIONS, Layout, ReadOptions, register_layout
from raysearch.data.layouts.listing import Listing
from raysearch.data.layouts.readers import archives, disk
from raysearch.data.layouts.readers.columns import IMAGE_NAMES, LABEL_NAMES, choose_column, label_text
from raysearch.data.layouts.readers.temporary_images import TemporaryImages
from raysearch.data.reading_account import Unused
from raysearch.data.shards import Corrupt

BATCH_ROWS = 64  # in memory at a time
BREAKS = (OSError, ValueError, OverflowError, MemoryError, pa.ArrowException)  # a damaged name is a UnicodeDecodeError


class Columns(NamedTuple):
    """The names of a file's columns, and of its labels."""

    image: str
    label: str
    names: tuple[str, ...]


def read_parquet(src: str, test_fraction: float | None = None, options: ReadOptions = NO_OPTIONS) -> Listing:
    """List the images of all Parquet files in SRC and its folders.

    Args:
        src: directory of the files.
        test_fraction: share of each class for testing, if no file names its part; None for the default.
        options: the columns that the user named.

    Raises:
        UserError: no Parquet file, one that cannot be read, no image or label column or several; or files with
            different names of labels, or only some of which name their part.
    """
    with disk.directory(src) as root:
        paths = archives.find_files(root, ".parquet")
        if not paths:
            raise UserError(f"SRC {src} holds no .parquet file")
        columns = {path: _find_columns(path, options) for path in paths}
        names = columns[paths[0]].names
        if different := [path for path in paths if columns[path].names != names]:
            raise UserError(
                f"{different[0]} and {paths[0]} have different names of labels; ingest one data set at a time"
            )
        parts = archives.parts_of_files(root, paths)
        store = TemporaryImages()
        corrupt: list[Corrupt] = []
        lost: list[Unused] = []
        images = [
            (path, image) for path in paths for image in _list_images(root, path, columns[path], store, corrupt, lost)
        ]
        store.flush()
        listing = archives.listing_from_archives(root, images, parts, names, test_fraction, corrupt, first=0)
        chosen = dict.fromkeys(
            f"columns: image {column_names.image!r}, label {column_names.label!r}"
            + (f" with {len(column_names.names):,} class names" if column_names.names else "")
            for column_names in columns.values()
        )
        used = tuple(path.relative_to(root).as_posix() for path in paths)
        return replace(listing, used=used, unused=tuple(lost), notes=(*chosen, *listing.notes))


def recognize(root: Path) -> str:
    """Recognize a Parquet file with a column of images, whether or not it is plain which column has the labels."""
    for path in archives.find_files(root, ".parquet"):
        try:
            columns = _image_columns(*_schema_and_features(path))
        except UserError:
            continue
        if columns:
            return f"images in column {next(iter(columns))!r} of {path.relative_to(root)}"
    return ""


def _schema_and_features(path: Path) -> tuple[pa.Schema, Mapping[str, Any]]:
    """Return the columns, and the features of `datasets`, which are empty in files of others."""
    try:
        schema = pq.read_schema(path)
    except BREAKS as error:
        raise UserError(f"{path} cannot be read as Parquet ({type(error).__name__}); is it whole?") from error
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return schema, {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return schema, {}


def _image_columns(schema: pa.Schema, features: Mapping[str, Any]) -> dict[str, str]:
    """Return the columns that may hold images: structs with bytes, and bytes in a column with the name of images."""
    kinds = {name: feature.get("_type", "Image") for name, feature in features.items()}
    columns = {}
    for field in schema:
        is_struct = pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0
        is_bytes = _is_bytes(field.type) and (kinds.get(field.name) == "Image" or field.name.lower() in IMAGE_NAMES)
        if (is_struct or is_bytes) and kinds.get(field.name, "Image") == "Image":
            columns[field.name] = ""
    return columns


def _find_columns(path: Path, options: ReadOptions) -> Columns:
    schema, features = _schema_and_features(path)
    images = _image_columns(schema, features)
    if options.image_column is not None:
        images |= {field.name: str(field.type) for field in schema if _is_bytes(field.type)}
    only = list(images) if len(images) == 1 else []
    image = choose_column(str(path), "--image-column", options.image_column, images, only, IMAGE_NAMES)
    scalars = {
        field.name: _short_type(field.type)
        for field in schema
        if field.name not in images and not pa.types.is_nested(field.type)
    }
    certain = [name for name in scalars if features.get(name, {}).get("_type") == "ClassLabel"]
    label = choose_column(str(path), "--label-column", options.label_column, scalars, certain, LABEL_NAMES)
    names = features.get(label, {}).get("names") or ()
    return Columns(image, label, tuple(map(str, names)))


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def _short_type(kind: pa.DataType) -> str:
    return "dictionary" if pa.types.is_dictionary(kind) else str(kind)


def _list_images(
    root: Path, path: Path, columns: Columns, store: TemporaryImages, corrupt: list[Corrupt], lost: list[Unused]
) -> Iterator[archives.ArchivedImage]:
    archive = path.relative_to(root).as_posix()
    row = 0
    total = 0
    try:
        file = pq.ParquetFile(path)
        total = file.metadata.num_rows
        for batch in file.iter_batches(BATCH_ROWS, columns=[columns.image, columns.label]):
            for image, label in zip(*(batch[name].to_pylist() for name in columns[:2]), strict=True):
                source = f"{archive}/{row:08d}"  # padded, so that sources sort in the order of rows
                row += 1
                data = image if isinstance(image, bytes) else (image or {}).get("bytes")
                text = label_text(int(label) if isinstance(label, bool) and columns.names else label)
                if data is None:
                    corrupt.append(Corrupt(source=source, reason="a path and no bytes" if image else "no image"))
                elif text is None or (text == "-1" and not isinstance(label, str)):
                    corrupt.append(Corrupt(source=source, reason="no label"))
                else:
                    yield archives.ArchivedImage(source, text, store.add(data, path))
    except BREAKS as error:
        corrupt.append(Corrupt(source=archive, reason=f"it breaks off at row {row:,} ({type(error).__name__})"))
        lost += [Unused("row", f"{archive}/{number:08d}", "a row behind a damage") for number in range(row, total)]


LAYOUT = register_layout(
    Layout(
        name="parquet",
        about="Parquet files of Hugging Face data sets",
        looks_for="*.parquet with a column of images (struct of bytes and path) and one of labels",
        options=("--label-column", "--image-column"),
        recognize=recognize,
        read=read_parquet,
        read_with=read_parquet,
    )
)
