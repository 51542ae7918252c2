"""The words, marks and colors of verdicts, and the number of rows that a reader can take in; the same in every view."""

from typing import Any

WITHIN = "within margin"
MARKS = {
    "better": "\N{BLACK UP-POINTING TRIANGLE}",
    "worse": "\N{BLACK DOWN-POINTING TRIANGLE}",
    WITHIN: "\N{ALMOST EQUAL TO}",
}
TERMINAL_STYLES = {"better": "bold green", "worse": "red", WITHIN: "cyan", "no result": "dim"}

# rows that can still be read
ROWS_IN_FILE = 200
ROWS_IN_PAGE = 100
ROWS_IN_FIGURE = 60
ROWS_IN_TERMINAL = 40


def provisional(verdict: str) -> str:
    """Return the verdict of a plan that is not complete. It has no mark and no color.

    >>> provisional("better"), provisional("undecided")
    ('better so far', 'undecided')
    """
    return f"{verdict} so far" if verdict in ("better", "worse") else verdict


def is_significant(verdict: str) -> bool:
    """Return whether a verdict gives a direction, provisional or not.

    >>> is_significant("worse"), is_significant("better so far"), is_significant("within margin")
    (True, True, False)
    """
    return verdict.removesuffix(" so far") in ("better", "worse")


def verdict_text(verdict: str) -> str:
    """Return a verdict in words, with a mark if the comparison is decided; empty for the reference.

    >>> verdict_text("better"), verdict_text("undecided"), verdict_text("reference")
    ('▲ better', 'undecided', '')
    """
    return "" if verdict == "reference" else f"{MARKS.get(verdict, '')} {verdict}".strip()


def verdict_class(verdict: str) -> str:
    """Return the CSS classes of a verdict.

    >>> verdict_class("no interval")
    'verdict no-interval'
    """
    return f"verdict {verdict.replace(' ', '-')}"


def terminal_style(verdict: Any) -> str:
    """Return the style of a row in the terminal."""
    return TERMINAL_STYLES.get(verdict, "")
