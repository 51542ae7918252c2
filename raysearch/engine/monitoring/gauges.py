"""Gauges that keep their value for as long as a sweep runs.

Ray exports a gauge's value once after it was set, and its exporter forgets it after two report intervals (2.60: 20 s).
A cell may train for hours between two changes of a figure, so all figures are set again every second.
"""

import threading
from typing import Any, Self

from ray.util.metrics import Gauge

_AGAIN = 1.0  # seconds; the shortest interval in which Ray reports


class Gauges:
    """Sets gauges, and remembers what they were set to. Use as a context, as often as needed, to have it set again."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, frozenset[tuple[str, str]]], tuple[Gauge, float, dict[str, str]]] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def set(self, gauge: Gauge, value: float, tags: dict[str, str]) -> None:
        """Set one gauge with these labels."""
        gauge.set(value, tags)
        with self._lock:
            self._values[gauge.info["name"], frozenset(tags.items())] = (gauge, value, tags)

    def __enter__(self) -> Self:
        assert self._thread is None
        self._stopping.clear()
        self._thread = threading.Thread(target=self._repeat, name="gauges", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        assert self._thread is not None
        self._stopping.set()
        self._thread.join()
        self._thread = None

    def _repeat(self) -> None:
        while not self._stopping.wait(_AGAIN):
            with self._lock:
                for gauge, value, tags in self._values.values():
                    gauge.set(value, tags)
