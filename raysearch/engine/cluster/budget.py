"""What a study has cost so far, and the limits at which it stops in good order.

A node costs from when it is seen until it is gone, whether it works or waits, the head too: that is what the bill will
say. What Ray does not see, as disks, traffic and machines that are still starting, is not counted. The sum is kept in
the run directory, so that a driver that was killed does not forget what it spent.
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray

from raysearch.core import atomic
from raysearch.core.background import run_periodically
from raysearch.core.errors import UserError
from raysearch.core.interrupt import Interrupt
from raysearch.engine.cluster import prices

COST_FILE = "cost.json"  # of a run directory
_LOOK_SECONDS, _KEEP_SECONDS = 5.0, 30.0
_NOT_SAID = "no type"

Nodes = Callable[[], Sequence[Mapping[str, Any]]]  # as `ray.nodes`


class CostMeter:
    """Adds up what the nodes cost, to what earlier calls of the same study did.

    Args:
        file: where the sum is kept.
        nodes: those of the cluster.
        clock: seconds.
    """

    def __init__(self, file: Path, nodes: Nodes = ray.nodes, clock: Callable[[], float] = time.monotonic) -> None:
        self._file, self._nodes, self._clock = file, nodes, clock
        self._last = self._kept = clock()
        before = _read(file)
        self._dollars, self._hours = before.get("dollars", 0.0), before.get("node_hours", {})

    @property
    def dollars(self) -> float:
        return self._dollars

    def unknown(self) -> str | None:
        """What to say where the price of a node is not known: dollars cannot be limited then."""
        nodes = [
            one["NodeManagerAddress"] for one in self._alive() if prices.price_of_node(one.get("Labels") or {}) is None
        ]
        if not nodes:
            return None
        return (
            f"--max-cost: the price of {len(nodes)} nodes is not known ({', '.join(nodes[:3])}); start them with "
            f"--labels {prices.TYPE_LABEL}=TYPE of prices.csv or {prices.PRICE_LABEL}=0.98"
        )

    def update(self) -> float:
        """Count the time since the last look at what is there now; returns all dollars so far."""
        now, alive = self._clock(), self._alive()
        hours, self._last = (now - self._last) / 3600, now
        for node in alive:
            labels = node.get("Labels") or {}
            price = prices.price_of_node(labels)
            if price is not None:
                self._dollars += price * hours
                name = " ".join(
                    filter(None, (labels.get(prices.TYPE_LABEL, _NOT_SAID), labels.get(prices.MARKET_LABEL)))
                )
                self._hours[name] = self._hours.get(name, 0.0) + hours
        if now - self._kept >= _KEEP_SECONDS:
            self.save()
        return self._dollars

    def save(self) -> None:
        """Write the sum down."""
        self._kept = self._clock()
        if self._hours:
            text = json.dumps(self.record())
            atomic.replace_file(self._file, lambda path: path.write_text(text))

    def record(self) -> dict[str, Any]:
        """What `study.json` keeps; empty where no node has a price."""
        return {"dollars": self._dollars, "node_hours": self._hours} if self._hours else {}

    def _alive(self) -> list[Mapping[str, Any]]:
        return [one for one in self._nodes() if one["Alive"]]


def _read(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text())
    except FileNotFoundError:
        return {}


def check_cost_limit(meter: CostMeter, max_cost: float) -> None:
    """Look at a limit before anything is done for a study.

    Raises:
        UserError: the limit cannot be kept, since a node has no price, or is used up.
    """
    unknown = meter.unknown()
    if unknown:
        raise UserError(unknown)
    if meter.dollars >= max_cost:
        raise UserError(f"--max-cost {max_cost:g}: the study has cost ${meter.dollars:.2f} already")


@contextlib.contextmanager
def enforce_limits(
    meter: CostMeter,
    interrupt: Interrupt,
    max_cost: float | None = None,
    max_hours: float | None = None,
    on_update: Callable[[float], object] = lambda dollars: None,
    every: float = _LOOK_SECONDS,
) -> Iterator[None]:
    """Count while the block runs, and ask for a stop in good order at a limit, or where it cannot be kept any more.

    Args:
        meter: counts.
        interrupt: is told.
        max_cost: dollars of the study in all, those of earlier calls among them.
        max_hours: of this call.
        on_update: is called with the dollars so far after every update, where any node has a price.
        every: seconds between looks.

    Raises:
        UserError: a label that is no price.
    """
    started = time.monotonic()
    meter.update()  # what is wrong with a price is said now

    def watch() -> None:
        unknown = None
        with contextlib.suppress(Exception):  # of a head that does not answer at the moment: looked at again
            meter.update()
            if meter.record():
                on_update(meter.dollars)
            unknown = meter.unknown()
        spent, hours = meter.dollars, (time.monotonic() - started) / 3600
        if max_cost is not None and unknown:  # it joined later
            interrupt.stop(unknown)
        elif max_cost is not None and spent >= max_cost:
            interrupt.stop(f"--max-cost {max_cost:g} is reached: the study has cost ${spent:.2f}")
        elif max_hours is not None and hours >= max_hours:
            interrupt.stop(f"--max-hours {max_hours:g} are over")

    try:
        with run_periodically(watch, every):
            yield
    finally:
        with contextlib.suppress(Exception):  # the cluster may be gone, what was counted stays
            meter.update()
        meter.save()
