"""Shapes and colours that drawings are made of: polygons and lines in units of their own, mapped to pixels."""

import colorsys
from typing import Self

import numpy as np
from PIL import Image, ImageDraw

Color = tuple[int, int, int]
DARK, LIGHT, RED, YELLOW, ORANGE = (28, 26, 30), (242, 240, 232), (205, 38, 40), (240, 205, 50), (238, 130, 40)


class Pen:
    """Draws shapes given in units of the drawing through an affine map (2, 3) to pixels."""

    def __init__(self, canvas: ImageDraw.ImageDraw, matrix: np.ndarray, scale: float) -> None:
        self._canvas, self._matrix, self._scale = canvas, matrix, scale

    @classmethod
    def on(cls, image: Image.Image, matrix: np.ndarray) -> Self:
        """A pen on an image; lines are as wide as the map's mean scale makes them."""
        return cls(ImageDraw.Draw(image), matrix, float(np.sqrt(abs(np.linalg.det(matrix[:, :2])))))

    def within(self, matrix: np.ndarray) -> "Pen":
        """A pen for a part that has an affine map of its own into these units; lines stay as wide."""
        linear = self._matrix[:, :2]
        both = np.column_stack([linear @ matrix[:, :2], linear @ matrix[:, 2] + self._matrix[:, 2]])
        return Pen(self._canvas, both, self._scale)

    def fill(self, points: np.ndarray, colour: Color) -> None:
        self._canvas.polygon(to_pixels(points, self._matrix), fill=colour)

    def line(self, points: list[tuple[float, float]], width: float, colour: Color) -> None:
        pixels = to_pixels(np.array(points), self._matrix)
        self._canvas.line(pixels, fill=colour, width=max(1, round(width * self._scale)), joint="curve")


def to_pixels(points: np.ndarray, matrix: np.ndarray) -> list[tuple[float, float]]:
    """Points (n, 2) through an affine map (2, 3)."""
    return [(x, y) for x, y in (points @ matrix[:, :2].T + matrix[:, 2]).tolist()]


def affine(degrees: float, scale: tuple[float, float], move: tuple[float, float], shear: float = 0.0) -> np.ndarray:
    """The map (2, 3) that scales, then shears, turns and moves."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    linear = np.array([[c, -s], [s, c]]) @ np.array([[1.0, shear], [0.0, 1.0]]) @ np.diag(scale)
    return np.column_stack([linear, move])


def arc(
    x: float, y: float, rx: float, ry: float, start: float = 0.0, stop: float = 360.0, corners: int = 24
) -> np.ndarray:
    """Points (corners, 2) on an ellipse around (x, y), angles in degrees."""
    angle = np.radians(np.linspace(start, stop, corners))
    return np.column_stack([x + rx * np.cos(angle), y + ry * np.sin(angle)])


def smooth(points: list[tuple[float, float]]) -> np.ndarray:
    """A closed curve through the middle of the polygon's edges (Chaikin's corner cutting)."""
    curve = np.array(points)
    for _ in range(3):
        after = np.roll(curve, -1, axis=0)
        curve = np.stack([0.75 * curve + 0.25 * after, 0.25 * curve + 0.75 * after], axis=1).reshape(-1, 2)
    return curve


def mix(a: Color, b: Color, share: float) -> Color:
    """Colour a with this share of b."""
    red, green, blue = (round(p + (q - p) * share) for p, q in zip(a, b, strict=True))
    return red, green, blue


def hsv(hue: float, saturation: float, value: float) -> Color:
    """A colour by hue (1 is once around), saturation and value."""
    red, green, blue = (round(255 * channel) for channel in colorsys.hsv_to_rgb(hue % 1.0, saturation, value))
    return red, green, blue
