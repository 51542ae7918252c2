"""The tests of models and tasks, with their device set by `RAYSEARCH_TEST_DEVICE`."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

from gpu_checks.outcomes import Result, Setting, Skipped

ROOT = Path(__file__).parents[2]
# Files that pass on any device; other tests of models compare with numpy or look at the CPU's memory.
FILES = [
    "tests/tasks/test_emulated_device.py",
    *(f"tests/models/test_{name}.py" for name in ("esrl", "lwe", "lwfm_loss", "pixel_pairs")),
]
QUICK = ["tests/models/test_esrl.py"]
RESERVE = 20.0  # seconds for what comes after


def check_tests(setting: Setting) -> Result:
    """Run the tests in a process of their own, as long as there is time.

    Returns:
        `tests_passed`, `tests_failed` and `tests_skipped`.

    Raises:
        Skipped: pytest is not installed.
    """
    if importlib.util.find_spec("pytest") is None:
        raise Skipped("pytest is not installed")
    environment = {**os.environ, "RAYSEARCH_TEST_DEVICE": setting.device.type, "PYTHONPATH": os.pathsep.join(sys.path)}
    flags = ["-q", "-p", "no:cacheprovider", "--tb=short", "-rf", *(QUICK if setting.quick else FILES)]
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *flags],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        output, _ = process.communicate(timeout=max(1.0, setting.left - RESERVE))
        problems = []
    except subprocess.TimeoutExpired:
        process.terminate()
        output, _ = process.communicate()
        problems = ["the tests did not end in time"]
    print(output[-20_000:])
    counts = {
        f"tests_{name}": int(match[1]) if (match := re.search(rf"(\d+) {name}\b", output)) else 0
        for name in ("passed", "failed", "skipped")
    }
    problems += re.findall(r"^(?:FAILED|ERROR) (.*)$", output, re.MULTILINE)
    if process.returncode not in (0, 1) and not problems:
        problems.append(f"pytest ended with {process.returncode}: {output.strip().splitlines()[-1:]}")
    return Result(counts, problems)
