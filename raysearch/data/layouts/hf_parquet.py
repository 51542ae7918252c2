"""Parquet files of Hugging Face data sets: a column of images, a column of labels, class names in the schema.

The format of huggingface.co/docs/datasets: an image is a struct {bytes, path}, and a label is an integer. The schema's
metadata `huggingface` tells which columns are `Image` and `ClassLabel`, and the labels' names in order. Files are
called `train-00000-of-00002-*.parquet`, or are in a folder of their part.

Traps. Data sets name their columns differently (`img`, `fine_label`): a single Image and a single ClassLabel are used,
else the columns `image` and `label`. A label of -1 means none (test parts of competitions). An image may have a path
and no bytes. Parquet cannot be read row by row, so all images are first copied to one temporary file in the folder that
TMPDIR names; every node must see it. The file is removed with the process; if that was killed, with the next ingest
that needs such a file.
"""

import json
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from raysearch.core import UserError
from raysearch.data.layouts.layout import Layout, Listing, register_layout
from raysearch.data.layouts.readers import archives, disk
from raysearch.data.shards import Corrupt, SliceLoader, open_temporary_file

BATCH_ROWS = 64  # in memory at a time


class Columns(NamedTuple):
    """The names of a file's columns, and of its labels."""

    image: str
    label: str
    names: tuple[str, ...]


def read_parquet(src: str, test_fraction: float | None = None) -> Listing:
    """List the images of all Parquet files in SRC and its folders.

    Args:
        src: directory of the files.
        test_fraction: share of each class for testing, if no file names its part; None for the default.

    Raises:
        UserError: no Parquet file, one that cannot be read, no image or label column or several; or files with
            different names of labels, or only some of which name their part.
    """
    with disk.directory(src) as root:
        paths = archives.find_files(root, ".parquet")
        if not paths:
            raise UserError(f"SRC {src} holds no .parquet file")
        columns = {path: _find_columns(path) for path in paths}
        names = columns[paths[0]].names
        if different := [path for path in paths if columns[path].names != names]:
            raise UserError(
                f"{different[0]} and {paths[0]} have different names of labels; ingest one data set at a time"
            )
        parts = archives.parts_of_files(root, paths)
        store = _ImageStore()
        corrupt: list[Corrupt] = []
        images = [(path, image) for path in paths for image in _list_images(root, path, columns[path], store, corrupt)]
        store.flush()
        return archives.listing_from_archives(root, images, parts, names, test_fraction, corrupt)


def recognize(root: Path) -> str:
    """Recognize a Parquet file with a column of bytes and path."""
    for path in archives.find_files(root, ".parquet"):
        try:
            return f"images in column {_find_columns(path).image!r} of {path.relative_to(root)}"
        except UserError:
            continue
    return ""


class _ImageStore:
    """The bytes of many images in one file, which is removed once no image refers to it."""

    def __init__(self) -> None:
        self._file = open_temporary_file(Path(tempfile.gettempdir()), "raysearch")
        self._end = 0
        weakref.finalize(self, Path(self._file.name).unlink, missing_ok=True)

    def add(self, data: bytes, origin: Path) -> "_StoredImage":
        """Append bytes from `origin`; return their loader, which works after `flush`."""
        try:
            self._file.write(data)
        except OSError as error:
            raise UserError(
                f"cannot write to {tempfile.gettempdir()} ({error.strerror}); name another folder by TMPDIR"
            ) from error
        start = self._end
        self._end += len(data)
        return _StoredImage(self, SliceLoader(self._file.name, start, len(data), str(origin)))

    def flush(self) -> None:
        """Write buffered bytes."""
        self._file.flush()


class _StoredImage:
    """A loader that keeps its store alive. When pickled, only the slice travels."""

    def __init__(self, store: _ImageStore, loader: SliceLoader) -> None:
        self._store = store
        self._loader = loader

    def __call__(self) -> bytes:
        return self._loader()

    def stamp(self) -> str:
        """Return the size and time of the Parquet file, and the place of the image in it."""
        return self._loader.stamp()

    def __reduce__(self) -> tuple[type[SliceLoader], SliceLoader]:
        return SliceLoader, self._loader


def _find_columns(path: Path) -> Columns:
    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} cannot be read as Parquet ({type(error).__name__}); is it whole?") from error
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        kinds = {name: feature.get("_type") for name, feature in features.items() if isinstance(feature, dict)}
    except (KeyError, ValueError, TypeError, AttributeError):
        features = {}
        kinds = {}
    structs = [field.name for field in schema if pa.types.is_struct(field.type) and "bytes" in _fields(field.type)]
    image = _choose_column(path, "image", [name for name in structs if kinds.get(name, "Image") == "Image"])
    labels = [name for name, kind in kinds.items() if kind == "ClassLabel"] or [
        field.name for field in schema if pa.types.is_integer(field.type) or pa.types.is_string(field.type)
    ]
    label = _choose_column(path, "label", labels)
    return Columns(image, label, tuple(features.get(label, {}).get("names", ())))


def _fields(kind: pa.DataType) -> list[str]:
    return [kind.field(index).name for index in range(kind.num_fields)]


def _choose_column(path: Path, name: str, candidates: list[str]) -> str:
    if name in candidates:
        return name
    if len(candidates) != 1:
        problem = f"has {', '.join(candidates)}" if candidates else "has none that could be"
        raise UserError(f"{path} {problem} in place of a column {name!r}; rename one to {name!r}")
    return candidates[0]


def _list_images(
    root: Path, path: Path, columns: Columns, store: _ImageStore, corrupt: list[Corrupt]
) -> Iterator[archives.ArchivedImage]:
    archive = path.relative_to(root).as_posix()
    row = 0
    try:
        for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS, columns=[columns.image, columns.label]):
            for image, label in zip(*(batch[name].to_pylist() for name in columns[:2]), strict=True):
                source = f"{archive}/{row:08d}"  # padded, so that sources sort in the order of rows
                row += 1
                data = (image or {}).get("bytes")
                if data is None:
                    corrupt.append(Corrupt(source=source, reason="a path and no bytes" if image else "no image"))
                elif label is None or label == -1:
                    corrupt.append(Corrupt(source=source, reason="no label"))
                else:
                    yield archives.ArchivedImage(source, str(label), store.add(data, path))
    except (OSError, pa.ArrowException) as error:
        corrupt.append(Corrupt(source=archive, reason=f"it breaks off at row {row:,} ({type(error).__name__})"))


LAYOUT = register_layout(
    Layout(
        name="parquet",
        about="Parquet files of Hugging Face data sets",
        looks_for="*.parquet with a column of images (struct of bytes and path) and one of labels",
        recognize=recognize,
        read=read_parquet,
    )
)
