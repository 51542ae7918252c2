"""The live page's server: who may connect, what it serves, and what it reads from a run."""

import http.client
import io
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from dashboards.live.follower import RunFollower
from dashboards.live.server import LiveServer, serve
from raysearch.core import UserError
from raysearch.runs import Heartbeat, Stage, cells, heartbeat, results

from .test_live_page import Growing, served, write_heartbeat

Make = Callable[..., Path]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    run = Growing(tmp_path, seeds=2)
    run.end(0, 1)
    (run.path / "report.html").write_text("<p>the report")
    (tmp_path / "secret").write_text("secret")
    with served(run.path) as started:
        yield started


def get(
    server: LiveServer, path: str, host: str | None = None, **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Ask as the page does, with the cookie of the printed URL, unless the headers have another one."""
    headers = {"Cookie": f"{server.cookie}={server.token}", **headers}
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    try:
        named = f"127.0.0.1:{server.server_port}" if host is None else host
        connection.putrequest("GET", path, skip_host=True)
        for name, value in {"Host": named, **{key.replace("_", "-"): value for key, value in headers.items()}}.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def state(follower: RunFollower) -> dict[str, Any]:
    return json.loads(follower.state()[0])


def test_it_serves_its_page_and_nothing_else(server: LiveServer) -> None:
    kinds = {"/": "html", "/state.json": "json", "/live.js": "javascript", "/style.css": "css", "/report.html": "html"}
    for path, kind in kinds.items():
        status, headers, body = get(server, path)
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
        status, headers, body = get(server, path)
        assert status == 404, path
        assert body == b"Not Found\n"


def test_the_report_is_sandboxed(server: LiveServer) -> None:
    policy = get(server, "/report.html")[1]["Content-Security-Policy"]
    assert policy.startswith("sandbox allow-scripts;")
    assert "connect-src" not in policy
    assert "allow-same-origin" not in policy
    (server.run_dir / "report.html").unlink()
    assert get(server, "/report.html")[0] == 404


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "LOCALHOST:8000", "127.0.0.1:1"])
def test_this_machine_may_connect_also_through_a_tunnel(server: LiveServer, host: str) -> None:
    assert get(server, "/state.json", host)[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example", "", "localhost:x"]
)
def test_other_host_names_are_refused(server: LiveServer, host: str) -> None:
    for path in ("/", "/state.json", "/report.html"):
        status, _, body = get(server, path, host)
        assert (status, body) == (403, b"Forbidden\n")


def test_only_the_loopback_address_is_bound(server: LiveServer) -> None:
    assert server.socket.getsockname()[0] == "127.0.0.1"
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", server.server_port), timeout=5):
        pass


def test_only_the_printed_url_and_its_cookie_open_the_page(server: LiveServer) -> None:
    query = server.url.partition("/?")[2]
    assert re.fullmatch("token=[0-9a-f]{48}", query)
    status, headers, _ = get(server, f"/?{query}", Cookie="")
    cookie, *attributes = headers["Set-Cookie"].split("; ")
    assert (status, sorted(attributes)) == (200, ["HttpOnly", "Path=/", "SameSite=Strict"])
    name, _, value = cookie.partition("=")
    allowed = (cookie, f"other=1; {cookie}", f'broken"; ;=; {cookie};', f"{name}=old; {cookie}")
    refused = (
        "",
        name,
        f"{name}=",
        f"{name}={value[:-1]}",
        f"{name}={value}0",
        f"{name}={value.upper()}",
        f"x={value}",
    )
    refused += (f"{name}=\xe9{value}", value, f'{name}="{value}"', f"x{cookie}")
    for path in ("/", "/state.json", "/live.js", "/style.css", "/report.html", "/plotly.js", "/none"):
        known = 404 if path == "/none" else 200
        assert [get(server, path, Cookie=sent)[0] for sent in allowed] == [known] * len(allowed), path
        answers = [get(server, path, Cookie=sent) for sent in refused]
        assert {(status, body) for status, _, body in answers} == {(403, answers[0][2])}, path
        assert not any("Set-Cookie" in headers for _, headers, _ in answers)
    assert b"Open the URL that the command printed" in answers[0][2]
    assert get(server, f"/state.json?{query}", Cookie="")[0] == 200
    for wrong in ("token=", "token", f"x={value}", f"token={value}0", "token=%00", f"token=x{value}", f"token;{value}"):
        assert get(server, f"/?{wrong}", Cookie="")[0] == 403, wrong
    with served(server.run_dir) as other:
        assert (other.token == server.token, other.cookie == server.cookie) == (False, False)
        assert get(other, "/state.json", Cookie=cookie)[0] == 403


def test_strangers_cannot_use_up_its_connections(server: LiveServer) -> None:
    def _ask(request: bytes) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", server.server_port), timeout=20)
        connection.sendall(request)
        return connection

    threads = threading.active_count()
    strangers = [_ask(b"GET /state.json HTTP/1.0\r\nHost: localhost") for _ in range(200)]
    try:
        assert get(server, "/state.json")[0] == 200
        deadline = time.monotonic() + 20
        while threading.active_count() - threads > 64:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert strangers[0].recv(1) == b""
    finally:
        for connection in strangers:
            connection.close()


def test_a_large_report_is_sent_from_its_file(server: LiveServer) -> None:
    """Readers that take nothing cost no memory, and do not keep others out."""
    content = os.urandom(1 << 20) * 30
    (server.run_dir / "report.html").write_bytes(content)
    request = f"GET /report.html?token={server.token} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    readers = [socket.create_connection(("127.0.0.1", server.server_port), timeout=20) for _ in range(20)]
    try:
        for reader in readers:
            reader.sendall(request)
            assert reader.recv(1, socket.MSG_PEEK) == b"H"
        assert get(server, "/state.json")[0] == 200
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown < 300_000, f"{grown} kB for 20 readers of 30 MB"
    finally:
        for reader in readers:
            reader.close()
    status, headers, body = get(server, "/report.html")
    assert (status, int(headers["Content-Length"]), body == content) == (200, len(content), True)


def test_a_report_that_is_not_a_plain_file_is_not_served(server: LiveServer, tmp_path: Path) -> None:
    report = server.run_dir / "report.html"
    for make in (os.mkfifo, lambda path: os.symlink(tmp_path / "secret", path), os.mkdir):
        report.rmdir() if report.is_dir() else report.unlink()
        make(report)
        assert get(server, "/report.html")[0] == 404
    report.rmdir()
    report.touch()
    assert get(server, "/report.html")[::2] == (200, b"")


def test_the_command_line_of_a_browser_has_no_token(
    server: LiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other users can see it. The page is opened by a file that only its owner can read."""
    opened: list[str] = []

    def _open(url: str) -> None:
        path = Path(url.removeprefix("file://"))
        opened.extend([url, path.read_text(), oct(path.stat().st_mode & 0o777)])
        raise KeyboardInterrupt

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("webbrowser.open", _open)
    printed = io.StringIO()
    with pytest.raises(KeyboardInterrupt):
        serve(server.run_dir, 0, True, Console(file=printed, width=40))
    url, content, mode = opened
    (shown,) = re.findall(r"http://\S+", printed.getvalue())
    assert (url.startswith("file://"), "token" in url, mode) == (True, False, "0o600")
    assert f'content="0; url={shown}"' in content
    assert list(tmp_path.glob("raysearch-live-*")) == []


def test_an_equal_state_is_not_sent_again(server: LiveServer) -> None:
    status, headers, body = get(server, "/state.json")
    again, tagged, empty = get(server, "/state.json", If_None_Match=headers["ETag"])
    assert (status, again, empty, tagged["ETag"]) == (200, 304, b"", headers["ETag"])
    write_heartbeat(server.run_dir, 4)
    changed = get(server, "/state.json", If_None_Match=headers["ETag"])
    assert changed[0] == 200
    assert changed[2] != body


def test_each_cell_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    read_file = cells.CellReader._read_file
    monkeypatch.setattr(cells.CellReader, "_read_file", lambda self, cell: read.append(cell) or read_file(self, cell))
    run = Growing(tmp_path, seeds=3)
    run.end(0, 1)
    follower = RunFollower(run.path)
    first = state(follower)
    assert len(read) == 16
    assert follower.state()[0] == json.dumps(first).encode()
    assert len(read) == 16
    monkeypatch.setattr("dashboards.live.follower._IDLE_FACTOR", 0)
    run.end(2)
    assert state(follower)["ended"] == {"finished": 24, "stopped": 0, "failed": 0}
    assert sorted(read[16:]) == sorted(cell["cell"] for cell in run.cells if cell["seed"] == 2)


def test_an_unchanged_directory_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Growing(tmp_path, seeds=1)
    run.end(0)
    for path in (run.path / "cells", run.path / "study.json"):
        os.utime(path, (1e9, 1e9))
    follower = RunFollower(run.path)
    follower.state()
    monkeypatch.setattr(cells.CellReader, "read", lambda *_: pytest.fail("read again"))
    follower.state()


def test_a_killed_sweep_is_detected_by_its_silence(tmp_path: Path) -> None:
    run = Growing(tmp_path, seeds=2)
    run.end(0)
    stage = Stage("cells", 16, 8, slots=2)
    heartbeat.write_heartbeat(run.path, Heartbeat("node-1", 7, 0.0, time.time() - 47, "running", stage=stage))
    current = state(RunFollower(run.path))
    assert current["state"] == "quiet"
    assert current["status"].startswith("No sign for 40 s: the sweep was killed")
    assert "from node-1, process 7. Continue with: python -m raysearch.sweep" in current["status"]
    assert (current["facts"], current["running"]) == ([], [])


def test_a_sweep_with_a_wrong_clock_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its beats are old by this machine's clock, but new ones arrive."""
    clock = [1000.0]
    monkeypatch.setattr("dashboards.live.follower.time.monotonic", lambda: clock[0])
    run = Growing(tmp_path, seeds=1)
    follower = RunFollower(run.path)
    stage = Stage("cells", 8, slots=1)
    heartbeat.write_heartbeat(run.path, Heartbeat("node-1", 7, 0.0, 5000.0, "running", stage=stage))
    assert state(follower)["state"] == "quiet"
    heartbeat.write_heartbeat(run.path, Heartbeat("node-1", 7, 0.0, 5005.0, "running", stage=stage))
    assert state(follower)["status"] == "Running."
    clock[0] += 45
    assert state(follower)["status"].startswith("No sign for 40 s")


@pytest.mark.parametrize(
    ("beat", "status", "text"),
    [
        (Heartbeat("h", 1, 0.0, 1.0, "failed", "no room"), "failed", "with an error: no room"),
        (Heartbeat("h", 1, 0.0, 1.0, "stopped"), "stopped", "The sweep was stopped at"),
        (Heartbeat("h", 1, 0.0, 1.0, "ended"), "ended", "The sweep ended at"),
        (Heartbeat("h", 1, 0.0, time.time() + 9e6, "starting"), "running", "Starting Ray and providing images."),
    ],
    ids=["failed", "stopped", "ended", "starting"],
)
def test_every_state_has_a_text(tmp_path: Path, beat: Heartbeat, status: str, text: str) -> None:
    run = Growing(tmp_path, seeds=1)
    heartbeat.write_heartbeat(run.path, beat)
    current = state(RunFollower(run.path))
    assert current["state"] == status
    assert text in current["status"]


def test_two_sweeps_of_one_run_are_combined(tmp_path: Path) -> None:
    run = Growing(tmp_path, seeds=2)
    write_heartbeat(run.path, 2)
    first = next((run.path / "progress").iterdir())
    other = json.loads(first.read_text()) | {"pid": 8}
    other["stage"]["running"][0] |= {"cell": "third", "images_per_second": None}
    other["stage"]["running"].pop()
    other["stage"]["seconds_left"] = 180.0
    (run.path / "progress" / "laptop-8.json").write_text(json.dumps(other))
    current = state(RunFollower(run.path))
    facts = {fact["key"]: fact["text"] for fact in current["facts"]}
    assert current["status"] == "2 sweeps are running."
    assert {cell["key"] for cell in current["running"]} == {"running0", "running1", "third"}
    # 90 s alone and 180 s alone give 60 s together.
    assert facts["Time left"] == "about 1 min 00 s"
    assert (facts["Trials at a time"], facts["Images per second"]) == ("3 of 4", "200")


def test_a_search_shows_its_best_so_far(make_search: Make) -> None:
    run = make_search(groups=(12, 24))
    current = state(RunFollower(run))
    chosen = [row["name"] for row in current["table"]["rows"] if row["cells"][1]["text"] == "chosen"]
    assert len(chosen) == 2
    (figure,) = current["figures"]
    steps = [trace["y"] for trace in figure["data"] if trace["mode"] == "lines"]
    assert all(values == sorted(values) for values in steps)
    assert current["failures"][0]["line"] == "the loss is nan in iteration 1"
    assert "beats the reference" in current["answer"]
    heartbeat.write_heartbeat(
        run, Heartbeat("h", 1, 0.0, time.time(), "running", stage=Stage("cells", 500, 100, slots=1))
    )
    assert state(RunFollower(run))["planned"] == 500, (
        "study.json of a search lists its cells one by one; the heartbeat has the total"
    )


def test_an_empty_run_and_a_damaged_one_have_pages(tmp_path: Path) -> None:
    run = Growing(tmp_path, seeds=2)
    follower = RunFollower(run.path)
    assert state(follower)["ended"] == {"finished": 0, "stopped": 0, "failed": 0}
    damaged = run.path / "cells" / f"{run.cells[0]['cell']}.parquet"
    damaged.write_bytes(b"PAR1")
    follower = RunFollower(run.path)
    assert "cannot be read" in state(follower)["problem"]
    damaged.unlink()
    run.end(0)
    end = time.monotonic() + 20
    while state(follower)["problem"]:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert state(follower)["ended"]["finished"] == 8


def test_a_missing_run_and_a_taken_port_are_errors(tmp_path: Path, server: LiveServer) -> None:
    with pytest.raises(UserError, match="not a run directory"):
        LiveServer(tmp_path / "none")
    with pytest.raises(UserError, match=f"cannot listen on --port {server.server_port}"):
        LiveServer(server.run_dir, server.server_port)


def test_the_command_prints_its_address_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    run = Growing(tmp_path, seeds=1)
    command = [sys.executable, "-m", "raysearch.report", str(run.path)]
    process = subprocess.Popen(
        [*command, "--live", "--no-open"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.match(r"http://127\.0\.0\.1:(\d+)(/\?token=\w+) follows ", line)
        assert match, line
        connection = http.client.HTTPConnection("127.0.0.1", int(match[1]), timeout=20)
        connection.request("GET", match[2].replace("/", "/state.json"))
        assert json.loads(connection.getresponse().read())["planned"] == 8
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (0, "")
    finally:
        process.kill()
    alone = subprocess.run([*command, "--no-open"], capture_output=True, text=True)
    assert (alone.returncode, alone.stderr) == (2, "error: --no-open is for --live\n")
    assert results.load(run.path).num_rows == 0
