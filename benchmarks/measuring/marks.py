"""Time within a step, on a device that works through a queue."""

import time
from typing import Any

import torch


class Marks:
    """Points in the device's queue of work, in pairs, and the seconds between them."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.points: list[Any] = []

    def set(self) -> None:
        if self.device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record(torch.cuda.current_stream(self.device))
            self.points.append(event)
        else:
            self.points.append(time.perf_counter())

    def between(self) -> list[float]:
        """Seconds of each pair."""
        pairs = zip(self.points[::2], self.points[1::2], strict=True)
        if self.device.type != "cuda":
            return [end - start for start, end in pairs]
        torch.cuda.synchronize(self.device)
        return [start.elapsed_time(end) / 1000 for start, end in pairs]  # from milliseconds
