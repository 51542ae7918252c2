"""The live page's server: who may ask, for what, and what it reads of a run."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboards.live.follower import Follower
from dashboards.live.server import Server
from raysearch.core.errors import UserError
from raysearch.runs import cells, heartbeat, results
from raysearch.runs.heartbeat import Heartbeat, Stage

from .test_live import Growing, say, served

Make = Callable[..., Path]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    run = Growing(tmp_path, seeds=2)
    run.end(0, 1)
    (run.path / "report.html").write_text("<p>the report")
    (tmp_path / "secret").write_text("secret")
    with served(run.path) as one:
        yield one


def ask(
    server: Server, path: str, host: str | None = None, **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    try:
        named = f"127.0.0.1:{server.server_port}" if host is None else host
        connection.putrequest("GET", path, skip_host=True)
        for name, value in {"Host": named, **{key.replace("_", "-"): one for key, one in headers.items()}}.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def state(follower: Follower) -> dict[str, Any]:
    return json.loads(follower.state()[0])


def test_it_serves_its_page_and_nothing_else(server: Server) -> None:
    kinds = {"/": "html", "/state.json": "json", "/live.js": "javascript", "/style.css": "css", "/report.html": "html"}
    for path, kind in kinds.items():
        status, headers, body = ask(server, path)
        assert (status, kind in headers["Content-Type"], bool(body)) == (200, True, True), path
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in headers
        if kind == "html":
            assert headers["Content-Security-Policy"].count("default-src 'none'") == 1
    others = ["/study.json", "/cells/", "/cells", "/results.parquet", "/live.css", "/favicon.ico", "//x", "*"]
    others += [
        "/../secret",
        "/..%2fsecret",
        "/%2e%2e/secret",
        "/report.html/../study.json",
        "\\..\\secret",
        "http://x/",
    ]
    for path in others:
        status, headers, body = ask(server, path)
        assert status == 404, path
        assert body == b"Not Found\n"


def test_the_reports_own_policy_keeps_it_apart(server: Server) -> None:
    policy = ask(server, "/report.html")[1]["Content-Security-Policy"]
    assert policy.startswith("sandbox allow-scripts;")
    assert "connect-src" not in policy
    assert "allow-same-origin" not in policy
    (server.run_dir / "report.html").unlink()
    assert ask(server, "/report.html")[0] == 404


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "LOCALHOST:8000", "127.0.0.1:1"])
def test_this_machine_may_ask_also_through_a_tunnel(server: Server, host: str) -> None:
    assert ask(server, "/state.json", host)[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example", "", "localhost:x"]
)
def test_other_names_of_this_machine_are_refused(server: Server, host: str) -> None:
    for path in ("/", "/state.json", "/report.html"):
        status, _, body = ask(server, path, host)
        assert (status, body) == (403, b"Forbidden\n")


def test_nobody_outside_can_connect(server: Server) -> None:
    assert server.socket.getsockname()[0] == "127.0.0.1"
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", server.server_port), timeout=5):
        pass


def test_an_equal_state_is_not_sent_again(server: Server) -> None:
    status, headers, body = ask(server, "/state.json")
    again, tagged, nothing = ask(server, "/state.json", If_None_Match=headers["ETag"])
    assert (status, again, nothing, tagged["ETag"]) == (200, 304, b"", headers["ETag"])
    say(server.run_dir, 4)
    news = ask(server, "/state.json", If_None_Match=headers["ETag"])
    assert news[0] == 200
    assert news[2] != body


def test_a_cells_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    content = cells.CellReader._content
    monkeypatch.setattr(cells.CellReader, "_content", lambda self, cell: read.append(cell) or content(self, cell))
    run = Growing(tmp_path, seeds=3)
    run.end(0, 1)
    follower = Follower(run.path)
    first = state(follower)
    assert len(read) == 16
    assert follower.state()[0] == json.dumps(first).encode()
    assert len(read) == 16
    monkeypatch.setattr("dashboards.live.follower._BUSY", 0)
    run.end(2)
    assert state(follower)["ended"] == {"finished": 24, "stopped": 0, "failed": 0}
    assert sorted(read[16:]) == sorted(one["cell"] for one in run.cells if one["seed"] == 2)


def test_an_old_directory_is_not_even_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Growing(tmp_path, seeds=1)
    run.end(0)
    for path in (run.path / "cells", run.path / "study.json"):
        os.utime(path, (1e9, 1e9))
    follower = Follower(run.path)
    follower.state()
    monkeypatch.setattr(cells.CellReader, "read", lambda *_: pytest.fail("read again"))
    follower.state()


def test_a_killed_sweep_is_told_by_its_silence(tmp_path: Path) -> None:
    run = Growing(tmp_path, seeds=2)
    run.end(0)
    stage = Stage("cells", 16, 8, slots=2)
    heartbeat.write_heartbeat(run.path, Heartbeat("node-1", 7, 0.0, time.time() - 47, "running", stage=stage))
    found = state(Follower(run.path))
    assert found["state"] == "quiet"
    assert found["status"].startswith("No news for 40 s: the sweep was killed")
    assert "from node-1, process 7. Go on with: python -m raysearch.sweep" in found["status"]
    assert (found["facts"], found["running"]) == ([], [])


def test_a_sweep_whose_clock_is_wrong_is_heard_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its beats say that it is long dead; but they come."""
    clock = [1000.0]
    monkeypatch.setattr("dashboards.live.follower.time.monotonic", lambda: clock[0])
    run = Growing(tmp_path, seeds=1)
    follower = Follower(run.path)
    stage = Stage("cells", 8, slots=1)
    heartbeat.write_heartbeat(run.path, Heartbeat("node-1", 7, 0.0, 5000.0, "running", stage=stage))
    assert state(follower)["state"] == "quiet"
    heartbeat.write_heartbeat(run.path, Heartbeat("node-1", 7, 0.0, 5005.0, "running", stage=stage))
    assert state(follower)["status"] == "Running."
    clock[0] += 45
    assert state(follower)["status"].startswith("No news for 40 s")


@pytest.mark.parametrize(
    ("one", "status", "words"),
    [
        (Heartbeat("h", 1, 0.0, 1.0, "failed", "no room"), "failed", "with an error: no room"),
        (Heartbeat("h", 1, 0.0, 1.0, "stopped"), "stopped", "The sweep was stopped at"),
        (Heartbeat("h", 1, 0.0, 1.0, "ended"), "ended", "The sweep ended at"),
        (Heartbeat("h", 1, 0.0, time.time() + 9e6, "starting"), "running", "Starting: Ray, and the images."),
    ],
    ids=["failed", "stopped", "ended", "starting"],
)
def test_every_end_has_its_words(tmp_path: Path, one: Heartbeat, status: str, words: str) -> None:
    run = Growing(tmp_path, seeds=1)
    heartbeat.write_heartbeat(run.path, one)
    found = state(Follower(run.path))
    assert found["state"] == status
    assert words in found["status"]


def test_two_sweeps_of_one_run_are_told_together(tmp_path: Path) -> None:
    run = Growing(tmp_path, seeds=2)
    say(run.path, 2)
    first = next((run.path / "progress").iterdir())
    other = json.loads(first.read_text()) | {"pid": 8}
    other["stage"]["running"][0] |= {"cell": "third", "images_per_second": None}
    other["stage"]["running"].pop()
    other["stage"]["seconds_left"] = 180.0
    (run.path / "progress" / "laptop-8.json").write_text(json.dumps(other))
    found = state(Follower(run.path))
    facts = {one["key"]: one["text"] for one in found["facts"]}
    assert found["status"] == "2 sweeps are running."
    assert {one["key"] for one in found["running"]} == {"running0", "running1", "third"}
    # 90 s alone and 180 s alone are 60 s together.
    assert facts["Time left"] == "about 1 min 00 s"
    assert (facts["Trials at a time"], facts["Images a second"]) == ("3 of 4", "200")


def test_a_search_shows_its_best_so_far(make_search: Make) -> None:
    run = make_search(groups=(12, 24))
    found = state(Follower(run))
    chosen = [row["name"] for row in found["table"]["rows"] if row["cells"][1]["text"] == "chosen"]
    assert len(chosen) == 2
    (figure,) = found["figures"]
    steps = [trace["y"] for trace in figure["data"] if trace["mode"] == "lines"]
    assert all(values == sorted(values) for values in steps)
    assert found["failures"][0]["line"] == "the loss is nan in iteration 1"
    assert "beats the reference" in found["answer"]
    heartbeat.write_heartbeat(
        run, Heartbeat("h", 1, 0.0, time.time(), "running", stage=Stage("cells", 500, 100, slots=1))
    )
    assert state(Follower(run))["planned"] == 500, "a search knows its cells one by one; the sweep says how many come"


def test_a_run_without_a_cell_and_a_damaged_one_are_pages_too(tmp_path: Path) -> None:
    run = Growing(tmp_path, seeds=2)
    follower = Follower(run.path)
    assert state(follower)["ended"] == {"finished": 0, "stopped": 0, "failed": 0}
    damaged = run.path / "cells" / f"{run.cells[0]['cell']}.parquet"
    damaged.write_bytes(b"PAR1")
    follower = Follower(run.path)
    assert "cannot be read" in state(follower)["problem"]
    damaged.unlink()
    run.end(0)
    end = time.monotonic() + 20
    while state(follower)["problem"]:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert state(follower)["ended"]["finished"] == 8


def test_what_is_no_run_and_a_port_that_is_taken_are_said(tmp_path: Path, server: Server) -> None:
    with pytest.raises(UserError, match="not a run directory"):
        Server(tmp_path / "none")
    with pytest.raises(UserError, match=f"cannot listen on --port {server.server_port}"):
        Server(server.run_dir, server.server_port)


def test_the_command_prints_its_address_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    run = Growing(tmp_path, seeds=1)
    command = [sys.executable, "-m", "raysearch.report", str(run.path)]
    process = subprocess.Popen(
        [*command, "--live", "--no-open"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.match(r"http://127\.0\.0\.1:(\d+)/ follows ", line)
        assert found, line
        connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=20)
        connection.request("GET", "/state.json")
        assert json.loads(connection.getresponse().read())["planned"] == 8
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (0, "")
    finally:
        process.kill()
    alone = subprocess.run([*command, "--no-open"], capture_output=True, text=True)
    assert (alone.returncode, alone.stderr) == (2, "error: --no-open is for --live\n")
    assert results.load(run.path).num_rows == 0
