"""The number of CPUs: of a process that is pinned to some of them, and in control groups of both versions."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from raysearch.core import count_cpus
from raysearch.data import shards

from ..data.shards.test_writer import jpeg

HERE = frozenset(os.sched_getaffinity(0))


@pytest.fixture(autouse=True)
def no_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHON_CPU_COUNT", raising=False)


@pytest.fixture
def one_core() -> Iterator[None]:
    """Pin this process to one CPU, as `taskset` and SLURM do."""
    os.sched_setaffinity(0, {min(HERE)})
    yield
    os.sched_setaffinity(0, HERE)


def counted(folder: Path, membership: str, files: Mapping[str, str]) -> int:
    """Return the count in a tree of control groups that is made of files."""
    for name, text in files.items():
        path = folder / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    (folder / "membership").write_text(f"{membership}\n")
    return count_cpus(folder / "groups", folder / "membership")


def test_a_pinned_process_has_one(one_core: None) -> None:
    assert count_cpus() == 1


def test_the_wish_of_the_user_is_a_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    present = len(HERE)
    for wish, expected in (("1", 1), ("1000", present), ("0", present), ("default", present)):
        monkeypatch.setenv("PYTHON_CPU_COUNT", wish)
        assert counted(tmp_path, "0::/", {}) == expected


V1 = {"cpu,cpuacct/job/cpu.cfs_period_us": "100000"}


@pytest.mark.skipif(len(HERE) < 2, reason="a limit shows only where there are more CPUs")
@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/job/step", {"job/step/cpu.max": "100000 100000"}, 1),
        ("0::/job/step", {"job/step/cpu.max": "max 100000", "job/cpu.max": "150000 100000"}, 1),
        ("0::/job/step", {"job/step/cpu.max": "max 100000"}, 2),
        ("0::/job", {"job/cpu.max": "20000 100000"}, 1),  # at least one
        ("0::/job", {"job/cpu.max": "900000 100000"}, 2),  # no more than there are
        ("0::/other", {"job/cpu.max": "100000 100000"}, 2),  # another group's
        ("0::/on/the/host", {"cpu.max": "100000 100000"}, 1),  # a container sees its own group as the root
        ("4:cpu,cpuacct:/job\n0::/", {**V1, "cpu,cpuacct/job/cpu.cfs_quota_us": "100000"}, 1),
        ("4:cpu,cpuacct:/job\n0::/", {**V1, "cpu,cpuacct/job/cpu.cfs_quota_us": "-1"}, 2),
        ("3:memory:/job\n2:cpuset:/", {**V1, "cpu,cpuacct/job/cpu.cfs_quota_us": "100000"}, 2),
        ("0::/job", {"job/cpu.max": "garbage"}, 2),
    ],
)
def test_quotas(membership: str, files: dict[str, str], expected: int, tmp_path: Path) -> None:
    os.sched_setaffinity(0, sorted(HERE)[:2])
    try:
        assert counted(tmp_path, membership, files) == expected
    finally:
        os.sched_setaffinity(0, HERE)


def test_without_control_groups_the_affinity_counts(tmp_path: Path) -> None:
    assert count_cpus(tmp_path / "none", tmp_path / "none") == len(HERE)


def test_a_pinned_process_ingests_on_one_thread(one_core: None, tmp_path: Path) -> None:
    threads: set[int] = set()

    def _loader(number: int) -> Callable[[], bytes]:
        def _load() -> bytes:
            threads.add(threading.get_ident())
            return jpeg(number)

        return _load

    samples = [shards.Sample(f"{number}.jpg", "bird", "train", _loader(number)) for number in range(64)]
    shards.write_shards(samples, tmp_path / "out", name="n", layout="l", executor=shards.ThreadExecutor())
    assert len(threads) == 1
