"""Worker groups of one and of two processes: how a test starts them, and how they meet."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
GROUPS = [(1, 0), (2, 0), (2, 1)]  # (world size, rank) of every process


def run_groups(module: str, folder: Path) -> None:
    """Run `python -m module RANK WORLD_SIZE FOLDER` for a group of one and a group of two, and wait for the end."""
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": loopback, "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen([sys.executable, "-m", module, str(rank), str(world_size), str(folder)], env=environment)
        for world_size, rank in GROUPS
    ]
    try:
        assert [process.wait(timeout=400) for process in processes] == [0, 0, 0]
    finally:
        for process in processes:
            process.kill()


def join_group(rank: int, world_size: int, folder: Path) -> None:
    """Meet the other processes through a file in `folder`; a single process meets nobody."""
    torch.set_num_threads(1)
    if world_size > 1:
        torch.distributed.init_process_group(
            "gloo",
            init_method=f"file://{folder}/meeting-{world_size}",
            rank=rank,
            world_size=world_size,
            timeout=timedelta(seconds=120),
        )
