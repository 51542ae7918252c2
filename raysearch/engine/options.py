"""Where and how wide a study runs, and what it runs on; light, so that a command with nothing to run starts no Ray."""

import os
from dataclasses import dataclass
from pathlib import Path

from raysearch.data.feed_mode import STORE_SHARE, FeedMode
from raysearch.data.shards import Manifest
from raysearch.runs.study_record import StudyRecord
from raysearch.storage import Location


def cluster_address(address: str | None) -> str | None:
    """The address of the cluster to join, as asked or as inside `ray job submit`; None: Ray starts on this machine."""
    return address or os.environ.get("RAY_ADDRESS")


@dataclass(frozen=True)
class Options:
    """As the command line says."""

    workers: int = 1  # Ray Train workers a trial
    gpus_per_worker: float | None = None  # None: one where the cluster has any
    concurrency: int | None = None  # trials at a time at most
    address: str | None = None  # of a cluster; None is this machine
    storage: str | None = None  # path or URI of the checkpoints; None is the run directory
    feed: FeedMode | None = None  # how images come to the workers; None: resident where they fit
    store_share: float = STORE_SHARE  # of the object store that decoded images may take
    max_cost: float | None = None  # dollars of the study in all
    max_hours: float | None = None  # of this call


@dataclass(frozen=True)
class Run:
    """A run's directory, its data, and what `study.json` says of it."""

    directory: Path  # run directory
    shards: Location
    manifest: Manifest
    record: StudyRecord  # completed while the study runs
