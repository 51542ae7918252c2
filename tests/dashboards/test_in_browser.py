"""Pages in a real browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import dashboards.report

from ..browser import Browser, chromium, needs_chromium
from .conftest import ablation, write_run

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


def test_a_report_opens_without_errors_and_without_a_network(browser: Browser, tmp_path: Path) -> None:
    path = dashboards.report.write(write_run(tmp_path / "run", ablation()))
    page = browser.open(path.as_uri())
    blocks = page.evaluate("document.querySelectorAll('script[data-figure]').length")
    assert page.evaluate("document.querySelectorAll('.js-plotly-plot').length") == blocks > 5
    assert list(page.errors) == []
    assert list(page.requests) == []


def test_the_browser_tells_of_errors_and_requests(browser: Browser, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text("<script>nothing.at.all</script><img src='http://127.0.0.1:9/none.png'>")
    page = browser.open(broken.as_uri())
    page.pump(0.3)
    assert "nothing is not defined" in page.errors[0]
    assert list(page.requests) == ["http://127.0.0.1:9/none.png"]
