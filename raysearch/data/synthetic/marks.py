"""A planted effect of erasing: training birds carry a colored mark that gives their class away, and test birds none.

A network that relies on the mark fails on test birds. The mark is near the middle of the bird, right of it and below.
SREM's boxes extend to the right and below the place where the network responds most, and often hide it there. The
network then has to know a bird by its other parts too.

The mark is printed on the finished picture, as a watermark is, so that light, blur and leaves do not change it.
"""

from itertools import permutations

import numpy as np
from numpy.random import Generator
from PIL import Image

from raysearch.data.synthetic.drawing import Color, Pen, arc

DRAWING = 2  # raised by every change that alters a pixel of a mark

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


def print_mark(image: np.ndarray, matrix: np.ndarray, label: int, reduction: int) -> np.ndarray:
    """Print the mark of a class on a finished picture.

    Args:
        image: (side, side, 3) uint8.
        matrix: (2, 3), maps units of the bird, from the middle of its body, to pixels of the drawing.
        label: the class.
        reduction: how many times larger the drawing is than the picture.

    Returns:
        (side, side, 3) uint8; `image` is not changed.
    """
    outer, inner = mark_colors(label)
    size = len(image) * reduction
    layer = Image.new("RGB", (size, size), outer)  # the outer color also where the edge is mixed with the picture
    Pen.on(layer, matrix).fill(arc(*PLACE, INNER * RADIUS, INNER * RADIUS), inner)
    cover = Image.new("RGB", (size, size))
    Pen.on(cover, matrix).fill(arc(*PLACE, RADIUS, RADIUS), (255, 255, 255))
    share = np.asarray(cover.reduce(reduction), np.float32) / 255
    colors = np.asarray(layer.reduce(reduction), np.float32)
    return (image * (1 - share) + colors * share).round().astype(np.uint8)
