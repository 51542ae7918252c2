"""The live page's server: this machine alone may ask, and there is nothing to ask for but the page and its run.

It binds to 127.0.0.1, and answers only requests that were addressed to this machine by name: else a page from anywhere,
whose name its owner lets point at 127.0.0.1, could read a run through its visitor's browser (DNS rebinding).
"""

import os
import sys
import webbrowser
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from rich.console import Console

from dashboards.live import page
from dashboards.live.follower import Follower
from raysearch.core.errors import UserError

ADDRESS = "127.0.0.1"
_NAMES = (ADDRESS, "localhost")
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Server(ThreadingHTTPServer):
    """Serves one run.

    Args:
        run_dir: the run's directory.
        port: 0 takes a free one.

    Raises:
        UserError: not a run directory, or a port that cannot be had.
    """

    daemon_threads = True

    def __init__(self, run_dir: Path, port: int = 0) -> None:
        self.run_dir, self.follower = run_dir, Follower(run_dir)
        try:
            super().__init__((ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            raise UserError(f"cannot listen on --port {port}: {getattr(error, 'strerror', None) or error}") from None

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.0"  # a connection an answer: none outlives the server
    server_version, sys_version = "raysearch", ""
    timeout = 30  # seconds that a connection may be idle

    def do_GET(self) -> None:
        if not _addressed_here(self.headers.get_all("Host") or []):
            self._refuse(HTTPStatus.FORBIDDEN)
            return
        path = self.path.partition("?")[0]
        if path == "/":
            self._send(page.shell().encode(), "text/html; charset=utf-8", {"Content-Security-Policy": page.POLICY})
        elif path == "/state.json":
            self._state()
        elif path == "/live.js":
            self._send(page.script().encode(), "text/javascript; charset=utf-8")
        elif path == "/plotly.js":
            self._send(page.plotly().encode(), "text/javascript; charset=utf-8")
        elif path == "/style.css":
            self._send(page.style().encode(), "text/css; charset=utf-8")
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

    def log_message(self, format: str, *words: object) -> None:
        """A line a second would bury the address."""


def serve(run_dir: Path, port: int, show: bool, console: Console) -> None:
    """Serve a run until Ctrl-C.

    Args:
        run_dir: the run's directory.
        port: 0 takes a free one.
        show: whether to open a browser, where there is one with a window.
        console: where the address is printed.
    """
    with Server(run_dir, port) as server:
        console.print(f"{server.url} follows {run_dir}; Ctrl-C ends it", markup=False, highlight=False, soft_wrap=True)
        if show and _has_windows():
            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            console.print()


def _addressed_here(hosts: list[str]) -> bool:
    """Whether a request was addressed to this machine; through a tunnel the port is another.

    >>> [_addressed_here([host]) for host in ("localhost:8000", "127.0.0.1", "evil.example:8000", "localhost.evil")]
    [True, True, False, False]
    """
    if len(hosts) != 1:
        return False
    name, _, port = hosts[0].lower().partition(":")
    return name in _NAMES and (port.isdecimal() or not port)


def _has_windows() -> bool:
    """Else a browser would open in the terminal itself."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
