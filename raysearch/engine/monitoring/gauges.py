"""Gauges that keep their value for as long as a sweep runs.

Ray exports a gauge's value once after it was set, and its exporter forgets it after two report intervals (2.60: 20 s).
A cell may train for hours between two changes of a figure, so all figures are set again every second.
"""

import contextlib
import threading
from typing import Any, Self

from ray.util.metrics import Gauge

from raysearch.core.background import run_periodically

_AGAIN = 1.0  # seconds; the shortest interval in which Ray reports


class Gauges:
    """Sets gauges, and remembers what they were set to. Use as a context, as often as needed, to have it set again."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, frozenset[tuple[str, str]]], tuple[Gauge, float, dict[str, str]]] = {}
        self._lock = threading.Lock()
        self._repetition = contextlib.ExitStack()

    def set(self, gauge: Gauge, value: float, tags: dict[str, str]) -> None:
        """Set one gauge with these labels."""
        gauge.set(value, tags)
        with self._lock:
            self._values[gauge.info["name"], frozenset(tags.items())] = (gauge, value, tags)

    def __enter__(self) -> Self:
        self._repetition.enter_context(run_periodically(self._set_again, _AGAIN))
        return self

    def __exit__(self, *_: Any) -> None:
        self._repetition.close()

    def _set_again(self) -> None:
        with self._lock:
            for gauge, value, tags in self._values.values():
                gauge.set(value, tags)
