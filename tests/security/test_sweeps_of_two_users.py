"""Whole sweeps on a shared machine: what they leave for other users, and what users still do together."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from raysearch.runs import results

from .users import REPOSITORY, User, needs_two_users

EARLIER = REPOSITORY / "tests" / "fixtures" / "earlier_version"
SMALL = ("--seeds", "1", "--only", "srem.regions=0", "--set", "train.iterations=1", "--set", "train.epochs=1")


def reachable(user: User, folder: Path) -> list[str]:
    """Return the files below a folder that a user can read."""
    found = user.run("find", str(folder), "-type", "f", "-readable").stdout
    return sorted(found.splitlines())


def start_sweep(user: User) -> "subprocess.Popen[str]":
    """Start a small sweep of the embedded study, with the user's default cache and a run directory below the home."""
    environment = user.environment()
    del environment["RAYSEARCH_CACHE"]
    words = [sys.executable, "-m", "raysearch.sweep", "srem_ablation", "--out", "work/run", *SMALL]
    return subprocess.Popen(
        user.command(*words),
        env=environment,
        cwd=user.home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        umask=0o022,
    )


def check_by_training(user: User, theirs: Path) -> None:
    """Train the cell of a colleague's run again, on the user's own copy of the data: all numbers are equal."""
    (cell,) = (row for row in results.load(theirs).to_pylist() if row["variant"] == "srem.regions=0")
    (data,) = {path.parent for path in (user.home / ".cache" / "raysearch").rglob("manifest.json")}
    words = ["--from", str(theirs), "--variant", "srem.regions=0", "--seed", "0", "--data", str(data)]
    again = user.raysearch("train", "retrieval", *words)
    assert again.returncode == 0, again.stderr
    metrics = json.loads(again.stdout.splitlines()[-1])
    shared = metrics.keys() & cell.keys()
    assert "map" in shared
    assert {name: metrics[name] for name in shared} == {name: cell[name] for name in shared}


@pytest.mark.slow
@needs_two_users
def test_two_users_sweep_at_the_same_time_and_leave_nothing_open(victim: User, attacker: User) -> None:
    processes = [start_sweep(user) for user in (victim, attacker)]
    outputs = [process.communicate(timeout=400)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    check_by_training(victim, attacker.home / "work" / "run")
    for user, other in ((victim, attacker), (attacker, victim)):
        assert (user.home / "work" / "run" / "report.html").is_file()
        shutil.rmtree(user.home / "work")  # a run follows the umask, which lets others read it here
        shutil.rmtree(user.home / "cache", ignore_errors=True)  # so does a cache that RAYSEARCH_CACHE names
        assert (user.home / ".cache" / "raysearch").is_dir(), "the sweep kept its data set elsewhere"
        assert reachable(other, user.home) == []


@needs_two_users
def test_the_run_of_a_colleague_is_reported_and_compared(victim: User, attacker: User) -> None:
    theirs = attacker.own(Path(shutil.copytree(EARLIER / "ablation", attacker.home / "run")))
    mine = victim.own(Path(shutil.copytree(EARLIER / "ablation", victim.home / "mine")))
    before = {path: path.read_bytes() for path in theirs.rglob("*") if path.is_file()}
    refused = victim.raysearch("report", str(theirs))
    assert refused.returncode == 2
    assert "--out" in refused.stderr
    reported = victim.raysearch("report", str(theirs), "--out", "reported")
    assert reported.returncode == 0, reported.stderr
    assert (victim.home / "reported" / "report.html").is_file()
    compared = victim.raysearch("report", str(mine), str(theirs), "--out", "compared")
    assert compared.returncode == 0, compared.stderr
    assert {path: path.read_bytes() for path in theirs.rglob("*") if path.is_file()} == before
