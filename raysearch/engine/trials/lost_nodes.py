"""Faults that a lost node explains do not count against a cell: spot machines are taken back all the time.

Ray notices that a node is gone some time after the workers on it fell silent, or before. So a fault and a death belong
together when they lie within a minute of each other, in either order.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
from ray import tune

TOGETHER = 60.0  # seconds; Ray takes up to half of that to notice a death
_LOOK_SECONDS = 2.0


class LostNodes(tune.Callback):
    """Forgives retries.

    Args:
        forgive: takes back the last fault of a trial.
        nodes: as `ray.nodes`.
        clock: seconds.
    """

    def __init__(
        self,
        forgive: Callable[[Any], None],
        nodes: Callable[[], Sequence[Mapping[str, Any]]] = ray.nodes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._forgive, self._nodes, self._clock = forgive, nodes, clock
        self._dead = self._gone()
        self._died, self._looked = -TOGETHER - 1.0, clock()
        self._faults: list[tuple[float, Any]] = []  # that no death explains yet

    def on_trial_recover(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self._faults.append((self._clock(), trial))
        self._settle()

    def on_step_end(self, iteration: int, trials: list, **info: Any) -> None:
        if self._clock() - self._looked > _LOOK_SECONDS:
            self._looked = self._clock()
            gone = self._gone()
            if gone - self._dead:
                self._died = self._clock()
            self._dead = gone
            self._settle()

    def _settle(self) -> None:
        now, left = self._clock(), []
        for at, trial in self._faults:
            if abs(at - self._died) <= TOGETHER:
                self._forgive(trial)
            elif now - at <= TOGETHER:
                left.append((at, trial))
        self._faults = left

    def _gone(self) -> set[str]:
        return {one["NodeID"] for one in self._nodes() if not one["Alive"]}

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks for a restore that is never asked for
