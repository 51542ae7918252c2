"""The dashboard of a Ray that a sweep starts: on the loopback address, and behind the token of that Ray.

Whoever has the token can run code, so it is not printed, where a log would keep it. It is in a file that only this user
can read, in the folder that only this user can enter, for as long as Ray runs.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from raysearch.engine import ray_internals


@contextlib.contextmanager
def announced(address: str | None, folder: Path, show: Callable[[str], None]) -> Iterator[None]:
    """Show the address of the dashboard, and keep a file with its token in the block.

    Args:
        address: host and port, as Ray reports them; None if the dashboard did not start.
        folder: that no other user can enter.
        show: takes a line for the user.
    """
    if not address:
        show("Ray started without its dashboard; its log files show the reason")
        yield
        return
    path = folder / f"dashboard-token-{os.getpid()}"
    path.unlink(missing_ok=True)  # of a killed sweep with this process id
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(ray_internals.current_token())
    try:
        show(f"Ray's dashboard: http://{address}, which asks for the token in {path}")
        yield
    finally:
        path.unlink(missing_ok=True)
