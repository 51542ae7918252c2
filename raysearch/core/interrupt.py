"""Ctrl-C: once, and the run ends in good order; twice, and it ends at once. A limit that is reached counts as once."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


class Interrupt:
    """Whether the user wants the run to stop.

    Args:
        say: tells the user what happens now.
    """

    def __init__(self, say: Callable[[str], None] = lambda message: None) -> None:
        self._say = say
        self.wanted = False

    def __call__(self) -> bool:
        return self.wanted

    def stop(self, why: str) -> None:
        """Stop in good order, as one Ctrl-C does; said once."""
        if not self.wanted:
            self.wanted = True
            self._say(f"{why}; stopping: cells that run keep their checkpoints")

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Take the signal over; a second one is a KeyboardInterrupt."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may handle signals
            return
        before = signal.signal(signal.SIGINT, self._on_signal)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
        self._say("stopping: cells that run keep their checkpoints; press Ctrl-C again to stop at once")
