"""Parquet shards: a data set as one directory of Parquet files and a `manifest.json`, written completely or not at all.

`write_shards` makes them, `ShardReader` and `read_rows` read them, and `verify_shards` reads every byte again.
"""

from raysearch.data.shards.duplicates import Duplicates, Place, find_duplicates
from raysearch.data.shards.executors import RayExecutor, ShardExecutor, ThreadExecutor
from raysearch.data.shards.hash_split import choose_test_sources, hold_out_validation, sort_by_hash
from raysearch.data.shards.image_opening import MAX_SIDE, CorruptImage, check_side
from raysearch.data.shards.jpeg import (
    Box,
    decode_any,
    decode_jpeg,
    encode_jpeg,
    image_pixels,
    is_turned,
    to_rgb_jpeg,
)
from raysearch.data.shards.manifest import (
    FORMAT,
    IMAGES_VERSION,
    INGEST_AGAIN,
    MANIFEST,
    NO_DATA,
    SPLITS,
    Corrupt,
    Manifest,
    Shard,
    read_manifest,
    shard_paths,
)
from raysearch.data.shards.publish import rename_data_set
from raysearch.data.shards.reader import ShardReader
from raysearch.data.shards.samples import FileLoader, Loader, Sample, SliceLoader, loader_file, reshape_samples
from raysearch.data.shards.shard_rows import SCHEMA, file_sha256, read_rows, read_shard
from raysearch.data.shards.verify import verify_shards
from raysearch.data.shards.workdir import open_temporary_file
from raysearch.data.shards.writer import write_shards

__all__ = [
    "FORMAT",
    "IMAGES_VERSION",
    "INGEST_AGAIN",
    "MANIFEST",
    "MAX_SIDE",
    "NO_DATA",
    "SCHEMA",
    "SPLITS",
    "Box",
    "Corrupt",
    "CorruptImage",
    "Duplicates",
    "FileLoader",
    "Loader",
    "Manifest",
    "Place",
    "RayExecutor",
    "Sample",
    "Shard",
    "ShardExecutor",
    "ShardReader",
    "SliceLoader",
    "ThreadExecutor",
    "check_side",
    "choose_test_sources",
    "decode_any",
    "decode_jpeg",
    "encode_jpeg",
    "file_sha256",
    "find_duplicates",
    "hold_out_validation",
    "image_pixels",
    "is_turned",
    "loader_file",
    "open_temporary_file",
    "read_manifest",
    "read_rows",
    "read_shard",
    "rename_data_set",
    "reshape_samples",
    "shard_paths",
    "sort_by_hash",
    "to_rgb_jpeg",
    "verify_shards",
    "write_shards",
]
