"""Ray's folder on machines of one's own, which other users of these machines share: clusters/on_prem.yaml."""

import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from raysearch.engine.cluster import connection

from .users import REPOSITORY, User, needs_two_users

FILE = yaml.safe_load((REPOSITORY / "clusters" / "on_prem.yaml").read_text())
HEAD = FILE["head_start_ray_commands"][-1]
WORKER = FILE["worker_start_ray_commands"][-1]
# Makes the folder as Ray does: writable by all.
FAKE_RAY = """#!/bin/sh
for word; do case $word in --temp-dir=*) folder=${word#*=};; esac; done
mkdir -p "$folder" && chmod 777 "$folder" && echo "started in $folder, RAY_TMPDIR=$RAY_TMPDIR"
"""


def start(user: User, command: str, shared: Path) -> tuple[int, str, str]:
    """Run a start command with a folder of this test as /tmp, and with a stand-in for `ray`."""
    user.write("bin/ray", FAKE_RAY, 0o755)
    line = command.replace("/tmp/", f"{shared}/")
    path = f"{user.home}/bin:/usr/bin:/bin"
    done = user.run("bash", "-c", line, PATH=path, SSH_CONNECTION="127.0.0.1 1 127.0.0.1 22", RAY_HEAD_IP="127.0.0.1")
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


@needs_two_users
@pytest.mark.parametrize("command", [HEAD, WORKER], ids=["head", "worker"])
def test_others_cannot_enter_the_folder(victim: User, attacker: User, shared: Path, command: str) -> None:
    folder = shared / f"raysearch-{victim.uid}"
    assert start(victim, command, shared)[:2] == (0, f"started in {folder}/ray, RAY_TMPDIR={folder}\n")
    assert (folder / "ray").stat().st_mode & 0o777 == 0o777
    for words in (["ls", str(folder)], ["touch", str(folder / "ray" / "x")], ["mv", str(folder), str(shared / "y")]):
        assert attacker.run(*words).returncode != 0, words
    folder.chmod(0o755)  # as an earlier start may have left it
    assert start(victim, command, shared)[0] == 0
    assert folder.stat().st_mode & 0o777 == 0o700


@needs_two_users
@pytest.mark.parametrize("command", [HEAD, WORKER], ids=["head", "worker"])
@pytest.mark.parametrize("plant", ["mkdir -m 777 {}", "ln -s {home} {}", "ln -s /nowhere {}", "touch {}"])
def test_a_folder_that_another_user_took_is_refused(
    victim: User, attacker: User, shared: Path, command: str, plant: str
) -> None:
    folder = shared / f"raysearch-{victim.uid}"
    planted = attacker.run("sh", "-c", plant.replace("{home}", str(victim.home)).replace("{}", str(folder)))
    assert planted.returncode == 0
    status, output, errors = start(victim, command, shared)
    assert output == ""
    assert f"{folder} belongs to another user; remove it" in errors
    assert status == (1 if command is HEAD else 0), "the autoscaler would give a worker up for good"


def test_a_local_ray_on_a_machine_of_the_cluster_has_a_folder_beside(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = shared / f"raysearch-{os.getuid()}"
    monkeypatch.setenv("RAY_TMPDIR", str(closed))
    assert connection.private_directory() == closed / "local"
    assert closed.stat().st_mode & 0o777 == 0o700
    longest = "/tmp/raysearch-4294967294/local/session_2026-11-29_10-39-28_348698_1234567/sockets/plasma_store"
    assert len(longest) < 108, "a socket's path may not be longer"


@needs_two_users
@pytest.mark.slow
def test_ray_itself_is_found_in_its_closed_folder(victim: User, attacker: User) -> None:
    """`ray status`, `--address auto` and the list of metrics follow RAY_TMPDIR; another user reaches none of it."""
    log = victim.home / "log"
    ray = f"{sys.executable} -m ray.scripts.scripts"

    def _blocking(command: str) -> str:
        line = re.sub(r"--autoscaling-config=\S+|--(dashboard-|metrics-export-)?port=\d+", "", command)
        return f"exec >> {log} 2>&1; " + line.replace(" ray start", f" exec {ray} start --block").replace("|| true", "")

    mine = {"SSH_CONNECTION": "127.0.0.1 1 127.0.0.1 22", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    folder = Path(f"/tmp/raysearch-{victim.uid}")
    head = _blocking(HEAD).replace("--head", "--head --port=0")
    started = time.time()
    with tempfile.TemporaryDirectory(prefix="w") as other, victim.start("bash", "-c", head, **mine):
        written = [folder / "ray" / name for name in ("prom_metrics_service_discovery.json", "ray_current_cluster")]
        _wait(lambda: all(path.exists() and path.stat().st_mtime > started for path in written), log)
        Path(other).chmod(0o1777)  # the /tmp of another machine
        address = written[1].read_text()
        worker = _blocking(WORKER).replace("$RAY_HEAD_IP:6379", address).replace("/tmp/", f"{other}/")
        with victim.start("bash", "-c", worker, **mine):
            count = "import ray; ray.init('auto', logging_level='ERROR'); print(sum(n['Alive'] for n in ray.nodes()))"
            _wait(lambda: victim.python(count, RAY_TMPDIR=str(folder), **mine).stdout.endswith("2\n"), log)
            status = victim.run("sh", "-c", f"{ray} status", RAY_TMPDIR=str(folder), **mine)
            assert "Active:" in status.stdout, status.stdout + status.stderr
            for closed in (folder, Path(other) / folder.name):
                assert closed.stat().st_mode & 0o777 == 0o700
                assert list((closed / "ray").glob("session_*/sockets/plasma_store*"))
                assert attacker.run("ls", str(closed / "ray")).returncode != 0


def _wait(condition: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.5)
