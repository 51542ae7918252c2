"""Claims and shared jobs in one process; test_drivers.py has drivers that are processes of their own."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from raysearch.engine.drivers import locks
from raysearch.engine.drivers.locks import CellLocks, DedupJobs
from raysearch.engine.trials.jobs import FixedJobs, Job


def test_a_claim_has_one_holder(tmp_path: Path) -> None:
    """Many drivers take and give back the same few cells, and take the folder away, as fast as they can."""
    holders, clashes, taken = dict.fromkeys("abc", 0), [], [0]
    guard, stop = threading.Lock(), time.monotonic() + 3

    def drive(seed: int) -> None:
        rng = random.Random(seed)
        while time.monotonic() < stop:
            claims = CellLocks(tmp_path / "claims")
            for cell in rng.choices("abc", k=4):
                if cell in claims._held or not claims.take(cell):
                    continue
                with guard:
                    holders[cell] += 1
                    taken[0] += 1
                    if holders[cell] > 1:
                        clashes.append(cell)
                time.sleep(rng.random() * 2e-4)
                with guard:
                    holders[cell] -= 1
                claims.release(cell)
            claims.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(drive, range(8)))
    assert taken[0] > 500
    assert not clashes


def test_closing_gives_all_back(tmp_path: Path) -> None:
    mine, yours = CellLocks(tmp_path / "claims"), CellLocks(tmp_path / "claims")
    assert mine.take("a")
    assert mine.take("a"), "mine already"
    assert not yours.take("a")
    mine.close()
    assert yours.take("a")
    yours.close()
    assert not (tmp_path / "claims").exists()


class Store(dict[str, dict[str, Any]]):
    """Results that all drivers see."""


def driver(cells: str, store: Store, folder: Path) -> tuple[DedupJobs, list[str]]:
    told: list[str] = []
    jobs = FixedJobs(Job(cell, cell, {}, 0) for cell in cells)
    return DedupJobs(jobs, store.get, lambda job, record: told.append(job.cell), CellLocks(folder)), told


def test_what_another_runs_is_waited_for_and_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_LOOK_AGAIN", 0.0)
    store = Store(d={"status": "finished"})
    (mine, told), (yours, heard) = driver("abd", store, tmp_path), driver("bac", store, tmp_path)
    first, other = mine.next(), yours.next()
    assert first is not None
    assert other is not None
    assert (first.cell, other.cell) == ("a", "b")
    assert mine.next() is None, "b is run by another, d has ended"
    assert told == ["d"]
    assert not mine.exhausted(), "a has not ended"
    third = yours.next()
    assert third is not None
    assert third.cell == "c"
    assert yours.next() is None

    store["a"] = {"status": "finished"}
    mine.ended(first, store["a"])
    assert mine.next() is None
    assert mine.exhausted(), "b may need what is kept here for nothing"
    assert mine.left() == 1
    assert yours.next() is None
    assert heard == ["a"]
    yours.ended(third, {"status": "finished"})

    asked = []
    mine.wait(lambda: bool(asked.append(None)) or len(asked) > 3)
    assert mine.left() == 1, "another runs b as long as it lives"
    yours._claims.close()  # as the kernel does when a driver dies, whose cell has no result
    mine.wait(lambda: False)
    assert not mine.exhausted()
    taken_over = mine.next()
    assert taken_over is not None
    assert taken_over.cell == "b"
    assert mine.exhausted()
    assert not mine.left()
