"""Pictures inside a page: uint8 arrays as data URIs, with no more detail than the page has room for."""

import base64
import io
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from plotly import colors

from dashboards.html.markup import Markup, tag

Pixels = NDArray[np.uint8]

BUDGET = 12_000_000  # bytes of a page; what opens at once on a phone and passes as an attachment of a mail


class Detail(NamedTuple):
    """How much of a picture is kept."""

    side: int  # pixels at most, of a picture that is looked at by itself
    small: int  # pixels at most, of one in a row of many
    quality: int  # of JPEG


DETAILS = (Detail(256, 144, 85), Detail(192, 112, 78), Detail(128, 88, 70), Detail(96, 64, 60), Detail(64, 48, 45))


def fitted(draw: Callable[[Detail], str], budget: int = BUDGET) -> str:
    """What `draw` makes with the most detail that stays within the budget, or with the least there is.

    Args:
        draw: a page of a detail.
        budget: in bytes.

    >>> fitted(lambda detail: "x" * detail.side, budget=130) == "x" * 128
    True
    """
    for detail in DETAILS:
        page = draw(detail)
        if len(page) <= budget:
            break
    return page


def uri(pixels: Pixels, side: int, quality: int) -> str:
    """A picture (H, W, 3) as a data URI, JPEG or, where that is smaller, PNG.

    Args:
        pixels: of the picture.
        side: pixels at most; a larger one is scaled down.
        quality: of JPEG.

    >>> uri(np.zeros((8, 8, 3), np.uint8), side=4, quality=80)[:22]
    'data:image/png;base64,'
    """
    image = Image.fromarray(pixels)
    if max(image.size) > side:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    encoded = []
    for kind, options in (("jpeg", {"quality": quality}), ("png", {"optimize": True})):
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        encoded.append((buffer.getvalue(), kind))
    data, kind = min(encoded, key=lambda one: len(one[0]))
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def large(pixels: Pixels, alt: str, detail: Detail) -> Markup:
    """A picture that is looked at by itself; `alt` is read to people who do not see it."""
    return _picture(pixels, alt, detail.side, detail.quality)


def small(pixels: Pixels, alt: str, detail: Detail) -> Markup:
    """A picture in a row of many."""
    return _picture(pixels, alt, detail.small, detail.quality)


def heated(pixels: Pixels, heat: NDArray[Any], share: float = 0.55) -> Pixels:
    """A picture under the colours of a map: dark violet where it is 0, yellow where it is 1.

    Args:
        pixels: (H, W, 3).
        heat: (H, W) in [0, 1].
        share: of the colours; the rest is the picture, in grey so that no colour of its own is taken for heat.

    Returns:
        (H, W, 3).
    """
    scale = [(place, colors.hex_to_rgb(colour)) for place, colour in colors.get_colorscale("Inferno")]
    places, table = np.array([place for place, _ in scale]), np.array([colour for _, colour in scale], float)
    tint = np.stack([np.interp(heat, places, channel) for channel in table.T], axis=-1)
    grey = pixels.mean(axis=2, keepdims=True)
    return np.round(share * tint + (1 - share) * grey).astype(np.uint8)


def _picture(pixels: Pixels, alt: str, side: int, quality: int) -> Markup:
    height, width = pixels.shape[:2]
    picture = tag("img", src=uri(pixels, side, quality), alt=alt, width=width, height=height)
    return Markup(picture.removesuffix("</img>"))
