"""Parquet files of Hugging Face data sets: a column of images, a column of labels, class names in the schema.

The format of huggingface.co/docs/datasets: an image is a struct {bytes, path}, a label an integer, and the schema's
metadata `huggingface` says which columns are `Image` and `ClassLabel`, and the labels' names in order. Files are called
`train-00000-of-00002-*.parquet`, or lie in a folder of their part.

Traps. Data sets call their columns differently (`img`, `fine_label`): an only Image and an only ClassLabel are taken,
else those called `image` and `label`. A label of -1 means none (test parts of competitions). An image may have a path
and no bytes. Parquet cannot be read row by row, so images go to one temporary file first, as large as they are
together, in the folder that TMPDIR names; every node has to see that. It goes with the process, or, where that was
killed, with the next that needs one.
"""

import json
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from raysearch.core.errors import UserError
from raysearch.data import shards
from raysearch.data.layouts.layout import Layout
from raysearch.data.layouts.listing import Listing
from raysearch.data.layouts.readers import archives, disk
from raysearch.data.shards import Corrupt, SliceLoader

BATCH = 64  # rows in memory at a time


class Columns(NamedTuple):
    """Which columns of a file are which, and the names of the labels."""

    image: str
    label: str
    names: tuple[str, ...]


def read(src: str, test_fraction: float | None = None) -> Listing:
    """The images of all Parquet files in SRC and its folders.

    Raises UserError: no Parquet file, one that cannot be read, no image or label column or several, files whose names
    of the labels differ or of which only some say their part.
    """
    with disk.directory(src) as root:
        paths = archives.files(root, ".parquet")
        if not paths:
            raise UserError(f"SRC {src} holds no .parquet file")
        columns = {path: _columns(path) for path in paths}
        names = columns[paths[0]].names
        if other := [path for path in paths if columns[path].names != names]:
            raise UserError(f"{other[0]} names its labels otherwise than {paths[0]}; ingest one data set at a time")
        said, store = archives.parts(root, paths), _Store()
        corrupt: list[Corrupt] = []
        images = [(path, image) for path in paths for image in _images(root, path, columns[path], store, corrupt)]
        store.flush()
        return archives.listing(root, images, said, names, test_fraction, corrupt)


def recognise(root: Path) -> str:
    """A Parquet file with a struct of bytes and path."""
    for path in archives.files(root, ".parquet"):
        try:
            return f"images in column {_columns(path).image!r} of {path.relative_to(root)}"
        except UserError:
            continue
    return ""


class _Store:
    """Bytes of many images in one file, which is removed with the last image that is in it."""

    def __init__(self) -> None:
        self._file = shards.open_temporary_file(Path(tempfile.gettempdir()), "raysearch")
        self._end = 0
        weakref.finalize(self, Path(self._file.name).unlink, missing_ok=True)

    def add(self, data: bytes, origin: Path) -> "_Stored":
        """Keep bytes of `origin`; what is returned gives them back, once `flush` was called."""
        try:
            self._file.write(data)
        except OSError as error:
            raise UserError(
                f"cannot write to {tempfile.gettempdir()} ({error.strerror}); name a folder by TMPDIR"
            ) from error
        start, self._end = self._end, self._end + len(data)
        return _Stored(self, SliceLoader(self._file.name, start, len(data), str(origin)))

    def flush(self) -> None:
        self._file.flush()


class _Stored:
    """A loader that keeps its store; to other processes only the slice goes."""

    def __init__(self, store: _Store, part: SliceLoader) -> None:
        self._store, self._slice = store, part

    def __call__(self) -> bytes:
        return self._slice()

    def stamp(self) -> str:
        return self._slice.stamp()

    def __reduce__(self) -> tuple[type[SliceLoader], SliceLoader]:
        return SliceLoader, self._slice


def _columns(path: Path) -> Columns:
    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} cannot be read as Parquet ({type(error).__name__}); is it whole?") from error
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        kinds = {name: feature.get("_type") for name, feature in features.items() if isinstance(feature, dict)}
    except (KeyError, ValueError, TypeError, AttributeError):
        features, kinds = {}, {}
    structs = [field.name for field in schema if pa.types.is_struct(field.type) and "bytes" in _fields(field.type)]
    image = _only(path, "image", [name for name in structs if kinds.get(name, "Image") == "Image"])
    labels = [name for name, kind in kinds.items() if kind == "ClassLabel"] or [
        field.name for field in schema if pa.types.is_integer(field.type) or pa.types.is_string(field.type)
    ]
    label = _only(path, "label", labels)
    return Columns(image, label, tuple(features.get(label, {}).get("names", ())))


def _fields(kind: pa.DataType) -> list[str]:
    return [kind.field(place).name for place in range(kind.num_fields)]


def _only(path: Path, name: str, found: list[str]) -> str:
    if name in found:
        return name
    if len(found) != 1:
        there = f"has {', '.join(found)}" if found else "has none that could be"
        raise UserError(f"{path} {there} in place of a column {name!r}; rename one to {name!r}")
    return found[0]


def _images(
    root: Path, path: Path, columns: Columns, store: _Store, corrupt: list[Corrupt]
) -> Iterator[archives.Image]:
    where, row = path.relative_to(root).as_posix(), 0
    try:
        for batch in pq.ParquetFile(path).iter_batches(BATCH, columns=[columns.image, columns.label]):
            for image, label in zip(*(batch[name].to_pylist() for name in columns[:2]), strict=True):
                source = f"{where}/{row:08d}"  # padded, so that the order of sources is that of rows
                row += 1
                data = (image or {}).get("bytes")
                if data is None:
                    corrupt.append(Corrupt(source=source, reason="a path and no bytes" if image else "no image"))
                elif label is None or label == -1:
                    corrupt.append(Corrupt(source=source, reason="no label"))
                else:
                    yield archives.Image(source, str(label), store.add(data, path))
    except (OSError, pa.ArrowException) as error:
        corrupt.append(Corrupt(source=where, reason=f"it breaks off at row {row:,} ({type(error).__name__})"))


LAYOUT = Layout(
    about="Parquet files of Hugging Face data sets",
    looks_for="*.parquet with a column of images (struct of bytes and path) and one of labels",
    recognise=recognise,
    read=read,
)
