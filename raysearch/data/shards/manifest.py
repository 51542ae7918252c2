"""The manifest of a directory of shards, and cheap checks that the directory is complete.

`manifest.json` appears together with the shards, in one rename; in a store it comes last. Reading it checks every
shard's size, and on a disk its footer, so that a truncated copy is noticed before the first batch. `verify_shards`
reads the bytes as well.
"""

import json
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from raysearch.core import Unreachable, UserError, open_below
from raysearch.data.reading_account import ReadingAccount
from raysearch.data.shards.duplicates import Duplicates
from raysearch.storage import Location, LocationLike, filesystems

FORMAT = 2  # raised when older readers cannot read the directory; 2: the content hash covers the rows' digests
IMAGES = "images"  # a key of Manifest.versions
IMAGES_VERSION = "2"  # of the rules by which images are opened; 2: photographs are upright, samples have a stated range
MANIFEST = "manifest.json"
SPLITS = ("train", "val", "test")
UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    ArithmeticError,
    RecursionError,
    MemoryError,
)  # pydantic's are ValueErrors
INGEST_AGAIN = "ingest the data set again"
HOW_TO_INGEST = "make one with: python -m raysearch.ingest LAYOUT SRC OUT"


class FrozenModel(BaseModel):
    """A pydantic model whose fields do not change."""

    model_config = ConfigDict(frozen=True)


class Corrupt(FrozenModel):
    """An image that could not be decoded and was left out."""

    source: str
    reason: str


class Shard(FrozenModel):
    """One Parquet file; `sha256` covers all of its `bytes`."""

    file: Annotated[str, Field(pattern=r"^[^/\\\x00]+$", max_length=255)]  # beside the manifest, and nowhere else
    rows: int
    bytes: int
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]  # names the copy in the cache


class Manifest(FrozenModel):
    """The content of a directory of shards; `content_hash` covers rows and class names, not how they are sharded."""

    format: int = FORMAT
    name: str
    layout: str
    classes: tuple[str, ...]
    counts: dict[str, tuple[int, ...]]  # split -> images of each class
    images: int
    width: tuple[int, int]  # smallest and largest, pixels
    height: tuple[int, int]
    corrupt: tuple[Corrupt, ...] = ()
    warnings: tuple[str, ...] = ()  # about labels, which the reader of results has to know
    limits: tuple[str, ...] = ()  # what studies have to expect of its parts and classes
    duplicates: Duplicates | None = None  # None in older data sets, where images were not compared
    account: ReadingAccount | None = None  # of everything in SRC; None in older data sets
    steps: tuple[str, ...] = ()  # changes made to images and parts by the ingest, such as "boxes", "side 84", "val 0.1"
    content_hash: str
    versions: dict[str, str]
    shards: tuple[Shard, ...]

    @property
    def age_warning(self) -> str | None:
        """What a user of this data set should know before training on it, in one line, or None."""
        if IMAGES in self.versions or self.layout == "synthetic":
            return None
        return (
            "an earlier raysearch wrote this data set, and left photographs with an orientation on their side; "
            f"python -m raysearch.ingest verify finds them; {INGEST_AGAIN} to turn them"
        )


NO_DATA = Manifest(
    name="loaded by the task",
    layout="none",
    classes=(),
    counts={},
    images=0,
    width=(0, 0),
    height=(0, 0),
    content_hash="none",
    versions={IMAGES: IMAGES_VERSION},
    shards=(),
)  # of a run whose task loads its own data


def read_manifest(directory: LocationLike) -> Manifest:
    """Return the manifest, after a cheap check of every shard: its size, and on a disk its footer.

    Args:
        directory: a directory of shards; a path or a URI.

    Raises:
        UserError: no directory, no data set in it, another format, a shard that is missing or truncated, or a store
            that does not answer.
    """
    root = Location.parse(directory)
    sizes = _file_sizes(root)
    if MANIFEST not in sizes:
        raise UserError(f"{root} has no {MANIFEST}, so it is not a data set; {HOW_TO_INGEST}")
    try:
        fields = json.loads(_read_text(root))
        version = int(fields.get("format", FORMAT)) if isinstance(fields, dict) else FORMAT
        manifest = Manifest.model_validate(fields) if version == FORMAT else None
    except UserError:
        raise
    except UNREADABLE as error:
        raise UserError(f"{root / MANIFEST} cannot be read ({type(error).__name__}); {HOW_TO_INGEST}") from error
    if manifest is None:
        age, cure = ("a newer", "upgrade raysearch") if version > FORMAT else ("an older", INGEST_AGAIN)
        formats = f"format {version}, this one reads {FORMAT}"
        raise UserError(f"{root} was written by {age} raysearch ({formats}); {cure}")
    for shard in manifest.shards:
        _check_shard(root / shard.file, sizes.get(shard.file), shard)
    return manifest


def unreadable_shard(file: Location, error: Exception) -> UserError:
    """Return the error to raise for a shard that could not be read: damage, unless the store failed."""
    if isinstance(error, FileNotFoundError):
        return UserError(f"shard {file} is missing; {INGEST_AGAIN}")
    if file.local is None and (fault := filesystems.known_fault(error)):
        return Unreachable(f"cannot reach '{file}': {fault}")
    return UserError(f"shard {file} cannot be read ({type(error).__name__}); {INGEST_AGAIN}")


def shard_paths(directory: LocationLike) -> list[str]:
    """Return the shards' paths, or URIs, in canonical order.

    Raises:
        UserError: as `read_manifest`.
    """
    root = Location.parse(directory)
    return [str(root / shard.file) for shard in read_manifest(root).shards]


def _file_sizes(root: Location) -> dict[str, int]:
    """Return the sizes of the files by one listing, so that a store gets one request and not one per shard."""
    try:
        return root.listing()
    except FileNotFoundError:
        raise UserError(f"no data set at {root}; {HOW_TO_INGEST}") from None
    except NotADirectoryError:
        raise UserError(f"{root} is not a directory of shards; {HOW_TO_INGEST}") from None
    except OSError as error:
        raise UserError(f"{root} cannot be read ({type(error).__name__}); {HOW_TO_INGEST}") from error


def _read_text(root: Location) -> bytes:
    path = root.local
    if path is None:
        return (root / MANIFEST).read()
    with open_below(path, MANIFEST) as file:
        return file.read()


def _check_shard(file: Location, size: int | None, shard: Shard) -> None:
    if size is None:
        raise UserError(f"shard {file} is missing; {INGEST_AGAIN}")
    if size != shard.bytes:
        raise UserError(f"shard {file} has {size:,} bytes where its manifest says {shard.bytes:,}; {INGEST_AGAIN}")
    path = file.local
    if path is None:
        return  # a store shows no partial file, and each footer would cost a request
    try:
        with open_below(path.parent, path.name) as content:
            rows = pq.read_metadata(content).num_rows
    except (OSError, pa.ArrowException) as error:
        raise unreadable_shard(file, error) from error
    if rows != shard.rows:
        raise UserError(f"shard {file} has {rows:,} rows where its manifest says {shard.rows:,}; {INGEST_AGAIN}")
