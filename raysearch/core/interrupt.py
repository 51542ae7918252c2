"""Signals that stop a command: Ctrl-C (SIGINT), SIGTERM, by which clusters end jobs, and SIGUSR1, their early warning.

The first signal stops a run in good order, the second one at once. A limit that is reached counts as one.
"""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import FrameType

Handler = Callable[[int, FrameType | None], None]

INTERRUPTED = 130  # exit code
TERMINATED = 143  # exit code after SIGTERM
_OF_A_CLUSTER = (signal.SIGTERM, signal.SIGUSR1)
_SAME_SECONDS = 1.0  # `timeout` and srun forward a signal that the process has received already


class Interrupt:
    """A request to stop the run. Calling it returns whether there is one.

    Args:
        report: shows the user a message.

    Attributes:
        wanted: whether there is a request.
        exit_code: of the command that was stopped.
    """

    def __init__(self, report: Callable[[str], None] = lambda message: None) -> None:
        self._report = report
        self._last_signal = -_SAME_SECONDS  # time
        self.wanted = False
        self.exit_code = INTERRUPTED

    def __call__(self) -> bool:
        return self.wanted

    def stop(self, reason: str) -> None:
        """Request a stop in good order, as Ctrl-C does. Only the first request is reported."""
        if not self.wanted:
            self.wanted = True
            self._report(f"{reason}; stopping: running cells keep their checkpoints")

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Handle signals while the block runs. A second one raises KeyboardInterrupt.

        A background job of a script ignores SIGINT from its start, since the key is for the script. It stays so.
        """
        with signals_handled((signal.SIGINT, *_OF_A_CLUSTER), self._on_signal):
            yield

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        is_forwarded = number in _OF_A_CLUSTER and now - self._last_signal < _SAME_SECONDS
        self._last_signal = now
        self.exit_code = exit_code(number)
        if self.wanted and is_forwarded:
            return
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
        if number == signal.SIGINT:
            self._report("stopping: running cells keep their checkpoints; press Ctrl-C again to stop at once")
        else:
            name = signal.Signals(number).name
            self._report(f"{name}: stopping: running cells keep their checkpoints; a second {name} stops at once")


class StopSignals:
    """SIGTERM and SIGUSR1 as KeyboardInterrupt, for a command that cleans up on Ctrl-C.

    Attributes:
        exit_code: of the command, if KeyboardInterrupt ends it.
    """

    def __init__(self) -> None:
        self.exit_code = INTERRUPTED

    @contextlib.contextmanager
    def raised(self) -> Iterator[None]:
        """Raise KeyboardInterrupt when a signal arrives while the block runs."""
        with signals_handled(_OF_A_CLUSTER, self._on_signal):
            yield

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.exit_code = exit_code(number)
        raise KeyboardInterrupt


def exit_code(number: int) -> int:
    """Return the exit code of a command that a signal stopped in good order.

    >>> exit_code(signal.SIGINT), exit_code(signal.SIGTERM), exit_code(signal.SIGUSR1)
    (130, 143, 130)
    """
    return TERMINATED if number == signal.SIGTERM else INTERRUPTED


@contextlib.contextmanager
def signals_handled(numbers: Iterable[signal.Signals], handler: Handler) -> Iterator[None]:
    """Handle signals while the block runs, except those that this process ignores."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    previous = {number: signal.getsignal(number) for number in numbers}
    replaced = {number: before for number, before in previous.items() if before is not signal.SIG_IGN}
    for number in replaced:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, before in replaced.items():
            signal.signal(number, signal.SIG_DFL if before is None else before)
