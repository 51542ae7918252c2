"""Another user of the machine looks at a live page: every user can connect to 127.0.0.1."""

import re
import sys
from pathlib import Path

from ..dashboards.conftest import ablation, write_run
from .users import User, needs_two_users

# Tries to read each page with what this user can find out, and prints the answers.
READ = """
import json, re, sys, urllib.error, urllib.request
from pathlib import Path
base = sys.argv[1]
lines = b" ".join(path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists())
tokens = {"", *re.findall(r"token=(\\w+)", lines.decode(errors="replace"))}
answers = {}
for token in tokens:
    for path in ("", "state.json", "report.html", "live.js", "study.json"):
        for headers in ({}, {"Cookie": f"raysearch={token}"}, {"Authorization": f"Bearer {token}"}):
            try:
                answer = urllib.request.urlopen(urllib.request.Request(f"{base}{path}?token={token}", headers=headers))
                answers[path] = answer.status
            except urllib.error.HTTPError as error:
                answers[path] = error.code
print(json.dumps(sorted(set(answers.values()))))
"""


@needs_two_users
def test_another_user_cannot_read_the_live_page(victim: User, attacker: User, tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs" / "run", ablation(), seeds=1)
    (run / "report.html").write_text("<p>the report")
    moved = victim.own(run.rename(victim.home / "run"))
    moved.chmod(0o700)
    words = (sys.executable, "-m", "raysearch.report", str(moved), "--live", "--no-open")
    assert attacker.run("ls", str(moved)).returncode != 0
    with victim.start(*words) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.match(r"(http://127\.0\.0\.1:\d+/)\?token=\w+ follows ", line)
        assert match, line
        url = line.split()[0]
        read = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).status)"
        assert victim.python(read, url).stdout == "200\n"
        assert attacker.python(READ, match[1]).stdout == "[403]\n"
