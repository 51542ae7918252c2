"""What a machine costs an hour, by its type: one file, which people may put rows of their own before."""

import csv
import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from raysearch.core.errors import UserError

# Labels of a node, which the files in clusters/ give; a node may also name its own price.
TYPE_LABEL, MARKET_LABEL, PRICE_LABEL = "instance-type", "market", "dollars-an-hour"
_OWN = "RAYSEARCH_PRICES"


@dataclass(frozen=True)
class MachineType:
    """A kind of machine."""

    instance_type: str
    dollars_an_hour: float
    vcpus: int
    gpus: int
    gpu: str = ""
    gpu_gb: float = 0.0  # memory of one


def machine_types() -> dict[str, MachineType]:
    """All kinds that have a price, by name.

    Raises:
        UserError: a file of the user's own that is none of prices.

    >>> machines()["g6.2xlarge"].gpus
    1
    """
    return _read(os.environ.get(_OWN))


def price_of_node(labels: Mapping[str, str]) -> float | None:
    """Dollars an hour of a node with these labels; None where nobody has said.

    A spot machine's own price changes by the hour and is at most that of the machine on demand, which is taken for it.

    Raises:
        UserError: a price that is no number.

    >>> of_node({"instance-type": "g6.2xlarge", "market": "spot"}), of_node({"dollars-an-hour": "0.35"}), of_node({})
    (0.9776, 0.35, None)
    """
    if PRICE_LABEL in labels:
        return _number(labels[PRICE_LABEL], f"label {PRICE_LABEL}")
    found = machine_types().get(labels.get(TYPE_LABEL, ""))
    return found.dollars_an_hour if found else None


@functools.lru_cache(maxsize=4)
def _read(own: str | None) -> dict[str, MachineType]:
    shipped = resources.files("raysearch.engine.cluster").joinpath("prices.csv").read_text(encoding="utf-8")
    found = _parse(shipped, "prices.csv")
    if own:
        try:
            found |= _parse(Path(own).read_text(encoding="utf-8"), own)
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{_OWN}='{own}' cannot be read: {error}") from None
    return found


def _parse(text: str, name: str) -> dict[str, MachineType]:
    rows = csv.DictReader(line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    try:
        return {
            row["instance_type"]: MachineType(
                row["instance_type"],
                _number(row["dollars_an_hour"], f"{name}: dollars_an_hour of {row['instance_type']}"),
                int(row.get("vcpus") or 0),
                int(row.get("gpus") or 0),
                row.get("gpu") or "",
                float(row.get("gpu_gb") or 0.0),
            )
            for row in rows
        }
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{name} is no file of prices, with the columns instance_type and dollars_an_hour") from None


def _number(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e6:
        raise UserError(f"{name} is dollars, as 0.98, not {text!r}")
    return value
