"""Parquet shards: a data set as one directory of Parquet files and a `manifest.json`, written whole or not at all.

Writing starts in `writer`, reading in `reader`, and `verify` reads every byte again.
"""

from raysearch.data.shards.executors import RayExecutor, ShardExecutor, ThreadExecutor
from raysearch.data.shards.jpeg import encode_jpeg
from raysearch.data.shards.manifest import (
    FORMAT,
    MANIFEST,
    SPLITS,
    Corrupt,
    Manifest,
    Shard,
    read_manifest,
    shard_paths,
)
from raysearch.data.shards.samples import Sample
from raysearch.data.shards.shard_rows import SCHEMA, read_rows
from raysearch.data.shards.verify import verify_shards
from raysearch.data.shards.writer import write_shards

__all__ = [
    "FORMAT",
    "MANIFEST",
    "SCHEMA",
    "SPLITS",
    "Corrupt",
    "Manifest",
    "RayExecutor",
    "Sample",
    "Shard",
    "ShardExecutor",
    "ThreadExecutor",
    "encode_jpeg",
    "read_manifest",
    "read_rows",
    "shard_paths",
    "verify_shards",
    "write_shards",
]
