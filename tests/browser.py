"""A real headless Chromium for tests of pages. It is driven through a pipe, so it needs no port.

    with chromium() as browser:
        page = browser.open(path.as_uri())
        assert page.evaluate("document.querySelectorAll('.js-plotly-plot').length") == 4
        assert not page.errors and not page.requests

Messages follow the Chrome DevTools Protocol: JSON, each ended by a zero byte, on file descriptors 3 and 4.
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

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: apt install chromium)")

_TIMEOUT = 60.0  # seconds; the first page of a cold browser on a busy machine takes a few
_LOCAL = ("file:", "data:", "blob:", "about:")  # schemes that need no network
_FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",  # not available to root in a container
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
    """A running Chromium; `chromium()` starts and ends it."""

    def __init__(self, process: subprocess.Popen[bytes], to_browser: int, from_browser: int) -> None:
        self._process = process
        self._to_browser = to_browser
        self._from_browser = from_browser
        self._buffer = b""
        self._last_id = 0
        self._pages: dict[str, Page] = {}

    def open(self, url: str, width: int = 1200, height: int = 900, dark: bool = False) -> "Page":
        """Open a page in a new tab and wait until it has loaded. Phones are 390 pixels wide."""
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
        """Send a message and return its result; events that arrive meanwhile go to their page."""
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": values or {}}
        message |= {"sessionId": session} if session else {}
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to_browser, data) :]
        while True:
            reply = self._receive(_TIMEOUT)
            if reply is None:
                raise TimeoutError(f"Chromium did not answer {method} within {_TIMEOUT:.0f} s")
            if reply.get("id") == self._last_id:
                if "error" in reply:
                    raise RuntimeError(f"{method}: {reply['error'].get('message')}")
                return reply["result"]
            self._dispatch(reply)

    def pump(self, seconds: float) -> None:
        """Receive events for some seconds."""
        end = time.monotonic() + seconds
        while (remaining := end - time.monotonic()) > 0:
            event = self._receive(remaining)
            if event is not None:
                self._dispatch(event)

    def _dispatch(self, event: dict[str, Any]) -> None:
        page = self._pages.get(event.get("sessionId", ""))
        if page is not None and "method" in event:
            page.record_event(event["method"], event.get("params", {}))

    def _receive(self, seconds: float) -> dict[str, Any] | None:
        end = time.monotonic() + seconds
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from_browser], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                return None
            data = os.read(self._from_browser, 1 << 20)
            if not data:
                raise RuntimeError(f"Chromium ended with status {self._process.poll()}")
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)


class Page:
    """A tab.

    Attributes:
        errors: exceptions, console errors, and violations of the security policy.
        requests: addresses that the page requested from the network.
    """

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self._loaded = False
        self.errors: deque[str] = deque(maxlen=1000)
        self.requests: deque[str] = deque(maxlen=1000)

    def call(self, method: str, values: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a message to this tab and return its result."""
        return self._browser.call(method, values, self._session)

    def go(self, url: str) -> None:
        """Load an address, and wait until a report's figures are drawn."""
        self._loaded = False
        result = self.call("Page.navigate", {"url": url})
        if "errorText" in result:
            raise RuntimeError(f"{url}: {result['errorText']}")
        end = time.monotonic() + _TIMEOUT
        while not self._loaded:
            if time.monotonic() > end:
                raise TimeoutError(f"{url} did not load within {_TIMEOUT:.0f} s")
            self._browser.pump(0.02)
        self.evaluate("window.figuresDrawn")  # a promise; undefined on other pages

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression; a promise is awaited."""
        values = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        result = self.call("Runtime.evaluate", values)
        if "exceptionDetails" in result:
            raise RuntimeError(_exception_text(result["exceptionDetails"]))
        return result["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 20.0) -> Any:
        """Wait until an expression is true, and return its value."""
        end = time.monotonic() + seconds
        while not (value := self.evaluate(expression)):
            if time.monotonic() > end:
                raise TimeoutError(f"still false after {seconds:.0f} s: {expression}")
            self._browser.pump(0.1)
        return value

    def pump(self, seconds: float) -> None:
        """Let the page run for some seconds and record its events."""
        self._browser.pump(seconds)

    def resize(self, width: int, height: int) -> None:
        """Set the window's size in pixels."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, dark: bool = False, printed: bool = False) -> None:
        """Set the reader's preferences: dark colors, or print."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", {"media": "print" if printed else "", "features": features})

    def screenshot(self, path: Path, whole: bool = True) -> Path:
        """Write the whole page, or only the window, to a PNG file."""
        data = self.call("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": whole})["data"]
        path.write_bytes(base64.b64decode(data))
        return path

    def accessibility(self) -> list[dict[str, Any]]:
        """Return the accessibility tree that screen readers use, one dict per node."""
        return self.call("Accessibility.getFullAXTree")["nodes"]

    def record_event(self, method: str, values: dict[str, Any]) -> None:
        """Record an event of the protocol."""
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Runtime.exceptionThrown":
            self.errors.append(_exception_text(values["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and values["type"] in ("error", "assert"):
            self.errors.append(" ".join(str(value.get("value", value.get("description"))) for value in values["args"]))
        elif method == "Log.entryAdded" and values["entry"]["level"] == "error":
            self.errors.append(f"{values['entry']['text']} {values['entry'].get('url', '')}".strip())
        elif method == "Network.requestWillBeSent" and not values["request"]["url"].startswith(_LOCAL):
            self.requests.append(values["request"]["url"])


def _exception_text(details: dict[str, Any]) -> str:
    return details.get("exception", {}).get("description") or details.get("text", "an exception")


@contextlib.contextmanager
def chromium(*flags: str) -> Iterator[Browser]:
    """Start a browser with a temporary profile, and end all of its processes afterwards."""
    assert CHROMIUM, "Chromium is not installed"
    profile = tempfile.mkdtemp(prefix="chromium-")
    read_by_browser, to_browser = os.pipe()
    from_browser, written_by_browser = os.pipe()
    # The shell moves the pipes to descriptors 3 and 4, and is replaced by the browser.
    shell = f'exec "$@" 3<&{read_by_browser} 4>&{written_by_browser}'
    command = ["bash", "-c", shell, "bash", CHROMIUM, *_FLAGS, *flags, f"--user-data-dir={profile}", "about:blank"]
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


def assert_opens_on_a_phone(page: Page) -> None:
    """Assert that a page of 390 px opened without errors, requests, horizontal scrolling or a broken image."""
    assert list(page.errors) == []
    assert list(page.requests) == []
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
