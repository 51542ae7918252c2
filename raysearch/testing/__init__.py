"""A kit for tests of tasks, also of a user's own: `check_task` runs the checks that the engine relies on.

There are small tasks, a counter of waits for a GPU, and an emulated device too.

No test here needs a GPU, a network or files. Imports torch, never ray.
"""

from raysearch.testing.device_syncs import Sync, SyncCounter, count_syncs
from raysearch.testing.emulated_device import EmulatedDevice
from raysearch.testing.small_tasks import METHODS, SmallTask, SyncFigures, build_small, measure_syncs, on_meta
from raysearch.testing.task_kit import check_task

__all__ = [
    "METHODS",
    "EmulatedDevice",
    "SmallTask",
    "Sync",
    "SyncCounter",
    "SyncFigures",
    "build_small",
    "check_task",
    "count_syncs",
    "measure_syncs",
    "on_meta",
]
