"""The words, marks and colors of verdicts, and the number of rows that a reader can take in; the same in every view."""

from typing import Any

MARKS = {"better": "\N{BLACK UP-POINTING TRIANGLE}", "worse": "\N{BLACK DOWN-POINTING TRIANGLE}"}
TERMINAL_STYLES = {"better": "bold green", "worse": "red", "no result": "dim"}

# rows that can still be read
ROWS_IN_FILE = 200
ROWS_IN_PAGE = 100
ROWS_IN_FIGURE = 60
ROWS_IN_TERMINAL = 40


def verdict_text(verdict: str) -> str:
    """Return a verdict in words, with a mark if the difference is significant; empty for the reference.

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
