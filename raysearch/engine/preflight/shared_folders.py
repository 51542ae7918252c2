"""Whether a folder is on a file system that the nodes of a cluster share, and whether locks hold across nodes there.

Sweeps share cells by locks (`flock`). Network file systems can be mounted so that locks hold on one node only. Two
nodes would then run the same cell.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from raysearch.engine.preflight.check_result import CheckResult, failed, passed, warned

_MOUNTS = Path("/proc/self/mountinfo")
_SHARED = {
    "nfs",
    "nfs4",
    "lustre",
    "gpfs",
    "beegfs",
    "ceph",
    "fuse.ceph",
    "cifs",
    "smb3",
    "wekafs",
    "glusterfs",
    "panfs",
}
_LOCAL_LOCKS = {
    "nfs": {"nolock", "local_lock=all", "local_lock=flock"},
    "nfs4": {"nolock", "local_lock=all", "local_lock=flock"},
    "lustre": {"localflock", "noflock"},
}


class Mount(NamedTuple):
    """A mounted file system."""

    point: str
    kind: str
    options: frozenset[str]


def find_mount(path: Path, mounts: Path = _MOUNTS) -> Mount | None:
    """Return the file system that holds a path, which need not exist; None outside of Linux.

    Args:
        path: the path.
        mounts: a file as /proc/self/mountinfo.
    """
    place = os.path.realpath(path)
    found: Mount | None = None
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    for line in lines:
        fields, _, rest = line.partition(" - ")
        words = fields.split()
        kind, _, super_options = rest.split(" ", 2)
        point = words[4].encode("latin-1", "backslashreplace").decode("unicode_escape")
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        if inside and (found is None or len(point) >= len(found.point)):
            found = Mount(point, kind, frozenset([*words[5].split(","), *super_options.split(",")]))
    return found


def check_folder(name: str, path: Path, mounts: Path = _MOUNTS) -> Iterator[CheckResult]:
    """Check that all nodes see a folder, and that its locks hold for all of them.

    Args:
        name: the option that gave it.
        path: the folder.
        mounts: a file as /proc/self/mountinfo.
    """
    mount = find_mount(path, mounts)
    if mount is None:
        yield warned("paths", f"{name} {path}: this machine does not list its file systems; all nodes must see it")
        return
    local = mount.options & _LOCAL_LOCKS.get(mount.kind, set())
    if local:
        yield failed(
            "paths",
            f"{name} {path}: {mount.point} is mounted with {', '.join(sorted(local))}, so two nodes could run the same "
            "cell; ask for a mount with locks",
        )
    elif mount.kind == "lustre" and "flock" not in mount.options:
        yield failed("paths", f"{name} {path}: {mount.point} is mounted without flock; ask for a mount with it")
    elif mount.kind in _SHARED:
        yield passed("paths", f"{name} {path} is on {mount.kind}")
    else:
        yield warned("paths", f"{name} {path} is on {mount.kind} of this machine; make sure that all nodes see it")
