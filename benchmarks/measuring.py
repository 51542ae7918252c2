"""Measure for the benchmarks: calls timed in turns, points within a step, peak memory, and the machine.

Two sides are timed turn by turn in one run, so that a busy machine disturbs both alike.

Peak memory is the resident set on a CPU and the allocator's on a GPU. Linux resets its peak on demand, so importing
does not hide what comes later. The peak is read from the process's own status, because `getrusage` starts at the
parent's. Without that file, as on macOS, `getrusage` is used; a difference of two peaks may then be too small.
"""

import datetime
import os
import platform
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torchvision

THREADS = "CPU threads of torch; use 1 on a shared machine, where threads that wait for each other cost the most"


class Ratio(NamedTuple):
    """The ratio of two calls' seconds: of the medians, and the extremes over the repeats."""

    median: float
    lowest: float
    highest: float

    def __str__(self) -> str:
        return f"{self.median:.3g} times (single turns: {self.lowest:.3g} to {self.highest:.3g})"


def time_call(call: Callable[[], object], device: torch.device) -> float:
    """Return the wall seconds of a call, until the device has finished the work that it queued."""
    _wait(device)
    started = time.perf_counter()
    call()
    _wait(device)
    return time.perf_counter() - started


def alternate(
    calls: Mapping[str, Callable[[], object]], repeats: int, device: torch.device, warm_up: int = 1
) -> dict[str, list[float]]:
    """Time calls in turns.

    Args:
        calls: name -> call.
        repeats: number of turns that count. Each turn runs every call once.
        device: device that the calls compute on.
        warm_up: number of turns before, which do not count.

    Returns:
        name -> wall seconds per turn.
    """
    return take_turns({name: partial(time_call, call, device) for name, call in calls.items()}, repeats, warm_up)


def take_turns(measures: Mapping[str, Callable[[], float]], repeats: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Do as `alternate`, with functions that return their own seconds."""
    seconds: dict[str, list[float]] = {name: [] for name in measures}
    for turn in range(warm_up + repeats):
        for name, measure in measures.items():
            elapsed = measure()
            if turn >= warm_up:
                seconds[name].append(elapsed)
    return seconds


def ratio(slow: list[float], fast: list[float]) -> Ratio:
    """Return the ratio of seconds, slow / fast: of the medians, and the extremes over turns."""
    turns = [slow_seconds / fast_seconds for slow_seconds, fast_seconds in zip(slow, fast, strict=True)]
    return Ratio(statistics.median(slow) / statistics.median(fast), min(turns), max(turns))


def machine(device: torch.device) -> str:
    """Describe the machine in one line: hardware, threads, load, versions and date."""
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
    """Measure the peak of a large matrix product of random numbers, in the precision of the networks.

    Args:
        side: rows and columns of the matrices.
        device: device to multiply on. bfloat16 on a GPU, float32 on a CPU.

    Returns:
        Floating-point operations per second.
    """
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    left = torch.randn(side, side, device=device, dtype=dtype)
    right = torch.randn(side, side, device=device, dtype=dtype)
    product = torch.empty_like(left)

    def _multiply() -> None:
        for _ in range(10):
            torch.mm(left, right, out=product)

    seconds = alternate({"product": _multiply}, repeats=5, device=device, warm_up=2)["product"]
    return 10 * 2 * side**3 / statistics.median(seconds)


class DeviceTimer:
    """Mark points in the device's queue of work, in pairs, and measure the seconds between them."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.points: list[Any] = []

    def set(self) -> None:
        """Mark the current point in the queue of work."""
        if self.device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record(torch.cuda.current_stream(self.device))
            self.points.append(event)
        else:
            self.points.append(time.perf_counter())

    def between(self) -> list[float]:
        """Return the seconds between the points of each pair."""
        pairs = zip(self.points[::2], self.points[1::2], strict=True)
        if self.device.type != "cuda":
            return [end - start for start, end in pairs]
        torch.cuda.synchronize(self.device)
        return [start.elapsed_time(end) / 1000 for start, end in pairs]  # from milliseconds


_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_RESET_RESIDENT_PEAK = "5"  # proc(5), clear_refs


def restart_peak(device: torch.device) -> int:
    """Reset the peak, and return the bytes that are held now."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    elif _CLEAR_REFS.exists():
        _CLEAR_REFS.write_text(_RESET_RESIDENT_PEAK)
    return peak_bytes(device)


def peak_bytes(device: torch.device) -> int:
    """Return the peak of the held bytes since the last reset."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device)
    if match := _STATUS.exists() and re.search(r"^VmHWM:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE):
        return int(match[1]) * 1024
    # Linux counts in KiB, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
