"""The peak of a process's memory is its own, not its parent's, and of the time since it was asked to count anew."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CHILD = """
import numpy as np, torch
from measuring import peak
device = torch.device("cpu")
np.ones(50_000_000)            # 381 MiB, before
start = peak.restart(device)
np.ones(10_000_000)            # 76 MiB
print(peak.most(device) - start)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets its mark")
def test_only_what_was_held_since_then_counts() -> None:
    large = np.ones(60_000_000)
    told = subprocess.run([sys.executable, "-c", CHILD], cwd=BENCHMARKS, capture_output=True, text=True, check=True)
    assert len(large)
    assert int(told.stdout) / 2**20 == pytest.approx(76.3, abs=4)
