"""The peak memory of a process: its own and not its parent's, counted from the last reset."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CHILD = """
import numpy as np, torch
from measuring import peak_bytes, restart_peak
device = torch.device("cpu")
np.ones(50_000_000)            # 381 MiB, before
start = restart_peak(device)
np.ones(10_000_000)            # 76 MiB
print(peak_bytes(device) - start)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux resets its peak")
def test_only_what_was_held_since_then_counts() -> None:
    large = np.ones(60_000_000)
    child = subprocess.run([sys.executable, "-c", CHILD], cwd=BENCHMARKS, capture_output=True, text=True, check=True)
    assert len(large)
    assert int(child.stdout) / 2**20 == pytest.approx(76.3, abs=4)
