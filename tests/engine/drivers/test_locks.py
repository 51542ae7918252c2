"""Cell locks and shared jobs in one process; test_two_drivers.py has drivers that are processes of their own."""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from raysearch.core import UserError
from raysearch.engine.drivers import locks
from raysearch.engine.drivers.locks import CellLocks, DedupJobs
from raysearch.engine.trials.jobs import FixedJobs, Job


def test_a_lock_has_one_holder(tmp_path: Path) -> None:
    """Many drivers lock and release the same few cells, and remove the folder, as fast as they can."""
    holders = dict.fromkeys("abc", 0)
    clashes: list[str] = []
    acquired = [0]
    guard = threading.Lock()
    deadline = time.monotonic() + 3

    def drive(seed: int) -> None:
        rng = random.Random(seed)
        while time.monotonic() < deadline:
            cell_locks = CellLocks(tmp_path / "locks")
            for cell in rng.choices("abc", k=4):
                if not cell_locks.acquire(cell):
                    continue
                with guard:
                    holders[cell] += 1
                    acquired[0] += 1
                    if holders[cell] > 1:
                        clashes.append(cell)
                time.sleep(rng.random() * 2e-4)
                with guard:
                    holders[cell] -= 1
                cell_locks.release(cell)
            cell_locks.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(drive, range(8)))
    assert acquired[0] > 500
    assert not clashes


def test_closing_releases_all(tmp_path: Path) -> None:
    mine = CellLocks(tmp_path / "locks")
    yours = CellLocks(tmp_path / "locks")
    assert mine.acquire("a")
    assert mine.acquire("a"), "mine already"
    assert not yours.acquire("a")
    mine.close()
    assert yours.acquire("a")
    yours.close()
    assert not (tmp_path / "locks").exists()


class Store(dict[str, dict[str, Any]]):
    """Results that all drivers see."""


class Driver:
    """Jobs of a driver, and the cells that it was answered without running them."""

    def __init__(self, cells: str, store: Store, folder: Path) -> None:
        self.answered: list[str] = []
        self.locks = CellLocks(folder)
        jobs = FixedJobs(Job(cell, cell, {}, 0) for cell in cells)
        self.jobs = DedupJobs(jobs, store.get, lambda job, record: self.answered.append(job.cell), self.locks)

    def next(self) -> Job | None:
        return self.jobs.next()


def test_a_cell_that_another_runs_is_waited_for_and_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_POLL_SECONDS", 0.0)
    store = Store(d={"status": "finished"})
    mine = Driver("abd", store, tmp_path)
    yours = Driver("bac", store, tmp_path)
    first = mine.next()
    other = yours.next()
    assert first is not None
    assert other is not None
    assert (first.cell, other.cell) == ("a", "b")
    assert mine.next() is None, "b is run by another, d has ended"
    assert mine.answered == ["d"]
    assert not mine.jobs.exhausted(), "a has not ended"
    third = yours.next()
    assert third is not None
    assert third.cell == "c"
    assert yours.next() is None

    store["a"] = {"status": "finished"}
    mine.jobs.ended(first, store["a"])
    assert mine.next() is None
    assert mine.jobs.exhausted(), "b may need the resources of an idle worker group here"
    assert mine.jobs.remaining() == 1
    assert yours.next() is None
    assert yours.answered == ["a"]
    yours.jobs.ended(third, {"status": "finished"})

    polls: list[None] = []
    mine.jobs.wait(lambda: bool(polls.append(None)) or len(polls) > 3)
    assert mine.jobs.remaining() == 1, "another runs b as long as it lives"
    yours.locks.close()  # as the kernel does when a driver dies, whose cell has no result
    mine.jobs.wait(lambda: False)
    assert not mine.jobs.exhausted()
    taken_over = mine.next()
    assert taken_over is not None
    assert taken_over.cell == "b"
    assert mine.jobs.exhausted()
    assert not mine.jobs.remaining()


def a_dangling_link(folder: Path) -> None:
    folder.symlink_to(folder.with_name("nowhere"))


def a_file(folder: Path) -> None:
    folder.write_text("")


def a_cell_that_is_a_link(folder: Path) -> None:
    folder.mkdir()
    (folder / "a").symlink_to(folder.with_name("victim"))


def a_cell_that_is_a_dangling_link(folder: Path) -> None:
    folder.mkdir()
    (folder / "a").symlink_to(folder / "no" / "where")


def a_cell_that_is_a_folder(folder: Path) -> None:
    (folder / "a").mkdir(parents=True)


PLANTED = [a_dangling_link, a_file, a_cell_that_is_a_link, a_cell_that_is_a_dangling_link, a_cell_that_is_a_folder]


@pytest.mark.parametrize("plant", PLANTED)
def test_what_cannot_be_locked_is_one_line(plant: Any, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    plant(tmp_path / ".claims")
    started = time.monotonic()
    with pytest.raises(UserError, match=r"cannot lock cells in '.*\.claims'") as refused:
        CellLocks(tmp_path / ".claims").acquire("a")
    assert time.monotonic() - started < 10
    assert "\n" not in str(refused.value)
    assert (tmp_path / "victim").read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be several users")
def test_locks_of_another_user_are_one_line(tmp_path: Path) -> None:
    shared = Path(tempfile.mkdtemp())  # pytest's own folders are closed to other users
    try:
        shared.chmod(0o777)
        (shared / ".claims").mkdir(mode=0o755)
        script = (
            "import os, sys\nfrom pathlib import Path\nfrom raysearch.core import UserError\n"
            "from raysearch.engine.drivers.locks import CellLocks\nos.setuid(65534)\n"
            "try:\n    CellLocks(Path(sys.argv[1])).acquire('a')\nexcept UserError as error:\n    print(error)\n"
        )
        command = [sys.executable, "-c", script, shared / ".claims"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert "which belongs to user root (Permission denied)" in done.stdout, done.stderr
    finally:
        shutil.rmtree(shared)
