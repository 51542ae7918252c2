"""The live page's server: it answers only its owner, and serves only the page and the state of its run.

It binds to 127.0.0.1 and checks the Host header. Otherwise a web page from anywhere could let its own name resolve to
127.0.0.1, and read the run through a visitor's browser (DNS rebinding).

Every user of this machine can connect to 127.0.0.1. Each request therefore needs the random token of the printed URL.
The page that has the URL sets a cookie with the token, which the requests of the page carry.
"""

import contextlib
import hashlib
import html
import os
import secrets
import socket
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from rich.console import Console

from dashboards.live import page
from dashboards.live.follower import RunFollower
from raysearch.core import UserError, open_below

ADDRESS = "127.0.0.1"
_NAMES = (ADDRESS, "localhost")
_MAX_CONNECTIONS = 64  # at a time, each with a thread
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
    request_queue_size = 64  # connections that wait for an answer

    def __init__(self, run_dir: Path, port: int = 0) -> None:
        self.run_dir = run_dir
        self.follower = RunFollower(run_dir)
        self.token = secrets.token_hex(24)
        # Cookies ignore ports. A name per token keeps the cookies of two live pages apart.
        self.cookie = f"raysearch-{hashlib.sha256(self.token.encode()).hexdigest()[:12]}"
        self._lock = threading.Lock()
        self._connections: dict[Any, bool] = {}  # open ones, the oldest first -> whether it had the token
        try:
            super().__init__((ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"cannot listen on --port {port}: {reason}; choose another port") from None

    @property
    def url(self) -> str:
        """Address of the page with the token. Whoever has it can read the run."""
        return f"http://{ADDRESS}:{self.server_port}/?token={self.token}"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection in a thread. With too many open, close the oldest that did not show the token.

        Args:
            request: the connection.
            client_address: its other end.
        """
        with self._lock:
            if len(self._connections) >= _MAX_CONNECTIONS:
                strangers = (connection for connection, trusted in self._connections.items() if not trusted)
                oldest = next(strangers, request)
                self._connections.pop(oldest, None)
                with contextlib.suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)  # wakes its thread, which closes it
            self._connections[request] = False
        super().process_request(request, client_address)

    def close_request(self, request: Any) -> None:
        """Close a connection.

        Args:
            request: the connection.
        """
        with self._lock:
            self._connections.pop(request, None)
        super().close_request(request)

    def trust(self, connection: Any) -> None:
        """Keep a connection open, since it showed the token."""
        with self._lock:
            if connection in self._connections:
                self._connections[connection] = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report nothing of a connection that the other end, or this server, closed."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: LiveServer
    protocol_version = "HTTP/1.0"  # one connection per answer, so none outlives the server
    server_version = "raysearch"
    sys_version = ""
    timeout = 30  # seconds that a connection may be idle

    def do_GET(self) -> None:
        """Serve one of the known paths to a request with the token; refuse any other."""
        if not _is_local_host(self.headers.get_all("Host") or []):
            self._refuse(HTTPStatus.FORBIDDEN)
            return
        if not self._has_token():
            self._refuse(HTTPStatus.FORBIDDEN, "Open the URL that the command printed; it contains a token.")
            return
        self.server.trust(self.connection)
        path = self.path.partition("?")[0]
        if path == "/":
            # Not a redirect: browsers do not send a strict cookie after one that began at another site.
            cookie = f"{self.server.cookie}={self.server.token}; Path=/; HttpOnly; SameSite=Strict"
            headers = {"Content-Security-Policy": page.POLICY, "Set-Cookie": cookie}
            self._send(page.page_html().encode(), "text/html; charset=utf-8", headers)
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

    def _has_token(self) -> bool:
        """Return whether the query or a cookie of the request holds the token."""
        shown = parse_qs(self.path.partition("?")[2]).get("token", [])
        for header in self.headers.get_all("Cookie") or []:
            pairs = [pair.strip().partition("=") for pair in header.split(";")]
            shown += [value for name, _, value in pairs if name == self.server.cookie]
        token = self.server.token.encode()
        matches = [secrets.compare_digest(text.encode(errors="replace"), token) for text in shown]
        return any(matches)

    def _report(self) -> None:
        """Send the report from its file, which may be large."""
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(open_below(self.server.run_dir, "report.html"))
            except (OSError, UserError):
                self._refuse(HTTPStatus.NOT_FOUND)
                return
            size = os.fstat(file.fileno()).st_size
            headers = {"Content-Security-Policy": page.REPORT_POLICY}
            self._send_headers("text/html; charset=utf-8", size, headers, HTTPStatus.OK)
            if size:
                self.connection.sendfile(file, 0, size)

    def _refuse(self, status: HTTPStatus, *lines: str) -> None:
        body = "\n".join([status.phrase, *lines, ""]).encode()
        self._send(body, "text/plain; charset=utf-8", {"Content-Security-Policy": "default-src 'none'"}, status)

    def _send(
        self,
        body: bytes,
        kind: str | None,
        headers: dict[str, str] | None = None,
        status: HTTPStatus = HTTPStatus.OK,
    ) -> None:
        self._send_headers(kind, len(body), headers or {}, status)
        self.wfile.write(body)

    def _send_headers(self, kind: str | None, size: int, headers: dict[str, str], status: HTTPStatus) -> None:
        self.send_response(status)
        for name, value in {**_HEADERS, **headers}.items():
            self.send_header(name, value)
        if kind:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(size))
        self.end_headers()

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
        console.print(f"{server.url} follows {run_dir}; press Ctrl-C to stop", soft_wrap=True)
        with contextlib.ExitStack() as stack:
            if show and _has_desktop():
                webbrowser.open(stack.enter_context(_private_link(server.url)).as_uri())
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                console.print()


@contextlib.contextmanager
def _private_link(url: str) -> Iterator[Path]:
    """Yield an HTML file that leads to a URL, and remove it at the end. Only this user can read it.

    Other users can see the command line of a browser, so the token must not be in it. The file is in the home
    directory, since a browser in a sandbox cannot read the temporary directory.
    """
    home = Path.home()
    folder = home if os.access(home, os.W_OK) else None
    descriptor, name = tempfile.mkstemp(prefix="raysearch-live-", suffix=".html", dir=folder)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f'<!DOCTYPE html><meta http-equiv="refresh" content="0; url={html.escape(url)}">\n')
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


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
