"""The live page's server: it answers only this machine, and serves only the page and the state of its run.

It binds to 127.0.0.1 and checks the Host header. Otherwise a web page from anywhere could let its own name resolve to
127.0.0.1, and read the run through a visitor's browser (DNS rebinding).
"""

import os
import sys
import webbrowser
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from rich.console import Console

from dashboards.live import page
from dashboards.live.follower import RunFollower
from raysearch.core import UserError

ADDRESS = "127.0.0.1"
_NAMES = (ADDRESS, "localhost")
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class LiveServer(ThreadingHTTPServer):
    """An HTTP server for one run.

    Args:
        run_dir: the run's directory.
        port: to listen on; 0 takes a free one.

    Raises:
        UserError: not a run directory, or the port is not available.
    """

    daemon_threads = True

    def __init__(self, run_dir: Path, port: int = 0) -> None:
        self.run_dir = run_dir
        self.follower = RunFollower(run_dir)
        try:
            super().__init__((ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"cannot listen on --port {port}: {reason}; choose another port") from None

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://{ADDRESS}:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: LiveServer
    protocol_version = "HTTP/1.0"  # one connection per answer, so none outlives the server
    server_version = "raysearch"
    sys_version = ""
    timeout = 30  # seconds that a connection may be idle

    def do_GET(self) -> None:
        """Serve one of the known paths; refuse any other."""
        if not _is_local_host(self.headers.get_all("Host") or []):
            self._refuse(HTTPStatus.FORBIDDEN)
            return
        path = self.path.partition("?")[0]
        if path == "/":
            self._send(page.page_html().encode(), "text/html; charset=utf-8", {"Content-Security-Policy": page.POLICY})
        elif path == "/state.json":
            self._state()
        elif path == "/live.js":
            self._send(page.page_script().encode(), "text/javascript; charset=utf-8")
        elif path == "/plotly.js":
            self._send(page.plotly_script().encode(), "text/javascript; charset=utf-8")
        elif path == "/style.css":
            self._send(page.page_style().encode(), "text/css; charset=utf-8")
        elif path == "/report.html":
            self._report()
        else:
            self._refuse(HTTPStatus.NOT_FOUND)

    def _state(self) -> None:
        body, tag = self.server.follower.state()
        if self.headers.get("If-None-Match") == tag:
            self._send(b"", None, {"ETag": tag}, HTTPStatus.NOT_MODIFIED)
        else:
            self._send(body, "application/json", {"ETag": tag})

    def _report(self) -> None:
        try:
            body = (self.server.run_dir / "report.html").read_bytes()
        except OSError:
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        self._send(body, "text/html; charset=utf-8", {"Content-Security-Policy": page.REPORT_POLICY})

    def _refuse(self, status: HTTPStatus) -> None:
        body = f"{status.phrase}\n".encode()
        self._send(body, "text/plain; charset=utf-8", {"Content-Security-Policy": "default-src 'none'"}, status)

    def _send(
        self,
        body: bytes,
        kind: str | None,
        headers: dict[str, str] | None = None,
        status: HTTPStatus = HTTPStatus.OK,
    ) -> None:
        self.send_response(status)
        for name, value in {**_HEADERS, **(headers or {})}.items():
            self.send_header(name, value)
        if kind:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: one line per second would hide the address."""


def serve(run_dir: Path, port: int, show: bool, console: Console) -> None:
    """Serve a run until Ctrl-C.

    Args:
        run_dir: the run's directory.
        port: to listen on; 0 takes a free one.
        show: whether to open a browser, if this machine has a desktop.
        console: prints the address.

    Raises:
        UserError: not a run directory, or the port is not available.
    """
    with LiveServer(run_dir, port) as server:
        message = f"{server.url} follows {run_dir}; press Ctrl-C to stop"
        console.print(message)
        if show and _has_desktop():
            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            console.print()


def _is_local_host(hosts: list[str]) -> bool:
    """Return whether the Host headers name this machine. Any port is allowed, since a tunnel changes it.

    >>> [_is_local_host([host]) for host in ("localhost:8000", "127.0.0.1", "evil.example:8000", "localhost.evil")]
    [True, True, False, False]
    """
    if len(hosts) != 1:
        return False
    name, _, port = hosts[0].lower().partition(":")
    return name in _NAMES and (port.isdecimal() or not port)


def _has_desktop() -> bool:
    """Return whether this machine has a desktop; without one, a text browser would open in the terminal."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
