"""Section of a gallery of a user's task: the pictures that its runs kept, each name under every variant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dashboards.gallery.elements import Detail, DisplayNames, data_uri, note
from dashboards.html import Markup, breakable_name, section, tag

if TYPE_CHECKING:  # making these needs torch; drawing them does not
    import numpy as np
    from numpy.typing import NDArray

    from raysearch.inspection.kept_pictures import KeptPictures

_LARGER = 4  # times the side of a photograph: a plot has text to read
_SMALL = 96  # pixels; a smaller picture is shown with its pixels, as they are


def sections(inspection: Sequence[KeptPictures], names: DisplayNames, detail: Detail) -> list[Markup | None]:
    """Draw the section of the page.

    Args:
        inspection: the pictures of each shown cell.
        names: the names of variants.
        detail: the detail of the pictures.
    """
    text = "Files that the runs kept, each under all variants. The task drew them at the end of its training."
    titles = dict.fromkeys(title for kept in inspection for title in kept.pictures)
    blocks = [_block(title, inspection, names, detail) for title in titles]
    return [section("pictures", "Pictures", note(text), *blocks)]


def _block(title: str, inspection: Sequence[KeptPictures], names: DisplayNames, detail: Detail) -> Markup:
    """Draw the pictures of one name side by side."""
    figures = []
    for kept in inspection:
        variant = names.variant(kept.cell.variant)
        caption = tag("figcaption", breakable_name(variant))
        pixels = kept.pictures.get(title)
        shown = _picture(pixels, f"{title}: {variant}", detail) if pixels is not None else tag("p", "none")
        figures.append(tag("figure", shown, caption))
    return tag("div", tag("h3", title), tag("div", *figures, class_="kept"))


def _picture(pixels: NDArray[np.uint8], alt: str, detail: Detail) -> Markup:
    height, width = pixels.shape[:2]
    side = _LARGER * detail.large
    kind = "pixels" if max(height, width) < _SMALL else None
    picture = tag("img", src=data_uri(pixels, side, detail.quality), alt=alt, width=width, height=height, class_=kind)
    return Markup(picture.removesuffix("</img>"))
