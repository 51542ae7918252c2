"""The devices that computed the cells of a comparison: named, counted, and kept apart where times are compared.

The column `device` holds the name of a cell's GPU, or "cpu"; of a cell that continued on another type of GPU the names
of both. Cells of earlier versions lack it. Their GPU-seconds show whether a GPU computed them, but not which.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

COLUMN = "device"  # of the results
UNNAMED = "GPU without a recorded name"
BETWEEN = " + "  # names of the devices of one cell
COLUMNS = (COLUMN, "gpu_seconds")  # what the functions here read of a row, beside variant and status

Row = Mapping[str, Any]


def device_of(row: Row) -> str:
    """Return the device that computed a cell.

    >>> device_of({"device": "NVIDIA L4"}), device_of({"gpu_seconds": 0.0}), device_of({"gpu_seconds": 9.5})
    ('NVIDIA L4', 'cpu', 'GPU without a recorded name')
    """
    return str(row.get(COLUMN) or (UNNAMED if row.get("gpu_seconds") else "cpu"))


def is_on_several(row: Row) -> bool:
    """Return whether a cell began on one type of GPU and continued on another, so that its times are of neither.

    >>> is_on_several({"device": "NVIDIA A10G + NVIDIA L4"}), is_on_several({"device": "NVIDIA L4"})
    (True, False)
    """
    return BETWEEN in device_of(row)


def kind_of(row: Row) -> str:
    """Return the kind of device that computed a cell, as torch names it.

    >>> kind_of({"device": "NVIDIA L4"}), kind_of({"device": "cpu"})
    ('cuda', 'cpu')
    """
    return "cpu" if device_of(row) == "cpu" else "cuda"


def device_counts(rows: Iterable[Row]) -> dict[str, int]:
    """Return device -> number of finished cells, the largest number first. A cell with several names counts once.

    >>> cell = {"cell": "a", "status": "finished"}
    >>> device_counts([cell, cell, cell | {"cell": "b", "device": "NVIDIA L4"}, {"cell": "c", "status": "failed"}])
    {'CPU': 1, 'NVIDIA L4': 1}
    """
    finished = {row["cell"]: _shown(device_of(row)) for row in rows if row["status"] == "finished"}
    return dict(sorted(Counter(finished.values()).items(), key=lambda item: (-item[1], item[0])))


def is_foreign(row: Row, device: str) -> bool:
    """Return whether another kind of device computed a cell that a run finds under the hash of one of its cells.

    The hash of a GPU's cell covers the device. The hash of a CPU's cell does not: earlier versions used it for both.

    Args:
        row: the cell.
        device: the kind of device that computes the run's cells.

    >>> [is_foreign({"gpu_seconds": seconds}, "cpu") for seconds in (0.0, 9.5)], is_foreign({"device": "cpu"}, "cpu")
    ([False, True], False)
    """
    return device == "cpu" and kind_of(row) != "cpu"


def is_time(metric: str) -> bool:
    """Return whether a metric measures time or throughput, which differ between devices whatever is trained.

    >>> [is_time(metric) for metric in ("epoch_seconds", "images_per_second", "seconds", "map")]
    [True, True, True, False]
    """
    return metric == "seconds" or metric.endswith(("_seconds", "_per_second"))


def main_device(rows: Iterable[Row]) -> str | None:
    """Return the device that finished the most cells alone, the first of equals; None if none has."""
    counts = Counter(device_of(row) for row in rows if row["status"] == "finished" and not is_on_several(row))
    return counts.most_common(1)[0][0] if counts else None


def comparable(rows: Sequence[Row], metric: str, references: Mapping[str, str] | None = None) -> list[Row]:
    """Return the cells whose metric may be compared.

    Times are compared on one device: the one that finished the most cells of a reference and its variants. All cells
    may be compared in other metrics.

    Args:
        rows: cells, with the columns variant and status, and `COLUMNS` where they have them.
        metric: the metric that is compared.
        references: variant -> the variant that it is compared with; None: all cells are compared with each other.
    """
    if not is_time(metric):
        return list(rows)
    blocks: dict[str, list[Row]] = {}
    for row in rows:
        blocks.setdefault(_block(row, references), []).append(row)
    chosen = {name: main_device(block) for name, block in blocks.items()}
    return [row for row in rows if row["status"] != "finished" or device_of(row) == chosen[_block(row, references)]]


def mixed(rows: Sequence[Row], references: Mapping[str, str] | None = None) -> dict[str, int]:
    """Return device -> number of finished cells, of comparisons whose cells ran on several devices; else nothing.

    Args:
        rows: see `comparable`.
        references: see `comparable`. A comparison is a variant with its reference.
    """
    by_variant: dict[str, list[Row]] = {}
    for row in rows:
        if row["status"] == "finished":
            by_variant.setdefault(_variant(row, references), []).append(row)
    cells: dict[int, Row] = {}  # by identity: a reference is part of many comparisons
    for name, own_rows in by_variant.items():
        reference = references.get(name, name) if references is not None else name
        compared = own_rows if reference == name else [*own_rows, *by_variant.get(reference, ())]
        if len({device for row in compared for device in device_of(row).split(BETWEEN)}) > 1:
            cells |= {id(row): row for row in compared}
    counts = Counter(device_of(row) for row in cells.values())
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def mixed_sentence(rows: Sequence[Row], metric: str, references: Mapping[str, str] | None = None) -> str:
    """Return a line about comparisons whose cells ran on different kinds of devices; empty if there are none.

    >>> cells = [{"variant": name, "status": "finished", "device": device}
    ...     for name, device in (("a", "cpu"), ("b", "NVIDIA L4"), ("b", "NVIDIA L4"))]
    >>> mixed_sentence(cells, "map", {"a": "a", "b": "a"})
    'cells that are compared ran on different kinds of devices: 2 on NVIDIA L4, 1 on CPU'
    >>> mixed_sentence(cells, "epoch_seconds", {"a": "a", "b": "a"})
    'epoch_seconds is compared within one kind of device, which leaves out 1 cell: 2 on NVIDIA L4, 1 on CPU'
    """
    counts = mixed(rows, references)
    if not counts:
        return ""
    listed = ", ".join(f"{count:,} on {_shown(device)}" for device, count in counts.items())
    if not is_time(metric):
        return f"cells that are compared ran on different kinds of devices: {listed}"
    omitted = len(rows) - len(comparable(rows, metric, references))
    cells = "1 cell" if omitted == 1 else f"{omitted:,} cells"
    return f"{metric} is compared within one kind of device, which leaves out {cells}: {listed}"


def _shown(device: str) -> str:
    return "CPU" if device == "cpu" else device


def _variant(row: Row, references: Mapping[str, str] | None) -> str:
    return str(row["variant"]) if references is not None else ""


def _block(row: Row, references: Mapping[str, str] | None) -> str:
    return "" if references is None else references.get(row["variant"], row["variant"])
