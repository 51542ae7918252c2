"""Times are compared on one device; other metrics are compared with a warning."""

import random
from typing import Any

import pyarrow as pa
import pytest

from raysearch.studies.analysis import compare, devices

L4 = "NVIDIA L4"
A10G = "NVIDIA A10G"


def cell(variant: str, seed: int, device: str | None, **metrics: Any) -> dict[str, Any]:
    return {"variant": variant, "seed": seed, "status": "finished", "device": device, "gpu_seconds": 1.0, **metrics}


def timed(variant: str, seed: int, device: str, factor: float) -> dict[str, Any]:
    """An A10G takes twice as long, whatever is trained."""
    seconds = factor * (2.0 if device == A10G else 1.0) + random.Random(f"{variant}{seed}").gauss(0, 0.01)
    return cell(variant, seed, device, epoch_seconds=seconds, map=factor)


def test_times_are_compared_on_the_device_with_the_most_cells() -> None:
    # The slow variant ran on fast machines, so its mean over all of its cells is the smaller one.
    rows = [timed("reference", seed, L4 if seed < 4 else A10G, 1.0) for seed in range(9)]
    rows += [timed("slow", seed, L4, 1.2) for seed in range(9)]
    row = compare(pa.Table.from_pylist(rows), "epoch_seconds", "reference").to_pylist()[1]
    assert row["seeds"] == 9
    assert row["delta"] == pytest.approx(0.2, abs=0.03)
    assert row["decided"]
    assert row["failed"] == 0, "a cell that is left out has not failed"
    without = compare(pa.Table.from_pylist(rows), "map", "reference").to_pylist()[1]
    assert without["delta"] == pytest.approx(0.2)


def test_no_interval_without_three_pairs_on_one_device() -> None:
    rows = [timed("reference", seed, L4, 1.0) for seed in range(5)]
    rows += [timed("other", seed, L4 if seed < 2 else A10G, 1.2) for seed in range(5)]
    row = compare(pa.Table.from_pylist(rows), "epoch_seconds", "reference").to_pylist()[1]
    assert row["refused"] == "2 seeds: an interval needs three"
    assert row["p"] is None


def test_each_block_has_a_device_of_its_own() -> None:
    references = {"12 bits": "12 bits", "12 bits, slow": "12 bits", "48 bits": "48 bits", "48 bits, slow": "48 bits"}
    rows = [
        timed(name, seed, L4 if name.startswith("12") else A10G, 1.2 if "slow" in name else 1.0)
        for name in references
        for seed in range(3)
    ]
    assert devices.comparable(rows, "epoch_seconds", references) == rows
    assert devices.mixed(rows, references) == {}
    assert devices.mixed(rows) == {A10G: 6, L4: 6}
    assert len(devices.comparable(rows, "epoch_seconds")) == 6
    table = compare(pa.Table.from_pylist(rows), "epoch_seconds", references).to_pylist()
    assert [row["seeds"] for row in table] == [3] * 4


def test_cells_of_earlier_versions_show_by_their_seconds_what_computed_them() -> None:
    earlier = [{"variant": "a", "status": "finished", "gpu_seconds": seconds} for seconds in (0.0, 9.0, None)]
    assert [devices.kind_of(row) for row in earlier] == ["cpu", "cuda", "cpu"]
    assert [devices.is_foreign(row, "cpu") for row in earlier] == [False, True, False]
    assert not any(devices.is_foreign(row, "cuda") for row in earlier), "the names of GPUs are new"
    assert devices.mixed_sentence(earlier, "map") == (
        "cells that are compared ran on different kinds of devices: 2 on CPU, 1 on GPU without a recorded name"
    )


def test_failed_cells_do_not_count() -> None:
    rows = [cell("a", 0, L4), cell("a", 1, A10G) | {"status": "failed"}]
    assert devices.mixed_sentence(rows, "map") == ""
    assert devices.comparable(rows, "epoch_seconds") == rows


def test_a_cell_that_changed_its_device_has_no_time() -> None:
    moved = f"{A10G}{devices.BETWEEN}{L4}"
    rows = [timed("a", 0, moved, 1.0), timed("a", 1, moved, 1.0), timed("a", 2, L4, 1.0)]
    assert devices.comparable(rows, "epoch_seconds") == rows[2:]
    assert devices.comparable(rows[:2], "epoch_seconds") == []
    assert devices.comparable(rows, "map") == rows
    assert devices.mixed(rows[:2]) == {moved: 2}, "also if all cells moved alike"
