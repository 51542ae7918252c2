"""When clusters/slurm.sbatch queues its job again. `python` and `scontrol` are stubs, and no SLURM is needed."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from raysearch.runs import heartbeat
from raysearch.runs.heartbeat import Heartbeat, RunningCell, Stage

FILE = Path(__file__).parents[2] / "clusters" / "slurm.sbatch"
JOB = "7001"
CELL = "run/cells/{}.parquet"
CHECKPOINT = "run/checkpoints/0a/newest.pt"


class Job:
    """A job whose sweep is a line of shell, started as often as it is queued again.

    Args:
        folder: that the job is submitted from.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.log = ""
        self._program("scontrol", 'echo "$@" >>requeued')

    def start(self, restart: int, sweep: str, out: str = "run", **settings: str) -> bool:
        """Run the job once; return whether it is queued again."""
        requeued = self._folder / "requeued"
        requeued.unlink(missing_ok=True)
        self._program("python", sweep)
        environment = {
            **os.environ,
            **settings,
            "PATH": f"{self._folder}/bin:{os.environ['PATH']}",
            "SLURM_JOB_ID": JOB,
            "SLURM_JOB_NUM_NODES": "1",
            "SLURM_CPUS_PER_TASK": "1",
            "SLURM_RESTART_COUNT": str(restart),
        }
        command = ["bash", str(FILE), "study.py", "--out", out]
        done = subprocess.run(
            command, cwd=self._folder, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        self.log = done.stdout
        return requeued.exists() and requeued.read_text() == f"requeue {JOB}\n"

    def starts(self, sweeps: list[str]) -> list[bool]:
        """Run the job once per sweep; return after which it is queued again."""
        return [self.start(number, sweep) for number, sweep in enumerate(sweeps)]

    def _program(self, name: str, line: str) -> None:
        path = self._folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(stat.S_IRWXU)


WARNED = "trap : USR1; kill -USR1 $PPID; sleep 0.1; exit 130"  # SLURM's signal reaches the batch shell
ATTEMPT = f"mkdir -p run/checkpoints/0a; date +%N >run/checkpoints/0a/attempts.json; {WARNED}"
STEP = f"mkdir -p run/checkpoints/0a; date +%N >{CHECKPOINT}; {WARNED}"


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def cell(number: int) -> str:
    path = CELL.format(f"{number:08x}")
    return f"mkdir -p run/cells; touch {path}; {WARNED}"


def test_a_job_without_progress_ends_after_three_starts(job: Job, tmp_path: Path) -> None:
    assert job.starts([ATTEMPT, ATTEMPT, ATTEMPT]) == [True, True, False]
    (line,) = job.log.splitlines()
    assert line.startswith("exit code 130: 3 starts in a row ended no step")
    assert "--time" in line
    assert "--signal" in line
    assert not list(tmp_path.glob(".raysearch-*"))


@pytest.mark.parametrize("progress", [STEP, cell(9)], ids=["checkpoint", "cell"])
def test_progress_starts_the_count_again(job: Job, progress: str) -> None:
    sweeps = [ATTEMPT, ATTEMPT, progress, ATTEMPT, ATTEMPT, ATTEMPT]
    assert job.starts(sweeps) == [True, True, True, True, True, False]


def test_a_further_step_of_a_heartbeat_is_progress(job: Job, tmp_path: Path) -> None:
    def _beat(pid: int, step: int) -> None:
        running = RunningCell("0a0a0a0a", "srem, seed 0", "srem", since=float(pid), step=step, steps=9)
        beat = Heartbeat("n1", pid, 0.0, 1.0, "running", stage=Stage("cells", 4, running=(running,)))
        heartbeat.write_heartbeat(tmp_path / "run", beat)

    queued = []
    for start, step in enumerate((0, 0, 1, 1, 2, 2, 2, 2)):
        _beat(start, step)  # each start has a process of its own
        # The file of this start is written by the sweep, after the job has looked at the run directory.
        shutil.move(tmp_path / f"run/progress/n1-{start}.json", tmp_path / "beat")
        queued.append(job.start(start, f"mv beat run/progress/n1-{start}.json; {WARNED}"))
    assert queued == [True] * 7 + [False]


def test_a_run_below_a_folder_of_checkpoints_counts_its_steps_alone(job: Job, tmp_path: Path) -> None:
    out = str(tmp_path / "checkpoints" / "run")
    sweep = f"mkdir -p {out}; date +%N >{out}/study.json; {WARNED}"
    assert [job.start(number, sweep, out=out) for number in range(3)] == [True, True, False]


def test_what_was_there_before_the_first_start_is_no_progress(job: Job, tmp_path: Path) -> None:
    (tmp_path / "run/cells").mkdir(parents=True)
    (tmp_path / CELL.format("00000001")).touch()
    (tmp_path / f".raysearch-{JOB}").write_text("idle\n" * 9)  # of a job that had this number long ago
    assert job.starts([ATTEMPT] * 3) == [True, True, False]


def test_progress_in_a_store_is_not_known(job: Job) -> None:
    assert [job.start(number, WARNED, out="s3://bucket/run") for number in range(5)] == [True] * 5


def test_the_restarts_are_limited(job: Job) -> None:
    assert not job.start(2, STEP, RAYSEARCH_RESTARTS="2")
    assert job.log == "exit code 130, after 2 restarts; to continue: sbatch again\n"


@pytest.mark.parametrize(
    "sweep", ["exit 0", "exit 1", "exit 130", "trap : TERM; kill -TERM $PPID; sleep 0.1; exit 143"]
)
def test_a_job_that_ended_or_was_cancelled_is_not_queued_again(job: Job, sweep: str, tmp_path: Path) -> None:
    assert not job.start(0, sweep)
    assert not list(tmp_path.glob(".raysearch-*"))


@pytest.mark.parametrize("code", [75, 137, 143])
def test_a_crash_and_a_lost_head_are_queued_again(job: Job, code: int) -> None:
    assert job.start(0, f"exit {code}")
