"""A user's function in a thread of its own, which is held at each of its calls until the engine asks for more."""

import contextlib
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Started:
    """The function knows how many steps it has."""

    steps: int


@dataclass(frozen=True)
class Reported:
    """The function ended a step."""

    report: dict[str, Any]
    state: Any  # packed; None: none was given


@dataclass(frozen=True)
class Returned:
    """The function returned."""

    value: Any


@dataclass(frozen=True)
class Raised:
    """The function raised."""

    error: BaseException


Event = Started | Reported | Returned | Raised


class Ended(BaseException):
    """Raised in the function when its cell is given up. It is no Exception, so that `except Exception` lets it pass."""


class HeldThread:
    """Runs a function that is held at each event until `next_event` is called.

    Args:
        function: called without arguments, in the thread.
        device: the thread's device.
    """

    def __init__(self, function: Callable[[], Any], device: torch.device) -> None:
        self._function = function
        self._device = device
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._go = threading.Semaphore(0)
        self._ended = False
        self._threads = torch.get_num_threads()
        self._thread = threading.Thread(target=self._run, name="user-task", daemon=True)

    def next_event(self, look: Callable[[], None] | None = None) -> Event:
        """Let the function run until its next event, and return that.

        Args:
            look: called once a second while the function runs; what it raises ends the wait.
        """
        if self._thread.ident is None:
            self._thread.start()
        else:
            self._go.release()
        while look is not None:
            with contextlib.suppress(queue.Empty):
                return self._events.get(timeout=_LOOK_SECONDS)
            look()
        return self._events.get()

    def hold(self, event: Event) -> None:
        """Hand over an event and wait; the function calls this in its thread.

        Raises:
            Ended: the cell was given up.
        """
        self._events.put(event)
        self._go.acquire()
        if self._ended:
            raise Ended

    def end(self) -> None:
        """Have the function raise `Ended` at the place where it is held."""
        self._ended = True
        self._go.release()

    def _run(self) -> None:
        torch.set_num_threads(self._threads)  # a setting of each thread
        context = torch.cuda.device(self._device) if self._device.type == "cuda" else contextlib.nullcontext()
        try:
            with context:
                value = self._function()
        except Ended:
            return
        except BaseException as error:  # also SystemExit: the function must not end the worker silently
            self._events.put(Raised(error))
            return
        self._events.put(Returned(value))
