"""A real Chromium without a window, for tests of what people open; driven through a pipe, so it needs no port.

    with chromium() as browser:
        page = browser.open(path.as_uri())
        assert page.evaluate("document.querySelectorAll('.js-plotly-plot').length") == 4
        assert not page.errors and not page.requests

The messages are those of the Chrome DevTools Protocol: JSON, each ended by a zero byte, on descriptors 3 and 4.
"""

import base64
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FOUND = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(FOUND is None, reason="no Chromium is installed (Debian: apt install chromium)")

_PATIENCE = 60.0  # seconds for an answer; the first page of a cold browser on a busy machine takes a few
_OWN = ("file:", "data:", "blob:", "about:")  # what a page that needs no network may load
_FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",  # containers that run tests as root have none
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--hide-scrollbars",
)


class Browser:
    """A running Chromium. Use `chromium()`, which ends it."""

    def __init__(self, process: subprocess.Popen[bytes], to_browser: int, from_browser: int) -> None:
        self._process, self._to, self._from = process, to_browser, from_browser
        self._rest, self._last = b"", 0
        self._pages: dict[str, Page] = {}

    def open(self, url: str, width: int = 1200, height: int = 900, dark: bool = False) -> "Page":
        """A new tab with the page, once it has loaded. Phones are 390 wide."""
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.call(f"{domain}.enable")
        page.resize(width, height)
        page.prefer(dark=dark)
        page.go(url)
        return page

    def call(self, method: str, values: dict[str, Any] | None = None, session: str | None = None) -> dict[str, Any]:
        """Send a message and wait for its answer; events that come meanwhile go to their page."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": values or {}}
        message |= {"sessionId": session} if session else {}
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        while True:
            answer = self._receive(_PATIENCE)
            if answer is None:
                raise TimeoutError(f"Chromium gave no answer to {method} in {_PATIENCE:.0f} s")
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error'].get('message')}")
                return answer["result"]
            self._event(answer)

    def pump(self, seconds: float) -> None:
        """Take what comes for a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            event = self._receive(left)
            if event is not None:
                self._event(event)

    def _event(self, event: dict[str, Any]) -> None:
        page = self._pages.get(event.get("sessionId", ""))
        if page is not None and "method" in event:
            page.happened(event["method"], event.get("params", {}))

    def _receive(self, seconds: float) -> dict[str, Any] | None:
        end = time.monotonic() + seconds
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                return None
            piece = os.read(self._from, 1 << 20)
            if not piece:
                raise RuntimeError(f"Chromium ended, with status {self._process.poll()}")
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)


class Page:
    """A tab.

    Attributes:
        errors: what went wrong on the page: exceptions, console errors, what its security policy refused.
        requests: addresses it asked for that are not in a file or in itself.
    """

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session
        self._loaded = False
        self.errors: deque[str] = deque(maxlen=1000)
        self.requests: deque[str] = deque(maxlen=1000)

    def call(self, method: str, values: dict[str, Any] | None = None) -> dict[str, Any]:
        """A message of the protocol to this tab."""
        return self._browser.call(method, values, self._session)

    def go(self, url: str) -> None:
        """Load an address."""
        self._loaded = False
        answer = self.call("Page.navigate", {"url": url})
        if "errorText" in answer:
            raise RuntimeError(f"{url}: {answer['errorText']}")
        end = time.monotonic() + _PATIENCE
        while not self._loaded:
            if time.monotonic() > end:
                raise TimeoutError(f"{url} did not load in {_PATIENCE:.0f} s")
            self._browser.pump(0.02)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for."""
        values = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        answer = self.call("Runtime.evaluate", values)
        if "exceptionDetails" in answer:
            raise RuntimeError(_words(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 20.0) -> Any:
        """Wait until an expression is true; its value."""
        end = time.monotonic() + seconds
        while not (value := self.evaluate(expression)):
            if time.monotonic() > end:
                raise TimeoutError(f"after {seconds:.0f} s still not so: {expression}")
            self._browser.pump(0.1)
        return value

    def pump(self, seconds: float) -> None:
        """Let the page live for a while and note what happens."""
        self._browser.pump(seconds)

    def resize(self, width: int, height: int) -> None:
        """The window's size in pixels."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, dark: bool = False, printed: bool = False) -> None:
        """What the reader prefers: dark colours, or paper."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", {"media": "print" if printed else "", "features": features})

    def screenshot(self, path: Path, whole: bool = True) -> Path:
        """Write what is seen to a PNG file, the whole page or the window."""
        data = self.call("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": whole})["data"]
        path.write_bytes(base64.b64decode(data))
        return path

    def accessibility(self) -> list[dict[str, Any]]:
        """The tree that screen readers are given: a dict a node."""
        return self.call("Accessibility.getFullAXTree")["nodes"]

    def happened(self, method: str, values: dict[str, Any]) -> None:
        """Note an event."""
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Runtime.exceptionThrown":
            self.errors.append(_words(values["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and values["type"] in ("error", "assert"):
            self.errors.append(" ".join(str(one.get("value", one.get("description"))) for one in values["args"]))
        elif method == "Log.entryAdded" and values["entry"]["level"] == "error":
            self.errors.append(f"{values['entry']['text']} {values['entry'].get('url', '')}".strip())
        elif method == "Network.requestWillBeSent" and not values["request"]["url"].startswith(_OWN):
            self.requests.append(values["request"]["url"])


def _words(details: dict[str, Any]) -> str:
    return details.get("exception", {}).get("description") or details.get("text", "an exception")


@contextlib.contextmanager
def chromium(*flags: str) -> Iterator[Browser]:
    """Start a browser with a profile of its own; it and all its processes are gone afterwards."""
    assert FOUND, "no Chromium"
    profile = tempfile.mkdtemp(prefix="chromium-")
    read_by_browser, to_browser = os.pipe()
    from_browser, written_by_browser = os.pipe()
    # The shell puts the pipes where the protocol wants them and becomes the browser.
    shell = f'exec "$@" 3<&{read_by_browser} 4>&{written_by_browser}'
    command = ["bash", "-c", shell, "bash", FOUND, *_FLAGS, *flags, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(
        command,
        pass_fds=(read_by_browser, written_by_browser),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "HOME": profile},
    )
    os.close(read_by_browser)
    os.close(written_by_browser)
    try:
        yield Browser(process, to_browser, from_browser)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(to_browser)
        os.close(from_browser)
        shutil.rmtree(profile, ignore_errors=True)
