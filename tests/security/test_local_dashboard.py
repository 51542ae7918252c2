"""The dashboard of a Ray that a sweep starts: its user reads it with the token, another user does not."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from raysearch import sweep

from ..commands import run_app
from .test_local_ray import listening
from .users import User, needs_two_users

# Starts Ray with its dashboard, prints what the user sees and has, and waits for a line.
DASHBOARD = """
import json, sys
from raysearch.engine.cluster import connection
lines = []
with connection.connected(None, lines.append):
    print(json.dumps(lines))
    sys.stdout.flush()
    sys.stdin.readline()
"""

# Asks for each path below the first argument, with the token in the file of the second one, if there is one.
ASK = """
import json, sys, urllib.error, urllib.request
headers = {"Authorization": "Bearer " + open(sys.argv[2]).read()} if sys.argv[2:] else {}
answers = {}
for path in ("nodes?view=summary", "api/jobs/", "logical/actors", "api/v0/tasks", "events", "api/cluster_status"):
    try:
        request = urllib.request.Request(f"{sys.argv[1]}/{path}", headers=headers)
        answers[path] = urllib.request.urlopen(request, timeout=20).status
    except urllib.error.HTTPError as error:
        answers[path] = error.code
print(json.dumps(answers))
"""


@needs_two_users
def test_another_user_cannot_read_the_dashboard(victim: User, attacker: User) -> None:
    code = victim.write("start.py", DASHBOARD)
    process = subprocess.Popen(
        victim.command(sys.executable, str(code)),
        env=victim.environment(),
        cwd=victim.home,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        (line,) = json.loads(process.stdout.readline())
        shown = re.fullmatch(r"Ray's dashboard: (http://127\.0\.0\.1:\d+), which asks for the token in (.*)", line)
        assert shown is not None
        address, path = shown.groups()
        token = Path(path).read_text()
        assert token not in line
        assert set(json.loads(victim.python(ASK, address, path).stdout).values()) == {200}
        assert set(json.loads(attacker.python(ASK, address).stdout).values()) == {401}
        assert "Permission denied" in attacker.run("cat", path).stderr
        loopback = {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
        assert {port: ips for port, ips in listening(victim.uid).items() if not ips <= loopback} == {}
        lines = attacker.run("sh", "-c", "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' ' '")
        assert token not in lines.stdout
    finally:
        process.communicate("\n", timeout=60)
    assert not Path(path).exists()


def test_a_cluster_has_its_own_dashboard(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(sweep.app, "srem_ablation", "--dashboard", "--address", "10.0.0.1:6379") == 2
    assert "a cluster has its own at port 8265 of its head" in capsys.readouterr().err
