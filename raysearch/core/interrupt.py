"""Ctrl-C: the first one stops the run in good order, the second one at once. A limit that is reached counts as one."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


class Interrupt:
    """A request to stop the run. Calling it returns whether there is one.

    Args:
        report: shows the user a message.
    """

    def __init__(self, report: Callable[[str], None] = lambda message: None) -> None:
        self._report = report
        self.wanted = False

    def __call__(self) -> bool:
        return self.wanted

    def stop(self, reason: str) -> None:
        """Request a stop in good order, as Ctrl-C does. Only the first request is reported."""
        if not self.wanted:
            self.wanted = True
            self._report(f"{reason}; stopping: running cells keep their checkpoints")

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Handle Ctrl-C while the block runs. A second Ctrl-C raises KeyboardInterrupt.

        A background job of a script ignores the signal from its start, since the key is for the script. It stays so.
        """
        ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        if ignored or threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may handle signals
            return
        previous = signal.signal(signal.SIGINT, self._on_signal)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
        self._report("stopping: running cells keep their checkpoints; press Ctrl-C again to stop at once")
