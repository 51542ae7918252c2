"""A kit for tests of tasks, also of a user's own: small tasks on any device, and a counter of the waits for a GPU.

No test here needs a GPU, a network or files. Imports torch, never ray.
"""

from raysearch.testing.device_syncs import Sync, SyncCounter, count_syncs
from raysearch.testing.small_tasks import METHODS, SmallTask, SyncFigures, build_small, measure_syncs, on_meta

__all__ = [
    "METHODS",
    "SmallTask",
    "Sync",
    "SyncCounter",
    "SyncFigures",
    "build_small",
    "count_syncs",
    "measure_syncs",
    "on_meta",
]
