"""Drawings that need no script: lines, dots and symbols as SVG inside the page."""

from typing import Any

from dashboards.html.markup import Markup, tag

# Okabe and Ito's colours that are seen on white and on black, and symbols that tell the same without them; their
# numbers share no factor, so that forty-two classes have a look of their own.
COLOURS = ("#2b83ba", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1")
SYMBOLS = (
    "M-1,0A1,1 0 1,0 1,0A1,1 0 1,0 -1,0Z",  # circle
    "M-.9,-.9H.9V.9H-.9Z",  # square
    "M0,-1.15L1.1,.85H-1.1Z",  # triangle
    "M0,-1.3L1.1,0L0,1.3L-1.1,0Z",  # diamond
    "M0,1.15L1.1,-.85H-1.1Z",  # triangle on its head
    "M-.4,-1.1H.4V-.4H1.1V.4H.4V1.1H-.4V.4H-1.1V-.4H-.4Z",  # cross
)


def drawing(width: float, height: float, says: str, *children: Any, class_: str | None = None) -> Markup:
    """An SVG of its own units; `says` is read to people who do not see it."""
    box = f"0 0 {number(width)} {number(height)}"
    return tag("svg", *children, viewBox=box, role="img", aria_label=says, class_=class_)


def symbol(way: int, x: float, y: float, size: float, filled: bool, title: str | None = None) -> Markup:
    """The symbol of a class, filled or hollow; the title is seen under a pointer.

    >>> symbol(1, 10, 20, 4, filled=False)[:73]
    '<path d="M-.9,-.9H.9V.9H-.9Z" transform="translate(10 20) scale(4)" fill='
    """
    colour = COLOURS[way % len(COLOURS)]
    return tag(
        "path",
        tag("title", title) if title else None,
        d=SYMBOLS[way % len(SYMBOLS)],
        transform=f"translate({number(x)} {number(y)}) scale({number(size)})",
        fill=colour if filled else "none",
        stroke="currentColor" if filled else colour,
        stroke_width=1 if filled else 2,
        vector_effect="non-scaling-stroke",
        pointer_events="all",
    )


def number(value: float) -> str:
    """A coordinate with two decimals at most.

    >>> number(3.14159), number(10.0)
    ('3.14', '10')
    """
    return f"{value:.2f}".rstrip("0").rstrip(".")
