"""The parts that every page has: its header with the answer and the facts of the run, and its terms."""

from collections.abc import Iterable, Mapping
from typing import Any

from dashboards.html.markup import Markup, Section, section, tag

_LONGEST_FACT = 100  # characters beside other facts; longer ones have a line of their own


def header(
    brand: str,
    title: str,
    facts: Iterable[tuple[str, Any]],
    answer: Markup | None = None,
    caution: Markup | None = None,
) -> Markup:
    """Return the top of a page.

    Args:
        brand: the small line above the title, behind the name of the program.
        title: the question.
        facts: term and value.
        answer: from `answer_box`.
        caution: what limits the numbers.
    """
    line = tag("p", f"raysearch \N{MIDDLE DOT} {brand}", class_="brand")
    return tag("header", line, tag("h1", title), answer, caution, facts_list(facts))


def answer_box(*paragraphs: Markup) -> Markup:
    """Return the box with the answer."""
    return tag("section", tag("h2", "Answer"), *paragraphs, class_="answer", aria_label="Answer")


def facts_list(facts: Iterable[tuple[str, Any]]) -> Markup:
    """Return terms above their values, side by side."""
    return tag("dl", *(_fact(term, value) for term, value in facts), class_="facts")


def listing(entries: Iterable[tuple[str, Any]]) -> Markup:
    """Return terms beside their values, one below the other."""
    return tag("dl", *(tag("div", tag("dt", term), tag("dd", value)) for term, value in entries), class_="listing")


def definitions(terms: Mapping[str, Any]) -> Section:
    """Return the section that explains the terms of a page."""
    return section("definitions", "How the numbers are computed", listing(terms.items()))


def _fact(term: str, value: Any) -> Markup:
    is_long = len(value.striptags() if isinstance(value, Markup) else str(value)) > _LONGEST_FACT
    return tag("div", tag("dt", term), tag("dd", value), class_="wide" if is_long else None)
