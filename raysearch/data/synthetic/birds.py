"""Birds whose kinds differ in small parts only, drawn from polygons.

Lengths are in units of the bird, which looks to the right: its body is centred at (0, 0), y points down, and from
tail to beak it measures about 1.5. Random numbers are taken whatever the traits are, so that the same generator gives
the same scene to every class.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from raysearch.data.synthetic.drawing import (
    DARK,
    LIGHT,
    ORANGE,
    RED,
    YELLOW,
    Color,
    Pen,
    affine,
    arc,
    hsv,
    mix,
    smooth,
)

LEVELS: dict[str, tuple[str | Color | None, ...]] = {
    "beak": ("cone", "needle", "curved", "hooked", "blunt"),
    "beak_color": (DARK, YELLOW, RED),
    "crown": (None, RED, DARK, YELLOW, LIGHT),
    "stripe": (None, DARK, LIGHT),
    "ring": (None, LIGHT, ORANGE),
    "wing": ("plain", "one bar", "two bars", "patch"),
    "breast": ("plain", "spots", "band", "streaks"),
    "tail": ("square", "long", "forked", "tipped"),
    "legs": (DARK, YELLOW, RED),
}


class Traits(NamedTuple):
    """A class: the level of each part, an index into LEVELS."""

    beak: int
    beak_color: int
    crown: int
    stripe: int
    ring: int
    wing: int
    breast: int
    tail: int
    legs: int


def draw_bird(pen: Pen, kind: Traits, stand: float, pose: float, u: np.ndarray, rng: Generator) -> None:
    """Draw a bird, back to front: perch, tail, legs, body, breast, wing, beak, head.

    Args:
        pen: maps the bird's units to pixels.
        kind: its class.
        stand: how far its parts stand out, 0 to 1; at 0 all kinds look the same.
        pose: how far posture, head and wing turn, 0 to 1.
        u: five numbers from -1 to 1 that decide the pose: lean, wing's angle and slant, head's angle and turn.
        rng: decides the plumage.
    """
    hue, saturation, value = rng.uniform(0.0, 0.7), rng.uniform(0.1, 0.55), rng.uniform(0.4, 0.8)
    coat = hsv(hue, saturation, value)
    back, belly, quill = mix(coat, DARK, 0.3), mix(coat, LIGHT, 0.45), mix(coat, DARK, 0.55)
    bark, jitter = hsv(0.08, rng.uniform(0.1, 0.4), rng.uniform(0.2, 0.55)), rng.uniform(-1, 1, 16)

    def _part(name: str, under: Color) -> Color:
        color = LEVELS[name][getattr(kind, name)]
        return under if color is None else mix(under, color, stand)

    slope = 2.2 * np.tan(np.radians(12 * jitter[0] * pose))
    pen.line([(-2.2, 0.46 - slope), (2.2, 0.46 + slope)], 0.07 + 0.03 * jitter[1], bark)
    body = pen.within(affine(-20 + 15 * u[0] * pose, (1, 1), (0, 0)))

    _tail(body, kind, quill, stand)
    grey = mix(quill, mix(DARK, LIGHT, 0.3), 0.3)
    for x in (-0.06, 0.07):
        pen.line([(x, 0.14), (x + 0.02, 0.44), (x + 0.1, 0.45)], 0.035, _part("legs", grey))

    trunk = [(-0.5, 0.02), (-0.3, -0.22), (0.1, -0.32), (0.44, -0.22), (0.5, 0.05), (0.3, 0.3), (-0.1, 0.3)]
    body.fill(smooth(trunk), coat)
    body.fill(smooth([(-0.35, 0.12), (0.1, 0.08), (0.4, -0.12), (0.46, 0.06), (0.28, 0.27), (-0.1, 0.27)]), belly)
    _breast(body, kind, mix(belly, DARK, 0.75 * stand), jitter)
    wing = body.within(affine(8 * u[1] * pose, (1, 0.85 + 0.2 * u[2] * pose), (-0.02, -0.06), 0.2 * u[2] * pose))
    _wing(wing, kind, back, quill, stand)
    head = body.within(affine(20 + 22 * u[3] * pose, (0.92 + 0.08 * u[4] * pose, 1), (0.34, -0.26)))
    _head(head, kind, coat, back, _part, stand)


def _tail(body: Pen, kind: Traits, quill: Color, stand: float) -> None:
    shape = LEVELS["tail"][kind.tail]
    long = 0.38 + ({"square": 0.34, "long": 0.56, "forked": 0.44, "tipped": 0.36}[str(shape)] - 0.38) * stand
    notch = 0.2 * stand if shape == "forked" else 0.0
    end = -0.28 - long
    body.fill(np.array([(-0.2, -0.08), (end, -0.1), (end + notch, 0.0), (end, 0.1), (-0.2, 0.1)]), quill)
    if shape == "tipped":
        body.fill(np.array([(end, -0.1), (end + 0.1, -0.1), (end + 0.1, 0.1), (end, 0.1)]), mix(quill, LIGHT, stand))


def _breast(body: Pen, kind: Traits, ink: Color, jitter: np.ndarray) -> None:
    pattern = LEVELS["breast"][kind.breast]
    spots = [(0.12, 0.13), (0.22, 0.06), (0.31, 0.1), (0.21, 0.18), (0.3, -0.02), (0.1, 0.2), (0.37, 0.02)]
    for number, (x, y) in enumerate(spots):
        x, y = x + 0.01 * jitter[2 + number], y + 0.01 * jitter[9 + number % 7]
        if pattern == "spots":
            body.fill(arc(x, y, 0.024, 0.024, corners=8), ink)
        elif pattern == "streaks":
            body.line([(x - 0.05, y + 0.03), (x + 0.05, y - 0.03)], 0.018, ink)
    if pattern == "band":
        body.line([(0.2, -0.1), (0.3, 0.0), (0.42, 0.05)], 0.06, ink)


def _wing(wing: Pen, kind: Traits, back: Color, quill: Color, stand: float) -> None:
    wing.fill(smooth([(0.3, -0.1), (0.28, 0.1), (0.0, 0.2), (-0.6, 0.1), (-0.3, -0.08), (0.1, -0.2)]), back)
    wing.fill(smooth([(-0.02, 0.15), (-0.6, 0.11), (-0.25, -0.02), (0.0, 0.02)]), quill)
    marks, pale = LEVELS["wing"][kind.wing], mix(back, LIGHT, 0.9 * stand)
    if marks in ("one bar", "two bars"):
        wing.line([(0.06, -0.1), (0.02, 0.14)], 0.045, pale)
    if marks == "two bars":
        wing.line([(0.17, -0.1), (0.13, 0.12)], 0.045, pale)
    if marks == "patch":
        wing.fill(arc(0.16, 0.0, 0.075, 0.065, corners=12), mix(back, ORANGE, stand))


def _head(head: Pen, kind: Traits, coat: Color, back: Color, part: Callable[[str, Color], Color], stand: float) -> None:
    horn = part("beak_color", mix(back, DARK, 0.4))
    # two corners of the upper edge, the tip, two corners of the lower edge
    mean = np.array([(0.14, -0.06), (0.26, -0.04), (0.36, 0.03), (0.26, 0.06), (0.14, 0.07)])
    shape = {
        "cone": [(0.12, -0.09), (0.23, -0.04), (0.3, 0.03), (0.22, 0.08), (0.12, 0.1)],
        "needle": [(0.14, -0.03), (0.34, -0.01), (0.54, 0.01), (0.34, 0.03), (0.14, 0.04)],
        "curved": [(0.14, -0.04), (0.34, -0.01), (0.46, 0.16), (0.3, 0.06), (0.14, 0.05)],
        "hooked": [(0.12, -0.09), (0.33, -0.08), (0.35, 0.12), (0.28, 0.03), (0.12, 0.07)],
        "blunt": [(0.13, -0.05), (0.36, -0.05), (0.42, 0.01), (0.36, 0.07), (0.13, 0.07)],
    }[str(LEVELS["beak"][kind.beak])]
    head.fill(mean + (np.array(shape) - mean) * stand, horn)
    head.fill(arc(0, 0, 0.2, 0.19), coat)
    if LEVELS["crown"][kind.crown] is not None:
        head.fill(arc(0, 0, 0.205, 0.195, 190, 345, 16), part("crown", coat))
    if LEVELS["stripe"][kind.stripe] is not None:
        head.line([(-0.17, 0.02), (0.0, 0.0), (0.17, 0.0)], 0.05, part("stripe", coat))
    if LEVELS["ring"][kind.ring] is not None:
        head.fill(arc(0.06, -0.02, 0.068, 0.068, corners=14), part("ring", coat))
    head.fill(arc(0.06, -0.02, 0.036, 0.036, corners=10), DARK)
