"""clusters/slurm.sbatch and clusters/slurm_array.sbatch as they stand, on a real SLURM of two nodes on this machine.

The numbers of every study are those of a run that nobody disturbed, and every cell is there once.
"""

import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raysearch.runs import results

from ..security import users
from . import slurm_cluster
from .slurm_cluster import ROOT, SlurmCluster, as_user, wait_until

_MISSING = slurm_cluster.missing_requirement()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(_MISSING is not None, reason=f"this machine {_MISSING}"),
]

STUDY = """
from raysearch.studies.space import Ablation, factor
study = Ablation(
    question="Does erasing help?",
    task="retrieval",
    base={"hash.bits": 12, "train.iterations": 12, "train.epochs": 6, "train.batch": 8, "data.side": 32},
    reference={"srem.regions": 5},
    factors=[factor("srem.regions", 0)],
    seeds=2,
)
"""
SHIPPED = ["srem_ablation", "--seeds", "1", "--set", "train.iterations=6", "--set", "train.epochs=2"]  # two workers
CELLS = 4
PATIENCE = 1500.0  # seconds; minutes are enough on a quiet machine
SHARE = ("--cpus-per-task=1", "--mem=4000")  # of a node: half of its CPUs
SETTINGS = {"RAY_worker_niceness": "0"}  # by default others on a busy machine come first


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    with SlurmCluster(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> Path:
    """The folder that all nodes see, with the job files, a study, its data, and an undisturbed run for each width."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "clusters").symlink_to(ROOT / "clusters")
    (folder / "study.py").write_text(STUDY)
    (folder / "data").symlink_to(tiny_data)
    for workers in (1, 2):
        sweep = [sys.executable, "-m", "raysearch.sweep", *words(f"whole{workers}", workers)]
        environment = {**os.environ, **SETTINGS, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(sweep, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


def words(run: str, workers: int = 1) -> list[str]:
    """Return the words of a sweep. Runs are in folders of their own, since neighbors share cells."""
    study = ["study.py"] if workers == 1 else SHIPPED
    return [*study, "--data", "data", "--profile", "laptop", "--workers", str(workers), "--out", f"{run}/run"]


def outcome(run: Path) -> list[tuple[Any, ...]]:
    table = results.load(run / "run")
    return sorted(zip(*(table[name].to_pylist() for name in ("cell", "status", "map")), strict=True))


def log(folder: Path, job: int) -> str:
    return "\n".join(path.read_text() for path in sorted(folder.glob(f"raysearch-{job}*.log")))


def checkpoints(run: Path) -> list[Path]:
    return list(run.glob("run/checkpoints/*/*"))


def test_a_job_is_queued_again_before_its_limit_until_the_study_is_complete(
    cluster: SlurmCluster, checkout: Path
) -> None:
    limits = ("--time=2", "--signal=B:USR1@60")  # SLURM may send it up to a minute early
    job = cluster.submit(*SHARE, *limits, "clusters/slurm.sbatch", *words("again"), folder=checkout, settings=SETTINGS)
    assert cluster.wait_for_end(job, PATIENCE) == ["COMPLETED"], log(checkout, job)
    text = log(checkout, job)
    assert "1 trials at a time" in text, "the job has one of the node's two CPUs"
    assert int(cluster.field(job, "Restarts")) >= 1
    assert text.count("the job is queued again and continues") == int(cluster.field(job, "Restarts"))
    assert "Traceback" not in text
    assert outcome(checkout / "again") == outcome(checkout / "whole1")


def test_the_jobs_of_an_array_share_the_cells_and_one_may_die(cluster: SlurmCluster, checkout: Path) -> None:
    job = cluster.submit(
        *(*SHARE, "--array=0-3", "clusters/slurm_array.sbatch"),
        *words("array"),
        folder=checkout,
        settings=SETTINGS,
    )
    wait_until(lambda: checkpoints(checkout / "array"), "a first checkpoint", PATIENCE)
    cluster.call("scancel", "--signal=KILL", "--full", f"{job}_0")
    states = cluster.wait_for_end(job, PATIENCE)
    assert states.count("COMPLETED") == 3, log(checkout, job)
    assert outcome(checkout / "array") == outcome(checkout / "whole1")
    assert len(outcome(checkout / "array")) == CELLS


def test_two_nodes_share_a_trial_and_lose_a_step_and_a_node(cluster: SlurmCluster, checkout: Path) -> None:
    job = cluster.submit(
        *(*SHARE, "--nodes=2", "clusters/slurm.sbatch"), *words("two", 2), folder=checkout, settings=SETTINGS
    )
    wait_until(lambda: checkpoints(checkout / "two"), "a first checkpoint", PATIENCE)
    for step in cluster.steps("n2"):
        for process in [step, *step.children(recursive=True)]:
            process.kill()
    wait_until(lambda: results_of(checkout / "two"), "a cell that ended", PATIENCE)
    cluster.kill_node("n2")
    cluster.start_node("n2")
    assert cluster.wait_for_end(job, PATIENCE) == ["COMPLETED"], log(checkout, job)
    assert outcome(checkout / "two") == outcome(checkout / "whole2")
    assert not list(Path(f"/tmp/raysearch-{os.getuid()}").glob(str(job))), "Ray's folder is left"


def results_of(run: Path) -> list[Path]:
    return list(run.glob("run/cells/*.parquet"))


def test_a_cancelled_job_stays_cancelled(cluster: SlurmCluster, checkout: Path) -> None:
    job = cluster.submit(*SHARE, "clusters/slurm.sbatch", *words("cancelled"), folder=checkout, settings=SETTINGS)
    wait_until(lambda: re.search("follow it", log(checkout, job)), "the sweep", PATIENCE)
    cluster.call("scancel", str(job))
    assert cluster.wait_for_end(job, PATIENCE) == ["CANCELLED"]
    assert "queued again" not in log(checkout, job)


USERS = ("games", "man")  # accounts of Debian, which nobody logs in to
OTHER = "mail"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may enter. Those of pytest are closed to them."""
    with tempfile.TemporaryDirectory(prefix="slurm", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@users.needs_two_users
def test_jobs_of_two_users_share_nodes_and_a_third_user_gets_nothing(open_folder: Path, tiny_data: Path) -> None:
    opened = users.with_open_paths()
    (open_folder / "slurm").mkdir()
    with SlurmCluster(open_folder / "slurm", wrapper=opened) as cluster:
        jobs = {}
        for user in USERS:
            home = _home(open_folder / user, user, tiny_data)
            settings = {**SETTINGS, "HOME": str(home), "RAYSEARCH_CACHE": str(home / "cache")}
            jobs[user] = cluster.submit(
                *(*SHARE, "--nodes=2", "clusters/slurm.sbatch", *words("run", 2)),
                folder=home,
                settings={**settings, "PYTHONDONTWRITEBYTECODE": "1"},
                user=user,
            )
        for user, job in jobs.items():
            path = open_folder / user / f"raysearch-{job}.log"
            wait_until(lambda path=path: path.exists() and "trials at a time" in path.read_text(), user, PATIENCE)
        for job in jobs.values():
            port = 20_000 + 2 * job  # the first of a job's two
            assert _listens(port)
            command = [*opened, *as_user(OTHER), "ray", "status", "--address", f"127.0.0.1:{port}"]
            for mode in ("disabled", "token"):
                environment = {"PATH": f"{Path(sys.executable).parent}:{os.defpath}", "HOME": str(open_folder / "none")}
                environment |= {"RAY_AUTH_MODE": mode, "RAY_AUTH_TOKEN": "0" * 64}
                refused = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
                assert refused.returncode
                assert "InvalidAuthToken" in refused.stdout + refused.stderr
        for user, job in jobs.items():
            folder = f"/tmp/raysearch-{pwd.getpwnam(user).pw_uid}/{job}"
            listed = subprocess.run([*as_user(OTHER), "ls", folder], capture_output=True, text=True)
            assert "Permission denied" in listed.stderr
        for user, job in jobs.items():
            assert cluster.wait_for_end(job, PATIENCE) == ["COMPLETED"], log(open_folder / user, job)
            assert len(outcome(open_folder / user / "run")) == CELLS
        assert outcome(open_folder / USERS[0] / "run") == outcome(open_folder / USERS[1] / "run")


def _home(folder: Path, user: str, data: Path) -> Path:
    """Make a folder of a user, with the job files, a study and its data."""
    folder.mkdir()
    (folder / "clusters").symlink_to(ROOT / "clusters")
    (folder / "study.py").write_text(STUDY)
    shutil.copytree(data, folder / "data")
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            shutil.chown(path, user, user)
    return folder


def _listens(port: int) -> bool:
    with socket.socket() as tried:
        tried.settimeout(1.0)
        return tried.connect_ex(("127.0.0.1", port)) == 0
