"""Faults that a lost node explains do not count against a cell: spot machines are taken back all the time.

Ray notices a lost node some time before or after the workers on it fall silent. So a fault and a death belong together
when they are at most a minute apart, in either order.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
from ray import tune

from raysearch.engine.ray_internals import NotSaved

TOGETHER = 60.0  # seconds; Ray takes up to half of that to notice a death
_POLL_SECONDS = 2.0


class LostNodes(NotSaved, tune.Callback):
    """Forgives retries.

    Args:
        forgive: takes back the last fault of a trial.
        nodes: lists the cluster's nodes as `ray.nodes` does.
        clock: returns seconds.
    """

    def __init__(
        self,
        forgive: Callable[[Any], None],
        nodes: Callable[[], Sequence[Mapping[str, Any]]] = ray.nodes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._forgive = forgive
        self._nodes = nodes
        self._clock = clock
        self._dead = self._dead_nodes()
        self._last_death = -TOGETHER - 1.0
        self._last_poll = clock()
        self._unexplained: list[tuple[float, Any]] = []  # time and trial of faults

    def on_trial_recover(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Note the time of a fault, and forgive it if a node has just died."""
        self._unexplained.append((self._clock(), trial))
        self._match()

    def on_step_end(self, iteration: int, trials: list, **info: Any) -> None:
        """Look for dead nodes every two seconds, and forgive the faults that a new death explains."""
        now = self._clock()
        if now - self._last_poll > _POLL_SECONDS:
            self._last_poll = now
            dead = self._dead_nodes()
            if dead - self._dead:
                self._last_death = now
            self._dead = dead
            self._match()

    def _match(self) -> None:
        """Forgive the faults that the last death explains, and drop those that are too old for any."""
        now = self._clock()
        remaining = []
        for time_of_fault, trial in self._unexplained:
            if abs(time_of_fault - self._last_death) <= TOGETHER:
                self._forgive(trial)
            elif now - time_of_fault <= TOGETHER:
                remaining.append((time_of_fault, trial))
        self._unexplained = remaining

    def _dead_nodes(self) -> set[str]:
        return {node["NodeID"] for node in self._nodes() if not node["Alive"]}
