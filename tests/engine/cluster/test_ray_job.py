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


@pytest.mark.slow
def test_a_job_that_is_stopped_ends_in_good_order_and_continues(tmp_path: Path, tiny_data: Path) -> None:
    sweeps.prepare(tmp_path, tiny_data, iterations=12, variants=2, seeds=1)
    port = connection.free_port()
    address = f"http://127.0.0.1:{port}"
    words = ["--num-cpus", "1", "--dashboard-host", "127.0.0.1", "--dashboard-port", str(port)]
    words += ["--dashboard-agent-listen-port", str(connection.free_port())]
    settings = {"RAY_JOB_STOP_WAIT_TIME_S": "60"}  # as the cluster files have it
    with Head(*words, "--include-dashboard", "true", settings=settings) as head:
        sweep = [sys.executable, "-m", "raysearch.sweep", str(tmp_path / "study.py"), "--data", str(tmp_path / "data")]
        sweep += ["--profile", "laptop", "--out", str(tmp_path / "out" / "run")]
        begun = submit(head, address, sweep, "--no-wait", "--submission-id", "first")
        assert begun.returncode == 0, begun.stderr
        deadline = time.monotonic() + 300
        while not list(tmp_path.glob("out/run/checkpoints/*/*")):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        started = time.monotonic()
        stopped = ray_job(head, address, "stop", "first")
        took = time.monotonic() - started
        assert stopped.returncode == 0, stopped.stderr
        log = ray_job(head, address, "logs", "first").stdout
        assert "SIGTERM: stopping: running cells keep their checkpoints" in log
        assert "stopped; to continue: python -m raysearch.sweep" in log
        assert "Traceback" not in log
        assert took < 60, f"{took:.1f} s: Ray has killed it"  # with the start of `ray job stop`
        again = submit(head, address, sweep)
    assert again.returncode == 0, again.stdout + again.stderr
    rows = sweeps.rows(tmp_path, "out")
    assert [row["status"] for row in rows] == ["finished"] * 2
    assert max(row["attempts"] for row in rows) == 2, "the cell that was running did not continue"


def ray_job(head: Head, address: str, command: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `ray job`."""
    line = [RAY, "job", command, "--address", address, *words]
    return subprocess.run(line, env=head.environment, capture_output=True, text=True, timeout=400)


def submit(head: Head, address: str, command: list[str], *options: str) -> subprocess.CompletedProcess[str]:
    """Submit a job and wait for its end, unless the options are against it."""
    deadline = time.monotonic() + 120
    while True:
        job = ray_job(head, address, "submit", *options, "--", *command)
        # The dashboard is there a moment before the agent that runs jobs is.
        if "No available agent" not in job.stderr or time.monotonic() > deadline:
            return job
