"""The cost of a study so far, and the limits at which it stops in good order.

A node costs money from when it is first seen until it is gone, busy or idle, and so does the head. That is what the
bill will show. Disks, traffic and machines that are still starting are not counted, because Ray does not see them. The
sum is kept in the run directory, so that it survives a killed driver.
"""

import contextlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray

from raysearch.core import Interrupt, UserError, atomic, open_below, run_periodically
from raysearch.engine.cluster import prices
from raysearch.runs import CostRecord

COST_FILE = "cost.json"  # in a run directory
_UPDATE_SECONDS = 5.0
_SAVE_SECONDS = 30.0
_NO_TYPE = "no type"
_MAX_LISTED = 3  # nodes in a message
_log = logging.getLogger(__name__)

Nodes = Callable[[], Sequence[Mapping[str, Any]]]  # as `ray.nodes`


class CostMeter:
    """Adds up the cost of all nodes, on top of earlier calls of the same study.

    Args:
        file: where the sum is kept.
        nodes: returns the nodes of the cluster.
        clock: returns seconds.
    """

    def __init__(self, file: Path, nodes: Nodes = ray.nodes, clock: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._nodes = nodes
        self._clock = clock
        now = clock()
        self._updated = now
        self._saved = now
        earlier = _read_cost(file)
        self._dollars: float = earlier.get("dollars") or 0.0
        self._node_hours: dict[str, float] = earlier.get("node_hours", {})

    @property
    def dollars(self) -> float:
        """The cost so far, as of the last update."""
        return self._dollars

    def unpriced_nodes(self) -> str | None:
        """Return an error message if the price of a node is unknown, so that dollars cannot be limited."""
        addresses = [
            node["NodeManagerAddress"]
            for node in self._alive()
            if prices.price_of_node(node.get("Labels") or {}) is None
        ]
        if not addresses:
            return None
        return (
            f"--max-cost: the price of {len(addresses)} nodes is unknown ({', '.join(addresses[:_MAX_LISTED])}); "
            f"start them with --labels {prices.TYPE_LABEL}=TYPE, a type in prices.csv, or {prices.PRICE_LABEL}=0.98"
        )

    def update(self) -> float:
        """Count the time since the last update for the nodes that are alive now; return the dollars so far."""
        now = self._clock()
        alive = self._alive()
        hours = (now - self._updated) / 3600
        self._updated = now
        for node in alive:
            labels = node.get("Labels") or {}
            price = prices.price_of_node(labels)
            if price is None:
                continue
            self._dollars += price * hours
            parts = (labels.get(prices.TYPE_LABEL, _NO_TYPE), labels.get(prices.MARKET_LABEL))
            name = " ".join(filter(None, parts))
            self._node_hours[name] = self._node_hours.get(name, 0.0) + hours
        if now - self._saved >= _SAVE_SECONDS:
            self.save()
        return self._dollars

    def save(self) -> None:
        """Write the sum to its file."""
        self._saved = self._clock()
        if self._node_hours:
            text = json.dumps(self.record())
            atomic.write_text(self._file, text)

    def record(self) -> dict[str, Any]:
        """Return the sum for `study.json`: dollars, and hours by type of node; empty if no node has a price."""
        return {"dollars": self._dollars, "node_hours": self._node_hours} if self._node_hours else {}

    def _alive(self) -> list[Mapping[str, Any]]:
        return [node for node in self._nodes() if node["Alive"]]


def check_cost_limit(meter: CostMeter, max_cost: float) -> None:
    """Check a limit before any work.

    Args:
        meter: the meter of the study.
        max_cost: dollars.

    Raises:
        UserError: the limit cannot be kept because a node has no price, or it is used up.
    """
    problem = meter.unpriced_nodes()
    if problem:
        raise UserError(problem)
    if meter.dollars >= max_cost:
        raise UserError(f"--max-cost {max_cost:g}: the study has already cost ${meter.dollars:.2f}; raise the limit")


@contextlib.contextmanager
def enforce_limits(
    meter: CostMeter,
    interrupt: Interrupt,
    max_cost: float | None = None,
    max_hours: float | None = None,
    on_update: Callable[[float], object] = lambda dollars: None,
    every: float = _UPDATE_SECONDS,
) -> Iterator[None]:
    """Count costs while the block runs; request a stop at a limit, or when a limit can no longer be kept.

    Args:
        meter: counts.
        interrupt: gets the request.
        max_cost: dollars of the study, earlier calls included.
        max_hours: hours of this call.
        on_update: is called with the dollars so far after every update, if any node has a price.
        every: seconds between updates.

    Raises:
        UserError: the label of a price is not a number.
    """
    started = time.monotonic()
    meter.update()  # raises now if a price is wrong

    def _watch() -> None:
        unpriced = None
        try:
            meter.update()
            if meter.record():
                on_update(meter.dollars)
            unpriced = meter.unpriced_nodes()
        except Exception:  # the head does not answer at the moment
            _log.debug("the cost was not updated", exc_info=True)
        hours = (time.monotonic() - started) / 3600
        if max_cost is not None and unpriced:  # such a node joined later
            interrupt.stop(unpriced)
        elif max_cost is not None and meter.dollars >= max_cost:
            interrupt.stop(f"--max-cost {max_cost:g} is reached: the study has cost ${meter.dollars:.2f}")
        elif max_hours is not None and hours >= max_hours:
            interrupt.stop(f"--max-hours {max_hours:g} are over")

    try:
        with run_periodically(_watch, every):
            yield
    finally:
        with contextlib.suppress(Exception):  # the cluster may be gone; the sum so far is kept
            meter.update()
        meter.save()


def _read_cost(file: Path) -> dict[str, Any]:
    try:
        with open_below(file.parent, file.name) as content:
            return CostRecord.model_validate(json.loads(content.read())).to_dict()
    except FileNotFoundError:
        return {}
    except UserError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"'{file}' is damaged ({reason}); remove it to count the cost from zero") from None
