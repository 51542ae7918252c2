"""Work that is repeated in a thread beside the main work."""

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def run_periodically(act: Callable[[], object], every: float) -> Iterator[None]:
    """Call a function now and then again at an interval, in a thread, until the block ends.

    The block ends only after the running call has returned.

    Args:
        act: the function. It must handle its own errors: an exception ends the repetition.
        every: seconds from the end of one call to the start of the next.

    >>> calls = []
    >>> with run_periodically(lambda: calls.append(1), every=60.0):
    ...     pass
    >>> calls
    [1]
    """
    ended = threading.Event()

    def _repeat() -> None:
        while True:
            act()
            if ended.wait(every):
                return

    thread = threading.Thread(target=_repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
