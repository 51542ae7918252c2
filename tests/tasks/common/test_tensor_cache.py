"""The feature cache: computed once, never half, and never under another's name."""

import errno
import fcntl
import itertools
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from raysearch.tasks.common import cached

KEY = {"data": "a1", "side": 64, "backbone": "small", "weights": None, "view": "anchor"}
TABLE = torch.arange(1_000_000.0).view(-1, 4)


def counting() -> tuple[list[int], Callable[[], Tensor]]:
    calls: list[int] = []

    def compute() -> Tensor:
        calls.append(1)
        return TABLE

    return calls, compute


def test_a_table_is_computed_once_and_comes_back_as_it_was(tmp_path: Path) -> None:
    calls, compute = counting()
    tables = [cached(tmp_path / "made" / "here", KEY, compute) for _ in range(3)]
    assert len(calls) == 1
    assert all(torch.equal(table, TABLE) and table.dtype == torch.float32 for table in tables)
    assert [path.suffix for path in (tmp_path / "made" / "here").iterdir()] == [".npy"]
    cached(tmp_path, dict(reversed(KEY.items())), compute)
    cached(tmp_path, KEY, compute)
    assert len(calls) == 2  # another directory, but not another order of the key


def test_slots_that_need_the_same_table_wait_for_the_first(tmp_path: Path) -> None:
    started = threading.Barrier(3)
    calls: list[int] = []

    def compute() -> Tensor:
        calls.append(1)
        time.sleep(0.3)
        return TABLE

    def need(_: int) -> Tensor:
        started.wait()
        return cached(tmp_path, KEY, compute)

    with ThreadPoolExecutor(3) as slots:
        tables = list(slots.map(need, range(3)))
    assert len(calls) == 1
    assert all(torch.equal(table, TABLE) for table in tables)
    assert [path.suffix for path in tmp_path.iterdir()] == [".npy"]


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks."""

    def refuse(*given: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_a_folder_without_locks_is_used_all_the_same(no_locks: None, tmp_path: Path) -> None:
    calls, compute = counting()
    for _ in range(2):
        assert torch.equal(cached(tmp_path, KEY, compute), TABLE)
    assert len(calls) == 1


def test_every_value_of_the_key_counts(tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [{}, *({name: "other"} for name in KEY), {"more": 1}, {"side": 65}]
    for number, change in enumerate(changes):
        value = torch.tensor([float(number)])
        assert torch.equal(cached(tmp_path, {**KEY, **change}, value.clone), value)
    assert len(list(tmp_path.iterdir())) == len(changes)


KILLED_WHILE = {
    "writing": """
def save(file, table):
    np_save(half := io.BytesIO(), table)
    file.write(half.getvalue()[: len(half.getvalue()) // 2])
    file.flush()
    os.kill(os.getpid(), 9)
np_save, np.save = np.save, save
""",
    "renaming": "os.replace = lambda *_: os.kill(os.getpid(), 9)",
    "computing": "compute = lambda: os.kill(os.getpid(), 9)",
}


@pytest.mark.parametrize("moment", KILLED_WHILE)
def test_a_killed_writer_leaves_nothing_that_a_reader_takes(moment: str, tmp_path: Path) -> None:
    script = f"""
import io, os, sys
from pathlib import Path
import numpy as np, torch
from raysearch.tasks.common import cached
compute = lambda: torch.arange(1_000_000.0).view(-1, 4)
{KILLED_WHILE[moment]}
cached(Path(sys.argv[1]), {KEY!r}, compute)
"""
    process = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], timeout=120, capture_output=True, check=False
    )
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()
    assert not list(tmp_path.glob("*.npy"))
    calls, compute = counting()
    assert torch.equal(cached(tmp_path, KEY, compute), TABLE)
    assert len(calls) == 1


def test_a_failure_leaves_no_file(tmp_path: Path) -> None:
    def compute() -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached(tmp_path, KEY, compute)
    assert not list(tmp_path.iterdir())


def test_a_writer_that_meets_a_finished_file_replaces_it_whole(no_locks: None, tmp_path: Path) -> None:
    """The slower of two writers replaces a whole file by a whole file, which the owner alone may change."""

    def slower() -> Tensor:
        assert torch.equal(cached(tmp_path, KEY, lambda: TABLE), TABLE)
        return TABLE

    assert torch.equal(cached(tmp_path, KEY, slower), TABLE)
    (file,) = tmp_path.glob("*.npy")
    assert np.array_equal(np.load(file), TABLE.numpy())
    assert stat.S_IMODE(file.stat().st_mode) == 0o644  # others read a shared cache


def test_names_do_not_repeat(tmp_path: Path) -> None:
    keys = [{"a": a, "b": b} for a, b in itertools.product((None, "None", 1, "1", 1.5), repeat=2)]
    for key in keys:
        cached(tmp_path, key, lambda: torch.zeros(1))
    assert len(list(tmp_path.iterdir())) == len(keys)
