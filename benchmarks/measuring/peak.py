"""The most memory that this process held: the resident set on a CPU, the allocator's on a GPU.

Linux forgets its mark on demand, so that what importing took does not hide what came later; the mark is read from the
process's own status, since the one of `getrusage` starts at what the parent held. Where there is no such file, as on
macOS, that mark is all there is, and a difference of two may be too small, never too large.
"""

import re
import resource
import sys
from pathlib import Path

import torch

_FORGET, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
_PEAK_OF_RESIDENT_SET = "5"  # proc(5), clear_refs


def restart(device: torch.device) -> int:
    """Count anew from now on; returns the bytes that are held now."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    elif _FORGET.exists():
        _FORGET.write_text(_PEAK_OF_RESIDENT_SET)
    return most(device)


def most(device: torch.device) -> int:
    """Bytes that were held at most."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device)
    if found := _STATUS.exists() and re.search(r"^VmHWM:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE):
        return int(found[1]) * 1024
    # Linux counts in KiB, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
