"""The number of CPUs that this process may use, which on a shared machine is less than what the machine has.

SLURM, `taskset` and a cpuset set the affinity of a process. A container's limit is a quota of its control group:
microseconds of computing in each period. Python's `os.cpu_count` and Ray's default know neither of both in full.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")
_V1_FOLDERS = ("cpu", "cpu,cpuacct")  # where the controller of version 1 is mounted


def count_cpus(cgroups: Path = _CGROUPS, membership: Path = _MEMBERSHIP) -> int:
    """Return how many CPUs this process may use: by its affinity, its control group, and `PYTHON_CPU_COUNT`.

    A share of a CPU is left out, because a thread or trial needs a whole one.

    Args:
        cgroups: where control groups are mounted.
        membership: file that lists the control groups of this process.

    Returns:
        At least 1.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    cpus = float(len(affinity(0)) if affinity else os.cpu_count() or 1)
    for quota in _quotas(cgroups, membership):
        cpus = min(cpus, quota)
    wanted = os.environ.get("PYTHON_CPU_COUNT", "")  # as from Python 3.13 on
    if wanted.isdecimal() and int(wanted):
        cpus = min(cpus, int(wanted))
    return max(1, math.floor(cpus))


def _quotas(cgroups: Path, membership: Path) -> Iterator[float]:
    """Yield the quotas, in CPUs, of the process's control groups and of those around them.

    A container may see its own group as the root, whatever the path in the list is.
    """
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mounts = [cgroups, cgroups / "unified"]
        elif "cpu" in controllers.split(","):
            mounts = [cgroups / folder for folder in _V1_FOLDERS]
        else:
            continue
        inside = PurePosixPath(path.lstrip("/"))
        for mount in mounts:
            for group in (inside, *inside.parents):
                quota = _quota(mount / group)
                if quota is not None:
                    yield quota


def _quota(group: Path) -> float | None:
    """Return the CPUs that a control group may use; None without a limit."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            quota, period = " ".join((group / name).read_text(encoding="ascii") for name in names).split()
            if quota.isdecimal() and int(period) > 0:  # no limit is "max" or -1
                return int(quota) / int(period)
        except (OSError, ValueError):
            continue
    return None
