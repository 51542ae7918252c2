"""What a directory of shards says of itself, and the cheap checks that it is whole.

`manifest.json` appears with the shards, in one rename. Reading it looks at every shard's size and footer, so that a
copy that broke off is noticed before the first batch; `verify` reads the bytes as well.
"""

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from raysearch.errors import UserError

FORMAT = 2  # raised when an older reader could not read the directory; 2: the content hash is over rows' digests
MANIFEST = "manifest.json"
SPLITS = ("train", "val", "test")
CURE = "ingest the data set again"
MAKE_ONE = "make one with: python -m raysearch.ingest LAYOUT SRC OUT"


class Frozen(BaseModel):
    """Fields that do not change."""

    model_config = ConfigDict(frozen=True)


class Corrupt(Frozen):
    """An image that could not be decoded and was left out."""

    source: str
    reason: str


class Shard(Frozen):
    """One Parquet file: `bytes` is its size on disk, and `sha256` covers all of them."""

    file: str
    rows: int
    bytes: int
    sha256: str


class Manifest(Frozen):
    """What a directory of shards holds; `content_hash` covers rows and class names, never how they are sharded."""

    format: int = FORMAT
    name: str
    layout: str
    classes: tuple[str, ...]
    counts: dict[str, tuple[int, ...]]  # split -> images of each class
    images: int
    width: tuple[int, int]  # smallest and largest, pixels
    height: tuple[int, int]
    corrupt: tuple[Corrupt, ...] = ()
    steps: tuple[str, ...] = ()  # what became of images and parts on the way here, as "boxes", "side 84", "val 0.1"
    content_hash: str
    versions: dict[str, str]
    shards: tuple[Shard, ...]


def read_manifest(directory: str | os.PathLike[str]) -> Manifest:
    """The manifest, after a cheap check that every shard is there and whole (its size and its footer; not its bytes).

    Raises UserError: no directory, no data set in it, another format, a shard that is missing or truncated.
    """
    root = Path(directory)
    if not root.is_dir():
        what = f"{directory} is not a directory of shards" if root.exists() else f"no data set at {directory}"
        raise UserError(f"{what}; {MAKE_ONE}")
    try:
        fields = json.loads((root / MANIFEST).read_text("utf-8"))
        written = int(fields.get("format", FORMAT)) if isinstance(fields, dict) else FORMAT
        manifest = Manifest.model_validate(fields) if written == FORMAT else None
    except FileNotFoundError:
        raise UserError(f"{directory} has no {MANIFEST}, so it is no data set; {MAKE_ONE}") from None
    except (OSError, ValueError, TypeError) as error:  # pydantic's and json's errors are ValueErrors
        raise UserError(f"{root / MANIFEST} cannot be read ({type(error).__name__}); {MAKE_ONE}") from error
    if manifest is None:
        age, cure = ("a newer", "upgrade raysearch") if written > FORMAT else ("an older", CURE)
        formats = f"format {written}, this one reads {FORMAT}"
        raise UserError(f"{directory} was written by {age} raysearch ({formats}); {cure}")
    for shard in manifest.shards:
        _check_shard(root / shard.file, shard)
    return manifest


def _check_shard(path: Path, shard: Shard) -> None:
    try:
        size = path.stat().st_size
        if size != shard.bytes:
            raise UserError(f"shard {path} has {size:,} bytes where its manifest says {shard.bytes:,}; {CURE}")
        rows = pq.read_metadata(path).num_rows
    except FileNotFoundError:
        raise UserError(f"shard {path} is missing; {CURE}") from None
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"shard {path} cannot be read ({type(error).__name__}); {CURE}") from error
    if rows != shard.rows:
        raise UserError(f"shard {path} has {rows:,} rows where its manifest says {shard.rows:,}; {CURE}")


def shard_paths(directory: str | os.PathLike[str]) -> list[str]:
    """The shards' paths in canonical order."""
    return [str(Path(directory) / shard.file) for shard in read_manifest(directory).shards]
