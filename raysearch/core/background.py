"""Something that is done again and again beside the work."""

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def run_periodically(act: Callable[[], object], every: float) -> Iterator[None]:
    """Do something now and again in a thread of its own, for as long as the block runs; then it is over.

    Args:
        act: what to do; its errors are its own business.
        every: seconds from the end of one time to the next.

    >>> done = []
    >>> with run_periodically(lambda: done.append(1), every=60.0):
    ...     pass
    >>> done
    [1]
    """
    ended = threading.Event()

    def repeat() -> None:
        while True:
            act()
            if ended.wait(every):
                return

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
