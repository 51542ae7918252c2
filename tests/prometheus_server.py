"""A real Prometheus on loopback, for tests of what is asked of one.

with Prometheus(tmp_path, config) as prometheus:
    assert prometheus.ask("vector(1)") == [{"metric": {}, "value": [..., "1"]}]
"""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Self

import pytest

from raysearch.engine.cluster import connection

FOUND = shutil.which("prometheus") and shutil.which("promtool")
needs_prometheus = pytest.mark.skipif(
    FOUND is None, reason="no Prometheus is installed (Debian: apt install prometheus)"
)


class Prometheus:
    """Use as a context: at its end the process is gone.

    Args:
        folder: of its data.
        config: file.
    """

    def __init__(self, folder: Path, config: Path) -> None:
        self.address = f"127.0.0.1:{connection.free_port()}"
        self._log = folder / "prometheus.log"
        command = ["prometheus", f"--config.file={config}", f"--web.listen-address={self.address}"]
        command += [f"--storage.tsdb.path={folder / 'data'}", "--log.level=warn"]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def __enter__(self) -> Self:
        deadline = time.monotonic() + 60
        while True:
            try:
                assert self._get("/-/ready") is not None
                return self
            except (urllib.error.URLError, ConnectionError):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.__exit__()
                    raise AssertionError(self._log.read_text()) from None
                time.sleep(0.2)

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(timeout=30)

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """The series of an expression now, each with its labels and its value."""
        words = urllib.parse.urlencode({"query": expression})
        return json.loads(self._get(f"/api/v1/query?{words}"))["data"]["result"]

    def alerts(self) -> list[dict[str, Any]]:
        """Pending and firing ones."""
        return json.loads(self._get("/api/v1/alerts"))["data"]["alerts"]

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=30) as answer:
            return answer.read()


@contextmanager
def exporter(samples: Mapping[str, float]) -> Iterator[str]:
    """Serves samples, `name{label="value"}` -> value, to whoever scrapes; the address."""
    text = "".join(f"{sample} {value}\n" for sample, value in samples.items()).encode()

    class Metrics(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Metrics)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
