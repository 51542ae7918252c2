"""Drawings that need no script: lines, dots and symbols as SVG in the page."""

from typing import Any

from dashboards.html import Markup, tag

# Okabe and Ito's colors that are visible on white and on black. The symbols distinguish the classes without color.
# The two lengths have no common factor, so 42 classes get different combinations.
COLORS = ("#2b83ba", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1")
SYMBOLS = (
    "M-1,0A1,1 0 1,0 1,0A1,1 0 1,0 -1,0Z",  # circle
    "M-.9,-.9H.9V.9H-.9Z",  # square
    "M0,-1.15L1.1,.85H-1.1Z",  # triangle
    "M0,-1.3L1.1,0L0,1.3L-1.1,0Z",  # diamond
    "M0,1.15L1.1,-.85H-1.1Z",  # triangle that points down
    "M-.4,-1.1H.4V-.4H1.1V.4H.4V1.1H-.4V.4H-1.1V-.4H-.4Z",  # cross
)


def draw_svg(width: float, height: float, description: str, *children: Any, class_: str | None = None) -> Markup:
    """Return an SVG with its own units; screen readers read the description."""
    box = f"0 0 {format_number(width)} {format_number(height)}"
    return tag("svg", *children, viewBox=box, role="img", aria_label=description, class_=class_)


def draw_symbol(way: int, x: float, y: float, size: float, filled: bool, title: str | None = None) -> Markup:
    """Return the symbol of a class, filled or hollow; the title appears under the pointer.

    >>> print(draw_symbol(1, 10, 20, 4, filled=False)[:73])
    <path d="M-.9,-.9H.9V.9H-.9Z" transform="translate(10 20) scale(4)" fill=
    """
    color = COLORS[way % len(COLORS)]
    return tag(
        "path",
        tag("title", title) if title else None,
        d=SYMBOLS[way % len(SYMBOLS)],
        transform=f"translate({format_number(x)} {format_number(y)}) scale({format_number(size)})",
        fill=color if filled else "none",
        stroke="currentColor" if filled else color,
        stroke_width=1 if filled else 2,
        vector_effect="non-scaling-stroke",
        pointer_events="all",
    )


def format_number(value: float) -> str:
    """Format a coordinate with at most two decimals.

    >>> format_number(3.14159), format_number(10.0)
    ('3.14', '10')
    """
    return f"{value:.2f}".rstrip("0").rstrip(".")
