"""A hidden directory beside its final place, to be renamed when all is in it, and gone whatever happens before."""

import contextlib
import os
import platform
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def beside(target: Path) -> Iterator[Path]:
    """Make a directory for what shall become `target`; what was not renamed is removed at the end.

    What writers to the same target left that were killed on this machine is removed as well. Raises OSError where
    nothing can be made.
    """
    new_parents = [parent for parent in target.parents if not parent.exists()]
    _sweep(target)
    path = target.parent / f".{target.name}.{platform.node()}.{os.getpid()}.{uuid.uuid4().hex[:12]}.partial"
    try:
        path.mkdir(parents=True)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        with contextlib.suppress(OSError):  # of the parents made here, those that stayed empty go too
            for parent in new_parents:
                parent.rmdir()


def _sweep(target: Path) -> None:
    name = re.compile(rf"\.{re.escape(target.name)}\.{re.escape(platform.node())}\.(\d+)\.[0-9a-f]{{12}}\.partial")
    with contextlib.suppress(OSError):  # no such folder yet, or one that cannot be listed: nothing to sweep
        for path in list(target.parent.iterdir()):
            found = name.fullmatch(path.name)
            if found and not _alive(int(found[1])):
                shutil.rmtree(path, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's process
        return True
    return True
