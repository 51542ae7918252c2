"""A sweep as a job: `ray job submit` runs the driver on the cluster, which is told there which cluster it is on."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from raysearch.engine.cluster import connection

from .. import sweeps
from ..heads import RAY, Head


@pytest.mark.slow
def test_a_submitted_sweep_runs_on_the_cluster_that_it_was_submitted_to(tmp_path: Path, tiny_data: Path) -> None:
    sweeps.prepare(tmp_path, tiny_data, iterations=2, variants=2, seeds=1)
    port = connection.free_port()
    words = ["--num-cpus", "1", "--dashboard-host", "127.0.0.1", "--dashboard-port", str(port)]
    words += ["--dashboard-agent-listen-port", str(connection.free_port())]  # another Ray here may have the usual one
    with Head(*words, "--include-dashboard", "true") as head:
        sweep = [sys.executable, "-m", "raysearch.sweep", str(tmp_path / "study.py"), "--data", str(tmp_path / "data")]
        sweep += ["--profile", "laptop", "--out", str(tmp_path / "out" / "run")]
        job = submit(head, f"http://127.0.0.1:{port}", sweep)
    assert job.returncode == 0, job.stdout + job.stderr
    assert "succeeded" in job.stderr + job.stdout
    assert "report: " in job.stdout
    assert "1 trials at a time" in job.stdout, "the cluster has one CPU, this machine may have more"
    rows = sweeps.rows(tmp_path, "out")
    assert [(row["status"], row["attempts"]) for row in rows] == [("finished", 1)] * 2


def submit(head: Head, address: str, command: list[str]) -> subprocess.CompletedProcess[str]:
    """Submit a job and wait for its end."""
    deadline = time.monotonic() + 120
    while True:
        words = [RAY, "job", "submit", "--address", address, "--", *command]
        job = subprocess.run(words, env=head.environment, capture_output=True, text=True, timeout=400)
        # The dashboard is there a moment before the agent that runs jobs is.
        if "No available agent" not in job.stderr or time.monotonic() > deadline:
            return job
