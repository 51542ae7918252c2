"""A Ray in a SLURM job: ports that other jobs do not use, and the exit code and signals of its command."""

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Self

import pytest

from raysearch.engine.cluster import slurm


def test_jobs_with_neighboring_numbers_get_different_ports() -> None:
    ports = [port for job in range(7000, 7020) for port in slurm.free_ports(job, 2)]
    assert len(set(ports)) > len(ports) // 2, "only a port in use leads to one of the next job"
    assert all(20_000 <= port < 30_000 for port in ports)
    assert slurm.free_ports(7000 + 10_000, 2) == slurm.free_ports(7000, 2), "large numbers stay within the range"


def test_a_port_in_use_is_left_out() -> None:
    first, second = slurm.free_ports(8200, 2)
    with socket.create_server(("", first)):
        others = slurm.free_ports(8200, 2)
    assert first not in others
    assert others[0] == second


class NoRay(slurm.SlurmRay):
    """A Ray that is not started.

    Args:
        is_lost: whether its head has ended.
    """

    is_lost = False

    def __init__(self, is_lost: bool) -> None:
        self.is_lost = is_lost
        self.environment = dict(os.environ)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("line", "is_lost", "code"),
    [
        ("exit 0", False, 0),
        ("exit 2", False, 2),
        ("kill -KILL $$", False, 137),  # as a shell has it
        ("kill -TERM $$", False, 143),
        ("exit 1", True, 75),  # clusters/slurm.sbatch queues the job again
        ("exit 0", True, 0),  # the study is complete
    ],
)
def test_the_exit_code_of_a_command(line: str, is_lost: bool, code: int) -> None:
    assert slurm.run_command(["sh", "-c", line], NoRay(is_lost)) == code


_COUNTS = """
import pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
number = int(sys.argv[2])
seen = []
signal.signal(number, lambda *_: (seen.append(1), (folder / str(len(seen))).touch()))
(folder / "ready").touch()
while len(seen) < 2:
    time.sleep(0.01)
sys.exit(40 + len(seen))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_the_command_gets_every_signal_of_the_job(number: signal.Signals, tmp_path: Path) -> None:
    def _send() -> None:
        for name in ("ready", "1"):  # the second signal after the first was seen
            deadline = time.monotonic() + 30
            while not (tmp_path / name).exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            os.kill(os.getpid(), number)

    sender = threading.Thread(target=_send)
    sender.start()
    code = slurm.run_command([sys.executable, "-c", _COUNTS, str(tmp_path), str(int(number))], NoRay(is_lost=False))
    sender.join()
    assert code == 42
