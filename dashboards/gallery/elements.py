"""Parts that all gallery sections use: names of classes and variants, and pictures as data URIs.

A picture keeps only as much detail as the page has room for.
"""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from plotly import colors

from dashboards.ablation.variant import label
from dashboards.html import Markup, escape, tag
from raysearch.runs import StudyRecord

Pixels = NDArray[np.uint8]

MAX_BYTES = 12_000_000  # of a page; opens at once on a phone and fits into a mail attachment


class DisplayNames(NamedTuple):
    """Names of classes and variants as the page shows them.

    >>> from raysearch.runs.study_record import VariantRecord
    >>> study = StudyRecord(study="s", variants=[VariantRecord(name="size=5", settings={"size": 5})], cells=[])
    >>> DisplayNames.of_study(study, ["wren"]).variant("size=5")
    'size=5'
    """

    classes: Sequence[str]  # by label
    variants: Mapping[str, str]  # name -> label, with sizes as run and as declared

    @classmethod
    def of_study(cls, study: StudyRecord, classes: Sequence[str]) -> "DisplayNames":
        """Take the names from the contents of `study.json` and from the data set's classes."""
        labels = {variant.name: label(variant.name, variant.settings, variant.declared) for variant in study.variants}
        return cls(classes, labels)

    def breakable_class(self, label: int) -> Markup:
        """Return a class's name that may break after an underscore."""
        return escape(self.classes[label]).replace("_", Markup("_<wbr>"))

    def variant(self, name: str) -> str:
        """Return a variant's label."""
        return self.variants.get(name, name)


class Detail(NamedTuple):
    """The detail of a page's pictures."""

    large: int  # pixels at most per side of a picture that is viewed alone
    small: int  # pixels at most per side of a picture in a row of many
    quality: int  # of JPEG


DETAILS = (Detail(256, 144, 85), Detail(192, 112, 78), Detail(128, 88, 70), Detail(96, 64, 60), Detail(64, 48, 45))


def fit_page(draw: Callable[[Detail], str], budget: int = MAX_BYTES) -> str:
    """Draw a page with the most detail that stays within the budget, or with the least detail there is.

    Args:
        draw: returns the page at a detail.
        budget: in bytes.

    >>> fit_page(lambda detail: "x" * detail.large, budget=130) == "x" * 128
    True
    """
    for detail in DETAILS:
        page = draw(detail)
        if len(page) <= budget:
            break
    return page


def data_uri(pixels: Pixels, side: int, quality: int) -> str:
    """Encode a picture as a data URI, as JPEG or PNG, whichever is smaller.

    Args:
        pixels: (H, W, 3).
        side: pixels at most per side; a larger picture is scaled down.
        quality: the quality of JPEG.

    >>> data_uri(np.zeros((8, 8, 3), np.uint8), side=4, quality=80)[:22]
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
    data, kind = min(encoded, key=lambda entry: len(entry[0]))
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def large_picture(pixels: Pixels, alt: str, detail: Detail) -> Markup:
    """Return a picture that is viewed alone; screen readers read `alt`."""
    return _picture(pixels, alt, detail.large, detail.quality)


def small_picture(pixels: Pixels, alt: str, detail: Detail) -> Markup:
    """Return a picture in a row of many; screen readers read `alt`."""
    return _picture(pixels, alt, detail.small, detail.quality)


def overlay_heat(pixels: Pixels, heat: NDArray[Any], share: float = 0.55) -> Pixels:
    """Overlay a picture with the colors of a map: dark violet at 0, yellow at 1.

    Args:
        pixels: (H, W, 3).
        heat: (H, W) in [0, 1].
        share: of the map's colors. The rest is the picture in gray, so that its own colors are not mistaken for heat.

    Returns:
        The overlaid picture (H, W, 3).
    """
    scale = [(position, colors.hex_to_rgb(color)) for position, color in colors.get_colorscale("Inferno")]
    positions = np.array([position for position, _ in scale])
    table = np.array([color for _, color in scale], float)
    tint = np.stack([np.interp(heat, positions, channel) for channel in table.T], axis=-1)
    gray = pixels.mean(axis=2, keepdims=True)
    return np.round(share * tint + (1 - share) * gray).astype(np.uint8)


def note(text: str) -> Markup:
    """Return a paragraph that explains a section."""
    return tag("p", text, class_="note")


def _picture(pixels: Pixels, alt: str, side: int, quality: int) -> Markup:
    height, width = pixels.shape[:2]
    picture = tag("img", src=data_uri(pixels, side, quality), alt=alt, width=width, height=height)
    return Markup(picture.removesuffix("</img>"))
