"""Timing several ways of doing the same in one run: turn by turn, so that a busy machine disturbs all of them alike."""

import datetime
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torchvision

THREADS = "of torch on the CPU; 1 on a machine that others use, where threads that wait for each other cost the most"


class Ratio(NamedTuple):
    """Of the seconds of two ways, over the repeats."""

    median: float
    lowest: float
    highest: float

    def __str__(self) -> str:
        return f"{self.median:.3g} times ({self.lowest:.3g} to {self.highest:.3g} between single turns)"


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """Wall seconds of a call, until the device has done what it queued."""
    _wait(device)
    started = time.perf_counter()
    call()
    _wait(device)
    return time.perf_counter() - started


def alternate(
    calls: Mapping[str, Callable[[], object]], repeats: int, device: torch.device, warm_up: int = 1
) -> dict[str, list[float]]:
    """Seconds of each call in each of `repeats` turns, after `warm_up` turns that do not count."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(warm_up + repeats):
        for name, call in calls.items():
            spent = seconds(call, device)
            if turn >= warm_up:
                taken[name].append(spent)
    return taken


def ratio(slow: list[float], fast: list[float]) -> Ratio:
    """How many times the one takes as long as the other: of the medians, and the extremes over turns."""
    turns = [one / other for one, other in zip(slow, fast, strict=True)]
    return Ratio(statistics.median(slow) / statistics.median(fast), min(turns), max(turns))


def machine(device: torch.device) -> str:
    """What is measured on, with which versions, when, and how busy it is."""
    gpu = f"{torch.cuda.get_device_name(device)}, " if device.type == "cuda" else ""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{gpu}{os.cpu_count()} cores {platform.machine()} ({torch.get_num_threads()} threads){load}; "
        f"torch {torch.__version__}, torchvision {torchvision.__version__}; {datetime.date.today().isoformat()}"
    )


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matrix_peak(side: int, device: torch.device) -> float:
    """FLOPs a second of a large matrix product of random numbers, in the precision of the networks."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    one, other = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    product = torch.empty_like(one)

    def multiply() -> None:
        for _ in range(10):
            torch.mm(one, other, out=product)

    taken = alternate({"product": multiply}, repeats=5, device=device, warm_up=2)["product"]
    return 10 * 2 * side**3 / statistics.median(taken)
