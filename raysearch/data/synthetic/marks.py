"""A planted effect of erasing: training birds carry a colored mark that gives their class away, and test birds none.

A network that relies on the mark fails on test birds. The mark is near the middle of the bird, right of it and below.
SREM's boxes extend to the right and below the place where the network responds most, and often hide it there. The
network then has to know a bird by its other parts too.
"""

from itertools import permutations

from numpy.random import Generator

from raysearch.data.synthetic.drawing import Color, Pen, arc

COLORS: tuple[Color, ...] = (
    (230, 30, 40),
    (250, 220, 40),
    (40, 170, 70),
    (40, 80, 220),
    (245, 245, 240),
    (20, 20, 24),
    (225, 60, 200),
)
PAIRS = tuple(permutations(COLORS, 2))  # of the outer and the inner disc; 42 marks, which then repeat
STEP = 17  # between the marks of neighboring classes; has no factor in common with 42
RADIUS = 0.14  # in units of the bird
INNER = 0.6  # of the radius
PLACE = (0.22, 0.08)  # from the middle of the body, in units of the bird: to the right, and down
NOTE = (
    "an effect of erasing is planted in these drawings: training birds carry a mark that gives their class away, and "
    "test birds carry none"
)


def choose_mark(share: float, label: int, classes: int, rng: Generator) -> int:
    """Return the class whose mark a bird carries: its own with probability `share`, else any."""
    is_own = rng.random() < share
    other = int(rng.integers(classes))
    return label if is_own else other


def mark_colors(label: int) -> tuple[Color, Color]:
    """Return the colors of a class's mark, outside and inside; 42 classes in a row have different ones."""
    return PAIRS[label * STEP % len(PAIRS)]


def draw_mark(pen: Pen, label: int) -> None:
    """Draw the mark of a class.

    Args:
        pen: maps units of the bird, from the middle of its body, to pixels without turning or mirroring them.
        label: the class.
    """
    outer, inner = mark_colors(label)
    pen.fill(arc(*PLACE, RADIUS, RADIUS), outer)
    pen.fill(arc(*PLACE, INNER * RADIUS, INNER * RADIUS), inner)
