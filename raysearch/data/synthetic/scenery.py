"""The surroundings of a drawn bird: background, branches, leaves and berries, and the light on the scene."""

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

from raysearch.data.synthetic.drawing import DARK, LIGHT, ORANGE, RED, YELLOW, affine, arc, hsv, mix, to_pixels


def background(size: int, clutter: float, rng: Generator) -> Image.Image:
    """Draw a soft gradient with blurred clutter far away and sharp clutter near; (size, size) pixels."""
    low = size // 4
    top, bottom, side = (
        np.array(hsv(rng.uniform(0.05, 0.65), rng.uniform(0.1, 0.6), rng.uniform(0.35, 0.9)), float) for _ in range(3)
    )
    y, x = np.mgrid[0:low, 0:low] / low
    sweep = (top + (bottom - top) * y[..., None]) * 0.75 + side * 0.25 * x[..., None]
    image = Image.fromarray(sweep.clip(0, 255).astype(np.uint8))
    draw_clutter(image, rng.poisson(9 * clutter), rng)
    far = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.02, 0.06) * low))
    near = far.resize((size, size), Image.Resampling.BILINEAR)
    draw_clutter(near, rng.poisson(5 * clutter), rng)
    return near


def draw_clutter(image: Image.Image, number: int, rng: Generator) -> None:
    """Draw branches, leaves and berries on a square image; berries have the colors of a bird's parts."""
    canvas = ImageDraw.Draw(image)
    size = image.width
    for _ in range(number):
        sort, tone = rng.random(), rng.random(3)
        x, y = rng.uniform(0, 1, 2)
        angle, long = rng.uniform(0, 360), rng.uniform(0.08, 0.3)
        place = affine(angle, (long * size, long * size), (x * size, y * size))
        green = hsv(0.16 + 0.22 * tone[0], 0.3 + 0.5 * tone[1], 0.25 + 0.55 * tone[2])
        bark = hsv(0.08, 0.2 + 0.3 * tone[0], 0.15 + 0.4 * tone[1])
        if sort < 0.3:
            branch = np.array([(-3.0, 0.0), (0.0, 0.3 * (tone[0] - 0.5)), (3.0, 0.0)])
            canvas.line(to_pixels(branch, place), fill=bark, width=max(1, round((0.01 + 0.04 * tone[2]) * size)))
        elif sort < 0.75:
            canvas.polygon(to_pixels(arc(0, 0, 0.8, 0.3 + 0.2 * tone[0], corners=14), place), fill=green)
        else:
            radius = (0.012 + 0.03 * tone[0]) * size
            color = mix((DARK, LIGHT, RED, YELLOW, ORANGE)[int(tone[1] * 5)], green, 0.25 * tone[2])
            box = (x * size - radius, y * size - radius, x * size + radius, y * size + radius)
            canvas.ellipse(box, fill=color)


def apply_lighting(image: Image.Image, reduction: int, amount: float, rng: Generator) -> np.ndarray:
    """Blur, average down, and add light and noise; return (side, side, 3) uint8."""
    blur = ImageFilter.GaussianBlur(reduction * 0.45 * rng.random() * amount)
    x = np.asarray(image.filter(blur).reduce(reduction), np.float32) / 255
    gamma = 2.0 ** (rng.uniform(-0.6, 0.6) * amount)
    gain = 1 + rng.uniform(-0.25, 0.2) * amount
    cast = 1 + rng.uniform(-0.12, 0.12, 3) * amount
    slope = rng.uniform(-0.3, 0.3, 2) * amount
    across = np.linspace(-0.5, 0.5, len(x))
    x = x**gamma * gain * cast * (1 + slope[0] * across[:, None] + slope[1] * across)[..., None]
    x = x + rng.normal(0, 0.02 * amount, x.shape)
    return (x * 255).clip(0, 255).round().astype(np.uint8)
