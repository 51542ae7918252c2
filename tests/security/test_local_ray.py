"""A Ray that a sweep starts on a shared machine: what another user of the machine can reach of it."""

import json
import os
import re
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import ray

from raysearch.core import UserError
from raysearch.engine.cluster import connection

from ..ray_settings import ray_settings
from .users import User, needs_two_users

JOB_AGENT = 52365

# Starts Ray as a sweep does, prints the process ids of this user's session, and waits for a line.
LOCAL_RAY = """
import json, os, sys
import ray
from raysearch.engine.cluster import connection
with connection.connected(None):
    @ray.remote
    def variables():
        return {name: value for name, value in os.environ.items() if name.startswith("RAY_AUTH")}
    print(json.dumps({"directory": str(connection.private_directory()), "worker": ray.get(variables.remote())}))
    sys.stdout.flush()
    sys.stdin.readline()
print("ended")
"""

# Asks every port of the first argument, at every address of the second, to run a job without a token.
ASK = """
import json, sys, urllib.error, urllib.request
body = json.dumps({"entrypoint": "id > " + sys.argv[3]}).encode()
answers = {}
for port in json.loads(sys.argv[1]):
    for address in json.loads(sys.argv[2]):
        url = f"http://{address}:{port}/api/job_agent/jobs/"
        headers = {"Content-Type": "application/json"}
        for token in sys.argv[4:]:
            headers["Authorization"] = "Bearer " + open(token).read().strip()
        try:
            answer = urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=5).status
        except urllib.error.HTTPError as error:
            answer = error.code
        except Exception as error:
            answer = type(error).__name__
        answers[f"{address}:{port}"] = answer
print(json.dumps(answers))
"""


def listening(uid: int) -> dict[int, set[str]]:
    """Return port -> addresses at which processes of a user listen."""
    ports: dict[int, set[str]] = {}
    for process in psutil.process_iter():
        try:
            if process.uids().real == uid:
                for connected in process.net_connections():
                    if connected.status == psutil.CONN_LISTEN:
                        ports.setdefault(connected.laddr.port, set()).add(connected.laddr.ip)
        except psutil.Error:
            continue
    return ports


def addresses() -> list[str]:
    """Return the IPv4 addresses of this machine."""
    interfaces = psutil.net_if_addrs().values()
    return [address.address for entries in interfaces for address in entries if address.family == socket.AF_INET]


def readable_by_others(folder: Path) -> list[str]:
    """Return the files below a folder that users outside its group can read, but for caches of compiled kernels."""
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if stat.S_ISREG(path.lstat().st_mode) and path.lstat().st_mode & 0o004
    ]


@needs_two_users
def test_another_user_cannot_reach_a_local_ray(victim: User, attacker: User) -> None:
    code = victim.write("start.py", LOCAL_RAY)
    words = victim.command(sys.executable, str(code))
    process = subprocess.Popen(
        words, env=victim.environment(), cwd=victim.home, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        started = json.loads(process.stdout.readline())
        token = started["worker"]["RAY_AUTH_TOKEN"]
        assert started["worker"]["RAY_AUTH_MODE"] == "token"
        assert re.fullmatch("[0-9a-f]{64}", token)

        ports = listening(victim.uid)
        assert len(ports) > 5, "the session's servers were not found"
        loopback = {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
        assert {port: ips for port, ips in ports.items() if not ips <= loopback} == {}

        written = attacker.home / "written"
        attacker.home.chmod(0o777)
        asked = [json.dumps(sorted(ports)), json.dumps(addresses()), str(written)]
        answers = json.loads(attacker.python(ASK, *asked).stdout)
        assert len(answers) == len(ports) * len(addresses())
        assert not [where for where, answer in answers.items() if answer == 200]
        if JOB_AGENT in ports:  # Ray goes without its agent where another Ray has the port
            assert answers[f"127.0.0.1:{JOB_AGENT}"] == 401
        time.sleep(1)
        assert not written.exists()

        assert not (victim.home / ".ray").exists()
        assert readable_by_others(victim.home) == ["start.py"]
        directory = Path(started["directory"])
        assert (directory / "session_latest").exists()
        looked = attacker.run("ls", str(directory))
        assert (looked.returncode, "Permission denied" in looked.stderr) == (2, True)
        moved = attacker.run("mv", str(directory / "session_latest"), str(directory / "mine"))
        assert moved.returncode != 0
        lines = attacker.run("sh", "-c", "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' ' '")
        assert token not in lines.stdout
        assert not [path for path in directory.rglob("*.log") if token in path.read_text(errors="replace")]
    finally:
        output, _ = process.communicate("\n", timeout=60)
    assert output == "ended\n"


@needs_two_users
def test_a_folder_taken_by_another_user_is_not_used(victim: User, attacker: User, tmp_path: Path) -> None:
    shared = tmp_path / "t"
    shared.mkdir()
    shared.chmod(0o1777)
    print_directory = (
        "from raysearch.engine.cluster import connection as c; d = c.private_directory();"
        "print(d); assert d == c.private_directory()"
    )
    own = victim.python(print_directory, RAY_TMPDIR=str(shared)).stdout.strip()
    assert own == str(shared / f"raysearch-{victim.uid}" / "ray")
    (shared / f"raysearch-{victim.uid}").rmdir()
    for taken in ("mkdir", "ln -s /tmp", "touch"):
        name = shared / f"raysearch-{victim.uid}"
        attacker.run("sh", "-c", f"{taken} {name}")
        other = victim.python(print_directory, RAY_TMPDIR=str(shared)).stdout.strip()
        parent = Path(other).parent
        assert parent != name
        assert (parent.stat().st_mode & 0o777, parent.stat().st_uid) == (0o700, victim.uid)
        name.rmdir() if name.is_dir() and not name.is_symlink() else name.unlink()


@needs_two_users
def test_a_readable_token_file_is_made_private_or_refused(victim: User, attacker: User) -> None:
    protect = "from raysearch.engine.cluster import connection; connection.protect_token_file()"
    path = victim.write(".ray/auth_token", "0" * 64)
    assert attacker.run("cat", str(path)).stdout == "0" * 64
    repaired = victim.python(protect)
    assert repaired.returncode == 0, repaired.stderr
    assert "it is private now" in repaired.stderr
    assert attacker.run("cat", str(path)).returncode != 0
    assert victim.python(protect).stderr == "", "a private file needs no word"
    os.chown(path, attacker.uid, attacker.uid)
    refused = victim.python(protect)
    assert "auth_token belongs to another user" in refused.stderr


@needs_two_users
def test_two_users_start_ray_at_the_same_time(victim: User, attacker: User) -> None:
    code = victim.write("start.py", LOCAL_RAY)
    processes = [
        subprocess.Popen(
            user.command(sys.executable, str(code)),
            env=user.environment(),
            cwd=user.home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for user in (victim, attacker)
    ]
    tokens = set()
    try:
        for process in processes:
            assert process.stdout is not None
            tokens.add(json.loads(process.stdout.readline())["worker"]["RAY_AUTH_TOKEN"])
    finally:
        outputs = [process.communicate("\n", timeout=60)[0] for process in processes]
    assert outputs == ["ended\n", "ended\n"]
    assert len(tokens) == 2


def test_the_environment_is_as_before_a_local_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever joins a cluster later uses that cluster's token, and a new local Ray has a new one."""
    seen = []
    monkeypatch.setattr(ray, "init", lambda **arguments: seen.append((dict(os.environ), arguments["_temp_dir"])))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    with ray_settings(RAY_AUTH_MODE="disabled"):
        for _ in range(2):
            with connection.connected(None):
                pass
        assert os.environ["RAY_AUTH_MODE"] == "disabled"
        assert "RAY_AUTH_TOKEN" not in os.environ
    assert [variables["RAY_AUTH_MODE"] for variables, _ in seen] == ["token", "token"]
    assert len({variables["RAY_AUTH_TOKEN"] for variables, _ in seen}) == 2
    parent = Path(seen[0][1]).parent
    assert parent.stat().st_mode & 0o777 == 0o700


def test_a_long_temporary_directory_leaves_room_for_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", "/scratch/projects/vision/someone/temporary")
    assert str(connection.private_directory()).startswith("/tmp/")


def test_the_log_of_a_cluster_is_in_its_own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert connection.log_directory("10.0.0.1:6379") == tmp_path / "ray" / "session_latest" / "logs"
    assert connection.log_directory().parts[-4].startswith("raysearch-")


def test_a_token_that_cannot_be_made_private_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / ".ray" / "auth_token"
    path.parent.mkdir()
    path.write_text("0")
    path.chmod(0o640)

    def _fail(self: Path, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", _fail)
    with pytest.raises(UserError, match=f"other users can read {path} .*chmod 600"):
        connection.protect_token_file()
