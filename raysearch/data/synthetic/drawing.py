"""Shapes and colors of drawings: polygons and lines in units of the drawing, mapped to pixels."""

import colorsys
from typing import Self

import numpy as np
from PIL import Image, ImageDraw

Color = tuple[int, int, int]
DARK: Color = (28, 26, 30)
LIGHT: Color = (242, 240, 232)
RED: Color = (205, 38, 40)
YELLOW: Color = (240, 205, 50)
ORANGE: Color = (238, 130, 40)


class Pen:
    """Draws shapes given in units of the drawing through an affine map (2, 3) to pixels."""

    def __init__(self, canvas: ImageDraw.ImageDraw, matrix: np.ndarray, scale: float) -> None:
        self._canvas = canvas
        self._matrix = matrix
        self._scale = scale

    @classmethod
    def on(cls, image: Image.Image, matrix: np.ndarray) -> Self:
        """Return a pen on an image; the map's mean scale decides the width of lines."""
        return cls(ImageDraw.Draw(image), matrix, float(np.sqrt(abs(np.linalg.det(matrix[:, :2])))))

    def within(self, matrix: np.ndarray) -> "Pen":
        """Return a pen for a part with its own affine map into these units; lines keep their width."""
        linear = self._matrix[:, :2]
        both = np.column_stack([linear @ matrix[:, :2], linear @ matrix[:, 2] + self._matrix[:, 2]])
        return Pen(self._canvas, both, self._scale)

    def fill(self, points: np.ndarray, color: Color) -> None:
        """Fill a polygon (n, 2)."""
        self._canvas.polygon(to_pixels(points, self._matrix), fill=color)

    def line(self, points: list[tuple[float, float]], width: float, color: Color) -> None:
        """Draw a line through points, with a width in units of the drawing."""
        pixels = to_pixels(np.array(points), self._matrix)
        self._canvas.line(pixels, fill=color, width=max(1, round(width * self._scale)), joint="curve")


def to_pixels(points: np.ndarray, matrix: np.ndarray) -> list[tuple[float, float]]:
    """Map points (n, 2) by an affine map (2, 3)."""
    return [(x, y) for x, y in (points @ matrix[:, :2].T + matrix[:, 2]).tolist()]


def affine(degrees: float, scale: tuple[float, float], move: tuple[float, float], shear: float = 0.0) -> np.ndarray:
    """Return the map (2, 3) that scales, then shears, turns and moves."""
    cosine = np.cos(np.radians(degrees))
    sine = np.sin(np.radians(degrees))
    linear = np.array([[cosine, -sine], [sine, cosine]]) @ np.array([[1.0, shear], [0.0, 1.0]]) @ np.diag(scale)
    return np.column_stack([linear, move])


def arc(
    x: float, y: float, rx: float, ry: float, start: float = 0.0, stop: float = 360.0, corners: int = 24
) -> np.ndarray:
    """Return points (corners, 2) on an ellipse around (x, y), with angles in degrees."""
    angle = np.radians(np.linspace(start, stop, corners))
    return np.column_stack([x + rx * np.cos(angle), y + ry * np.sin(angle)])


def smooth(points: list[tuple[float, float]]) -> np.ndarray:
    """Return a closed curve through the middle of the polygon's edges (Chaikin's corner cutting)."""
    curve = np.array(points)
    for _ in range(3):
        after = np.roll(curve, -1, axis=0)
        curve = np.stack([0.75 * curve + 0.25 * after, 0.25 * curve + 0.75 * after], axis=1).reshape(-1, 2)
    return curve


def mix(a: Color, b: Color, share: float) -> Color:
    """Return color a mixed with this share of b."""
    red, green, blue = (round(p + (q - p) * share) for p, q in zip(a, b, strict=True))
    return red, green, blue


def hsv(hue: float, saturation: float, value: float) -> Color:
    """Return a color by hue (1 is once around), saturation and value."""
    red, green, blue = (round(255 * channel) for channel in colorsys.hsv_to_rgb(hue % 1.0, saturation, value))
    return red, green, blue
