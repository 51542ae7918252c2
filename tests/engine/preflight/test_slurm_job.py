"""SLURM job files: what is written into them, and what the checks find before a job waits in a queue for nothing."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from raysearch.core import UserError
from raysearch.engine.preflight import CheckStatus, shared_folders, slurm_job
from raysearch.engine.preflight.slurm_job import JobRequest

ROOT = Path(__file__).parents[3]
FILES = [ROOT / "clusters" / "slurm.sbatch", ROOT / "clusters" / "slurm_array.sbatch"]

PARTITIONS = """\
PartitionName=short Default=YES MaxTime=01:00:00 State=UP Nodes=n[1-2]
PartitionName=gpu Default=NO MaxTime=2-00:00:00 State=UP Nodes=g[1-2]
PartitionName=old Default=NO MaxTime=UNLIMITED State=DOWN Nodes=g2
"""
NODES = {"short": "n1|8|32000|(null)\nn2|8|16000|(null)\n", "gpu": "g1|32|256000|gpu:a100:4(S:0-1)\n", "old": ""}


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that answer as SLURM does."""
    texts = {f"nodes-{name}": text for name, text in NODES.items()} | {
        "partition": PARTITIONS,
        "config": "JobRequeue = 0\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    programs = {
        "scontrol": f'cat "{tmp_path}/$2"',
        "sinfo": f'for word; do case $word in --partition=*) cat "{tmp_path}/nodes-${{word#*=}}"; esac; done',
    }
    for name, line in programs.items():
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{line}\n")
        program.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")


def outcome(request: JobRequest) -> dict[str, str]:
    """Return status and message of each check, by its subject."""
    return {result.check: f"{result.status.value} {result.message}" for result in slurm_job.check_request(request)}


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_the_shipped_files_are_bash_and_say_what_they_ask_for(file: Path) -> None:
    assert subprocess.run(["bash", "-n", str(file)]).returncode == 0
    text = file.read_text()
    for option in ("--signal=B:USR1@120", "--requeue", "--open-mode=append", "--nodes=1"):
        assert f"\n#SBATCH {option}\n" in text
    assert "ray stop" not in text, "it would stop the Ray of another job"


@pytest.mark.parametrize("request_", [JobRequest(jobs=16, gpus=1, partition="gpu"), JobRequest(nodes=2, account="lab")])
def test_a_written_file_has_each_option_once_and_runs_the_study(
    request_: JobRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    words = ["my study.py", "--set", "train.lr=0.1"]
    text = slurm_job.write_job(slurm_job.template(request_), request_.options(), words)
    options = [line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH")]
    names = [option.partition("=")[0] for option in options]
    assert len(names) == len(set(names))
    assert {f"{name}={value}" for name, value in request_.options().items()} <= set(options)
    # The words arrive as they were given, with further ones of `sbatch` behind them.
    line = next(line for line in text.splitlines() if line.startswith("set -- "))
    script = f"""{line}\nprintf '%s\\n' "$@" """
    printed = subprocess.run(["bash", "-c", script, "bash", "--seeds", "3"], capture_output=True, text=True).stdout
    assert printed.splitlines() == [*words, "--seeds", "3"]


def test_a_checkout_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"cannot read clusters/slurm.sbatch .*run this in a checkout"):
        slurm_job.template(JobRequest())


@pytest.mark.usefixtures("slurm")
def test_the_partition_and_its_nodes() -> None:
    fits = outcome(JobRequest(hours=1.0))
    assert fits["partition"] == "PASS short is up"
    assert fits["nodes"].startswith("PASS 1 of 2 nodes of short have 4 CPUs, 16 GiB and 0 GPUs")
    assert fits["requeue"].startswith("WARN JobRequeue=0")
    assert outcome(JobRequest(hours=2.0))["time"] == "FAIL --hours 2 is more than short allows, 1 h 00 min"
    gpus = outcome(JobRequest(gpus=8, partition="gpu"))
    assert gpus["nodes"].startswith("FAIL 0 of 1 nodes of gpu have")
    assert gpus["nodes"].endswith("the most of a node are 32 CPUs, 250 GiB and 4 GPUs")
    assert "time" not in gpus
    assert outcome(JobRequest(partition="old"))["partition"] == "FAIL old is DOWN"
    with pytest.raises(UserError, match="no partition 'gpus'; did you mean 'gpu'"):
        outcome(JobRequest(partition="gpus"))


def test_without_slurm_the_partition_is_not_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert outcome(JobRequest()) == {
        "partition": "WARN not checked: scontrol is not installed here; run this on a login node"
    }


@pytest.mark.parametrize(
    ("request_", "cells", "minutes", "status", "expected"),
    [
        # 40 cells, four at a time, ten minutes each: ten rounds. A job has 3:58 h.
        (JobRequest(gpus=1, jobs=4), 40, 10, "PASS", "take 1 h 40 min: 0 restarts of each job, 6.7 GPU hours"),
        (JobRequest(gpus=1, jobs=1), 40, 60, "PASS", "10 restarts of each job, 40.0 GPU hours"),
        (JobRequest(gpus=1, jobs=1), 40, 600, "FAIL", "a job restarts 50 times"),
        (JobRequest(gpus=1, jobs=40), 40, 600, "WARN", "a cell is longer than a job"),
        (JobRequest(gpus=1), 40, None, "WARN", "50 restarts of a job at most, 204 GPU hours"),
    ],
)
def test_time_and_gpu_hours(
    request_: JobRequest, cells: int, minutes: float | None, status: str, expected: str
) -> None:
    seconds = None if minutes is None else 60 * minutes
    result = list(slurm_job.check_time(request_, cells, seconds, workers=1))[-1]
    assert result.status is CheckStatus[status]
    assert expected in result.message


def test_nodes_and_jobs_exclude_each_other() -> None:
    with pytest.raises(UserError, match="--nodes and --jobs"):
        JobRequest(nodes=2, jobs=2)


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /home rw - nfs4 server:/home rw,vers=4.2,local_lock=none
31 22 0:41 / /scratch rw - lustre mgs@tcp:/scratch rw,flock,lazystatfs
32 22 0:42 / /fast rw - lustre mgs@tcp:/fast rw,lazystatfs
33 22 0:43 / /old rw - nfs server:/old rw,vers=3,nolock,local_lock=all
34 22 0:44 / /with\\040space rw - gpfs fs rw
"""


@pytest.mark.parametrize(
    ("folder", "status", "message"),
    [
        ("/home/me/runs", "PASS", "is on nfs4"),
        ("/scratch", "PASS", "is on lustre"),
        ("/fast/me", "FAIL", "/fast is mounted without flock"),
        ("/old/me", "FAIL", "/old is mounted with local_lock=all, nolock"),
        ("/with space/runs", "PASS", "is on gpfs"),
        ("/scratch2", "WARN", "is on ext4 of this machine"),
    ],
)
def test_folders_that_nodes_share(folder: str, status: str, message: str, tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    (result,) = shared_folders.check_folder("--out", Path(folder), mounts)
    assert result.status is CheckStatus[status]
    assert message in result.message
