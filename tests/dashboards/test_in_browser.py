"""Pages in a real browser: every figure drawn, tables sorted by mouse and keyboard, nothing wider than a phone."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import dashboards.report

from ..browser import Browser, Page, chromium, needs_chromium
from .conftest import ablation, write_run, write_search

pytestmark = needs_chromium

_ALL_DRAWN = """
document.querySelectorAll('.js-plotly-plot').length === document.querySelectorAll('script[data-figure]').length
"""
_TRACES = """
[...document.querySelectorAll('script[data-figure]')].map((block) => {
  const target = document.getElementById(block.dataset.figure);
  return [block.dataset.figure, JSON.parse(block.textContent).data.length, target.data.length,
          target.querySelector('svg.main-svg') !== null];
})
"""
_CELLS = "[...document.querySelector('#variants table').tBodies[0].rows].map((row) => row.cells[{column}].textContent)"
_VALUES = """
[...document.querySelector('#variants table').tBodies[0].rows].map((row) => row.cells[{column}].dataset.value)
"""
_HEADER = "document.querySelectorAll('#variants thead th')[{column}]"


def damaged(variant: str, seed: int) -> str | None:
    return "boom" if variant == "srem.regions=150" or (variant, seed) == ("srem.size=5", 1) else None


def one_at_a_time(run_dir: Path) -> Path:
    return write_run(run_dir, ablation(), effect=lambda levels: 0.01 * (levels["srem.size"] == 64), failing=damaged)


PAGES: dict[str, Callable[[Path], Path]] = {
    "one at a time": one_at_a_time,
    "full": lambda run_dir: write_run(run_dir, ablation("full")),
    "leave one out": lambda run_dir: write_run(run_dir, ablation("leave_one_out"), seeds=2),
    "search": lambda run_dir: write_search(run_dir, metrics=("map_validation", "epoch_seconds")),
    "groups": lambda run_dir: write_search(run_dir, groups=(12, 24), judge_seeds=2),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The address of a report by its name, written once."""
    written: dict[str, str] = {}

    def address(name: str) -> str:
        if name not in written:
            run_dir = tmp_path_factory.mktemp("reports") / name.replace(" ", "_")
            written[name] = dashboards.report.write(PAGES[name](run_dir)).as_uri()
        return written[name]

    return address


def cells(page: Page, column: int) -> list[str]:
    return page.evaluate(_CELLS.format(column=column))


def press(page: Page, column: int) -> str | None:
    """Press Enter on a column's button; the order that the header then tells."""
    header = _HEADER.format(column=column)
    page.evaluate(f"{header}.querySelector('button').focus()")
    for kind in ("keyDown", "keyUp"):
        key = {"type": kind, "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
        page.call("Input.dispatchKeyEvent", key if kind == "keyDown" else {**key, "text": ""})
    return page.evaluate(f"{header}.getAttribute('aria-sort')")


@pytest.mark.parametrize("name", PAGES)
def test_every_figure_is_drawn_without_errors_and_without_a_network(
    browser: Browser, reports: Callable[[str], str], name: str
) -> None:
    page = browser.open(reports(name))
    page.wait_for(_ALL_DRAWN)
    drawn = page.evaluate(_TRACES)
    assert len(drawn) > 5
    for key, expected, traces, has_picture in drawn:
        assert traces == expected > 0, key
        assert has_picture, key
    for dark, printed in ((True, False), (False, True)):
        page.prefer(dark=dark, printed=printed)
        page.pump(0.2)
    page.prefer()
    page.resize(390, 844)
    page.wait_for("document.documentElement.scrollWidth <= 390")  # figures are drawn anew
    assert list(page.errors) == []
    assert list(page.requests) == []


def test_a_table_sorts_by_numbers_and_returns_to_the_plan(browser: Browser, reports: Callable[[str], str]) -> None:
    page = browser.open(reports("one at a time"))
    planned = cells(page, 0)
    assert planned[0].startswith("reference")
    column = [text.partition(",")[0] for text in page.evaluate(
        "[...document.querySelectorAll('#variants thead th')].map((one) => one.textContent)"
    )].index("Difference")  # fmt: skip
    header = _HEADER.format(column=column)
    orders = []
    for expected in ("ascending", "descending", None):
        page.evaluate(f"{header}.querySelector('button').click()")
        assert page.evaluate(f"{header}.getAttribute('aria-sort')") == expected
        orders.append((cells(page, 0), page.evaluate(_VALUES.format(column=column))))
    for (names, values), sign in zip(orders[:2], (1, -1), strict=True):
        numbers = [float(value) for value in values if value]
        assert len(numbers) == 6
        assert numbers == sorted(numbers, key=lambda number: sign * number)
        assert values[6:] == ["", ""], "the reference and what has no result stand last both ways"
        assert [name.partition("srem.regions=50")[0] for name in names[6:]] == ["reference", "srem.regions=150"]
        assert sorted(names) == sorted(planned)
        assert names != planned
    assert orders[2][0] == planned


def test_numbers_go_by_their_value_and_words_by_theirs_from_the_keyboard(
    browser: Browser, reports: Callable[[str], str]
) -> None:
    page = browser.open(reports("one at a time"))
    assert press(page, 0) == "ascending"
    names = cells(page, 0)
    # as text 10 would follow 100; equal words keep their order
    assert [name.partition(" ")[0] for name in names[1:]] == [
        "srem.regions=0", "srem.regions=10", "srem.regions=100", "srem.regions=150",
        "srem.size=5\N{NO-BREAK SPACE}px", "srem.size=18\N{NO-BREAK SPACE}px", "srem.size=37\N{NO-BREAK SPACE}px",
    ]  # fmt: skip
    assert press(page, 0) == "descending"
    assert cells(page, 0) == names[::-1]
    assert press(page, 5) == "ascending"
    assert page.evaluate("document.querySelectorAll('[aria-sort]').length") == 1, "one column is told to sort the table"
    # seeds by number, though a cell reads "4 of 51 failed"; those with five stay in the order of the plan
    assert [value for value in page.evaluate(_VALUES.format(column=5))] == ["0", "4", *["5"] * 6]
    assert [name[:14] for name in cells(page, 0)[2:5]] == ["referencesrem.", "srem.regions=0", "srem.regions=1"]


def test_the_page_has_landmarks_and_links_that_lead_somewhere(browser: Browser, reports: Callable[[str], str]) -> None:
    page = browser.open(reports("full"))
    found = {one["role"]["value"] for one in page.accessibility() if not one.get("ignored")}
    assert {"banner", "navigation", "main", "region"} <= found
    assert page.evaluate("""
      [...document.querySelectorAll('a[href^="#"]')].every((link) => document.getElementById(link.hash.slice(1)))
    """)
    assert page.evaluate("document.querySelectorAll('.contents a').length") == page.evaluate(
        "document.querySelectorAll('main > section').length"
    )
    page.call("Input.dispatchKeyEvent", {"type": "keyDown", "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9})
    assert page.evaluate("document.activeElement.className") == "skip"
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map((one) => Number(one.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    unnamed = "[...document.querySelectorAll('.plot')].filter((one) => !one.getAttribute('aria-label')).length"
    assert page.evaluate(unnamed) == 0


def test_paper_shows_no_buttons_and_no_contents(browser: Browser, reports: Callable[[str], str]) -> None:
    page = browser.open(reports("one at a time"), width=720)
    page.wait_for(_ALL_DRAWN)
    page.prefer(printed=True)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.pump(0.5)
    style: Callable[[str], Any] = lambda what: page.evaluate(what)  # noqa: E731
    assert style("getComputedStyle(document.querySelector('.contents')).display") == "none"
    assert style("getComputedStyle(document.querySelector('thead button'), '::after').content") == "none"
    assert page.evaluate("document.documentElement.scrollWidth") <= 720
    assert list(page.errors) == []


def test_without_scripts_a_table_stands_as_it_is(browser: Browser, reports: Callable[[str], str]) -> None:
    page = browser.open("about:blank")
    page.call("Emulation.setScriptExecutionDisabled", {"value": True})
    page.go(reports("one at a time"))
    tree = [one for one in page.accessibility() if not one.get("ignored")]
    assert not [one for one in tree if one["role"]["value"] == "button"]
    assert [one for one in tree if one["role"]["value"] == "columnheader"]


def test_the_browser_tells_of_errors_and_requests(browser: Browser, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text("<script>nothing.at.all</script><img src='http://127.0.0.1:9/none.png'>")
    page = browser.open(broken.as_uri())
    page.wait_for("document.images[0].complete")
    assert any("nothing is not defined" in error for error in page.errors)
    assert list(page.requests) == ["http://127.0.0.1:9/none.png"]


def test_a_browser_that_cannot_unpack_the_script_shows_why(browser, reports):
    page = browser.open("about:blank")
    page.call("Page.addScriptToEvaluateOnNewDocument", {"source": "delete window.DecompressionStream"})
    page.go(reports("one at a time"))
    texts = page.evaluate("[...document.querySelectorAll('.plot')].map((plot) => plot.textContent)")
    assert texts
    assert set(texts) == {"Not drawn: this browser cannot unpack scripts; it is older than 2023"}
