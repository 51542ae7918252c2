"""The shell that all training tasks share: measuring a step, decaying the rate, keeping the best state."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from raysearch.tasks.base import NonFiniteLoss
from raysearch.tasks.common.loader import Loader


class StepMeter:
    """Measures one training step, from its construction on.

    Args:
        loader: the loader of the step's images. Waits from before the step do not count.
    """

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._started = time.perf_counter()
        loader.waited()
        if loader.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(loader.device)

    @property
    def seconds(self) -> float:
        """Seconds since the step began."""
        return time.perf_counter() - self._started

    def report(self, unit: str, count: int, seconds: float | None = None) -> dict[str, float]:
        """Return the keys that every step reports, at its end.

        Args:
            unit: name of the items that were trained on: "images" or "episodes".
            count: number of them.
            seconds: in which they were trained on; None: the whole step.

        Returns:
            `gpu_memory_bytes` (the peak, on a GPU), `seconds`, `<unit>_per_second`, and `feed_wait_share`: the share of
            the seconds spent waiting for images.
        """
        device = self._loader.device
        peak = {"gpu_memory_bytes": torch.cuda.max_memory_allocated(device)} if device.type == "cuda" else {}
        elapsed = self.seconds
        rate = count / (elapsed if seconds is None else seconds)
        return {
            **peak,
            "seconds": elapsed,
            f"{unit}_per_second": rate,
            "feed_wait_share": min(1.0, self._loader.waited() / elapsed),
        }


class BestState:
    """The state of the step with the highest held-out metric; the first of equal ones. Empty before the first offer."""

    def __init__(self) -> None:
        self._state: dict[str, Any] = {}

    def offer(self, value: float, state: Callable[[], Mapping[str, Any]]) -> None:
        """Keep a step's state if its metric is the highest so far.

        Args:
            value: the metric.
            state: called for the state if it is kept.
        """
        if not self._state or value > self._state["value"]:
            self._state = {"value": value, **state()}

    def __bool__(self) -> bool:
        return bool(self._state)

    def __getitem__(self, name: str) -> Any:
        return self._state[name]

    def state_dict(self) -> dict[str, Any]:
        """Return the kept state with its `value`; empty where there is none."""
        return self._state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self._state = state


def check_finite(loss: float, place: str, rate: str = "train.lr") -> None:
    """Check a loss.

    Args:
        loss: the loss of an epoch.
        place: where in the run, for example "in epoch 3".
        rate: config path of the learning rate.

    Raises:
        NonFiniteLoss: it is infinite or not a number.
    """
    if not math.isfinite(loss):
        raise NonFiniteLoss(f"the loss became {loss} {place}; a lower {rate} may help")


def step_decay(base: float, factor: float, milestones: Sequence[float], total: int, step: int) -> float:
    """Return the learning rate of a step under a rate that falls at milestones.

    Args:
        base: rate before the first milestone.
        factor: the factor that the rate is multiplied by at each milestone.
        milestones: shares of `total`.
        total: number of steps.
        step: counted from 0.

    >>> [step_decay(1.0, 0.5, (0.5, 0.75), total=4, step=step) for step in range(4)]
    [1.0, 1.0, 0.5, 0.25]
    """
    # Rounded, since 0.55 * 100 is a little more than 55.
    falls = sum(step >= round(share * total, 6) for share in milestones)
    return base * factor**falls


def copied(state: Any) -> Any:
    """Return a state with its tensors copied to the CPU, in plain dicts.

    A GPU copies all of them into pinned memory, and the host waits once.
    """
    streams: set[torch.cuda.Stream] = set()

    def _copy(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: _copy(item) for key, item in value.items()}
        if not isinstance(value, torch.Tensor):
            return value
        if value.device.type != "cuda":
            return value.to("cpu", copy=True)
        streams.add(torch.cuda.current_stream(value.device))
        return torch.empty_like(value, device="cpu", pin_memory=True).copy_(value, non_blocking=True)

    copy = _copy(state)
    for stream in streams:
        stream.synchronize()
    return copy
