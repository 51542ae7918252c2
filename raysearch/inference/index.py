"""The searchable codes of many images, which `raysearch.retrieve` builds, stores and queries.

The file is Parquet with one row per image: `code` (the bytes of the code; bit k is bit k % 8 of byte k // 8, 1 for
+1), `path` and `label` (null without a label). Its metadata names the model by the SHA-256 of its file, because codes
of two models cannot be compared.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from raysearch.core import UserError, atomic
from raysearch.data import preprocessing, reading_account, shards
from raysearch.inference.hasher import Hasher
from raysearch.models.hashing import neighbours
from raysearch.models.hashing.packed import Words, pack

FORMAT = 1  # raised when an older raysearch could not read the file, or this one no longer reads older files
METADATA_KEY = b"raysearch.index"
MAKE_ONE = "make it again with: python -m raysearch.retrieve index MODEL FOLDER OUT"


class About(BaseModel):
    """The metadata of an index."""

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT
    model: str  # SHA-256 of the model file
    bits: int = Field(ge=1)
    root: str  # folder of the images
    images: str = "1"  # version of the rules by which images were opened; see `raysearch.data.shards.manifest`
    corrupt: tuple[shards.Corrupt, ...] = ()  # images that were left out
    others: int = 0  # files in the folder without an image extension
    account: reading_account.ReadingAccount | None = None  # of everything in the folder; None in older indexes


class Match(NamedTuple):
    """An indexed image near a query."""

    distance: int  # number of bits that differ
    path: str  # relative to the index's root
    label: str | None
    row: int


@dataclass(frozen=True, eq=False)
class Index:
    """Packed codes with paths and labels, one row per image.

    Args:
        words: (n, W) packed codes, see `raysearch.models.hashing.packed`.
        paths: paths of the images, relative to the root.
        labels: labels of the images; None for an image without one.
        about: the metadata.
        hasher: the model, needed by `query`.
        engine: "numpy", "faiss", or None to choose by the number of codes.
    """

    words: Words
    paths: Sequence[str]
    labels: Sequence[str | None]
    about: About
    hasher: Hasher | None = field(default=None, repr=False)
    engine: neighbours.Engine | None = None

    def __len__(self) -> int:
        return len(self.words)

    def search(self, codes: Any, k: int = 10) -> neighbours.Nearest:
        """Return the k nearest images of each query.

        Args:
            codes: (m, c) in {-1, +1}, computed by the index's model; a tensor or an array of any dtype.
            k: number of neighbors per query. A smaller index returns all its images.

        Returns:
            Hamming distances (m, k) int32 and rows (m, k) int64, nearest first, equal distances by row.

        Raises:
            ValueError: codes of another length, or k below 1.
        """
        if k < 1:
            raise UserError(f"k must be at least 1, not {k}")
        words = pack(codes)
        if codes.shape[1] != self.about.bits:
            raise ValueError(f"this index holds codes of {self.about.bits} bits, not of {codes.shape[1]}")
        return self._search.nearest(words, min(k, len(self)))

    def query(self, picture: preprocessing.ImageLike, k: int = 10) -> list[Match]:
        """Return the k nearest images of a Pillow image or of the image at a path.

        Raises:
            ValueError: the index was loaded without its model.
            UserError: an error of `Hasher.encode`.
        """
        if self.hasher is None:
            raise ValueError("this index has no model; Index.load(path, hasher) gives it one")
        distances, rows = self.search(self.hasher.encode([picture]), k)
        return self.matches(distances[0], rows[0])

    def matches(self, distances: np.ndarray, rows: np.ndarray) -> list[Match]:
        """Return the matches that one row of `search`'s result stands for."""
        pairs = zip(distances.tolist(), rows.tolist(), strict=True)
        return [Match(distance, self.paths[row], self.labels[row], row) for distance, row in pairs]

    @cached_property
    def _search(self) -> neighbours.Search:
        return neighbours.search(self.words, self.engine)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index, whole or not at all.

        Raises:
            UserError: the file cannot be written.
        """
        width = -(-self.about.bits // 8)
        code_bytes = np.ascontiguousarray(self.words, dtype="<u8").view(np.uint8)[:, :width]
        codes = pa.Array.from_buffers(pa.binary(width), len(self), [None, pa.py_buffer(code_bytes.tobytes())])
        columns = [codes, pa.array(self.paths, pa.string()), pa.array(self.labels, pa.string())]
        table = pa.table(columns, names=["code", "path", "label"])
        table = table.replace_schema_metadata({METADATA_KEY: self.about.model_dump_json()})
        atomic.replace_file(Path(path), lambda temporary: pq.write_table(table, temporary, write_page_checksum=True))

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], hasher: Hasher | None = None, engine: neighbours.Engine | None = None
    ) -> "Index":
        """Read an index.

        Args:
            path: path of the file.
            hasher: the model that the index was made by, needed by `query`.
            engine: see the class.

        Raises:
            UserError: the file is missing, damaged, not an index, or an index of another format or model.
        """
        if not Path(path).is_file():
            raise UserError(f"no index {path}; {MAKE_ONE}")
        about = read_about(path)
        if hasher is not None and about.model != hasher.sha256:
            raise UserError(
                f"index {path} was made by another model ({about.model[:12]}, this one is {hasher.sha256[:12]}); "
                "index the folder again, or use that model"
            )
        try:
            table = pq.read_table(path, partitioning=None, page_checksum_verification=True)
            words = _words(table["code"], -(-about.bits // 8))
            if [table.schema.field(name).type for name in ("path", "label")] != [pa.string(), pa.string()]:
                raise ValueError("paths and labels are texts")
            paths = table["path"].to_pylist()
            labels = table["label"].to_pylist()
        except (OSError, pa.ArrowException, KeyError, ValueError) as error:
            raise UserError(f"index {path} is damaged ({type(error).__name__}); {MAKE_ONE}") from None
        return cls(words, paths, labels, about, hasher, engine)


def read_about(path: str | os.PathLike[str]) -> About:
    """Return the metadata of the index at a path.

    Raises:
        UserError: the file is missing, damaged, not an index, or of another format.
    """
    try:
        metadata = pq.read_schema(path).metadata or {}
        about = json.loads(metadata[METADATA_KEY])
        if (written := int(about["format"])) != FORMAT:
            raise UserError(f"{path} has index format {written}; this raysearch reads format {FORMAT}; {MAKE_ONE}")
        return About.model_validate(about)
    except UserError:
        raise
    except (
        OSError,
        pa.ArrowException,
        KeyError,
        TypeError,
        ValueError,
        ArithmeticError,
        RecursionError,
    ) as error:  # pydantic and json raise ValueError
        raise UserError(f"{path} is not an index, or is damaged ({type(error).__name__}); {MAKE_ONE}") from None


def _words(column: pa.ChunkedArray, width: int) -> Words:
    """Return a column of codes, `width` bytes each, as words (n, W).

    Raises:
        ValueError: the column holds something else.
    """
    codes = column.combine_chunks()
    if codes.type != pa.binary(width) or codes.null_count or not len(codes):
        raise ValueError(f"{len(codes)} codes of {codes.type}")
    values = np.frombuffer(codes.buffers()[1], np.uint8, len(codes) * width, codes.offset * width)
    filled = np.zeros((len(codes), 8 * -(-width // 8)), np.uint8)
    filled[:, :width] = values.reshape(-1, width)
    return filled.view("<u8").astype(np.uint64, copy=False)
