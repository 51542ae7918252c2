"""The price of a machine per hour, by its type: a table in prices.csv, which a user may extend by a file of his own."""

import csv
import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from raysearch.core import UserError

# Labels of a node, which the files in clusters/ set. A node may also state its own price.
TYPE_LABEL = "instance-type"
MARKET_LABEL = "market"
PRICE_LABEL = "dollars-an-hour"

_SHIPPED = "prices.csv"
_VARIABLE = "RAYSEARCH_PRICES"
_MAX_DOLLARS = 1e6


@dataclass(frozen=True)
class MachineType:
    """A type of machine.

    Args:
        instance_type: the cloud's name.
        dollars_an_hour: its price on demand.
        vcpus: virtual CPUs.
        gpus: number of GPUs.
        gpu: name of the GPU.
        gpu_gb: memory of one GPU, in GB.
    """

    instance_type: str
    dollars_an_hour: float
    vcpus: int
    gpus: int
    gpu: str = ""
    gpu_gb: float = 0.0


def machine_types() -> dict[str, MachineType]:
    """Return all types of machines that have a price, by name.

    Raises:
        UserError: the user's file is not a table of prices.

    >>> machine_types()["g6.2xlarge"].gpus
    1
    """
    return _read_prices(os.environ.get(_VARIABLE))


def price_of_node(labels: Mapping[str, str]) -> float | None:
    """Return the dollars per hour of a node with these labels; None if unknown.

    The price of a spot machine changes by the hour and is at most its price on demand, which is used instead.

    Raises:
        UserError: the label of the price is not a number.

    >>> price_of_node({"instance-type": "g6.2xlarge", "market": "spot"})
    0.9776
    >>> price_of_node({"dollars-an-hour": "0.35"}), price_of_node({})
    (0.35, None)
    """
    if PRICE_LABEL in labels:
        return _parse_dollars(labels[PRICE_LABEL], f"label {PRICE_LABEL}")
    machine = machine_types().get(labels.get(TYPE_LABEL, ""))
    return machine.dollars_an_hour if machine else None


@functools.lru_cache(maxsize=4)
def _read_prices(user_file: str | None) -> dict[str, MachineType]:
    shipped = resources.files("raysearch.engine.cluster").joinpath(_SHIPPED).read_text(encoding="utf-8")
    machines = _parse_table(shipped, _SHIPPED)
    if user_file:
        try:
            text = Path(user_file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{_VARIABLE}='{user_file}' cannot be read: {error}") from None
        machines |= _parse_table(text, user_file)
    return machines


def _parse_table(text: str, name: str) -> dict[str, MachineType]:
    rows = csv.DictReader(line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    try:
        return {
            row["instance_type"]: MachineType(
                row["instance_type"],
                _parse_dollars(row["dollars_an_hour"], f"{name}: dollars_an_hour of {row['instance_type']}"),
                int(row.get("vcpus") or 0),
                int(row.get("gpus") or 0),
                row.get("gpu") or "",
                float(row.get("gpu_gb") or 0.0),
            )
            for row in rows
        }
    except UserError:
        raise
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{name} needs the columns instance_type and dollars_an_hour; see {_SHIPPED}") from None


def _parse_dollars(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < _MAX_DOLLARS:
        raise UserError(f"{name} must be a number of dollars such as 0.98, not {text!r}")
    return value
