"""Miniature data sets on disk, and what a layout makes of them."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from raysearch.data import layouts, shards
from raysearch.data.layouts import Listing
from raysearch.data.shards import Box
from raysearch.data.shards.jpeg import crop_and_resize

RED, GREY = (220, 30, 30), (90, 90, 90)


def picture(
    mode: str = "RGB",
    format: str = "JPEG",
    size: tuple[int, int] = (12, 8),
    red: tuple[int, int, int, int] | None = None,
) -> bytes:
    """An image file, grey but for the pixels from (left, top) to before (right, bottom) of `red`."""
    image = Image.new("RGB", size, GREY)
    if red:
        image.paste(RED, red)
    file = io.BytesIO()
    image.convert(mode).save(file, format)
    return file.getvalue()


def put(root: Path, files: Mapping[str, bytes | str]) -> Path:
    """Write files below `root`, which is returned."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def read(layout: str, src: Path) -> Listing:
    return layouts.LAYOUTS[layout].read(str(src), None)


def rows(listing: Listing) -> set[tuple[str, str, str]]:
    return {(sample.source, sample.label, sample.split) for sample in listing}


def reasons(listing: Listing) -> dict[str, str]:
    return {bad.source: bad.reason for bad in listing.corrupt}


def written(listing: Listing, out: Path) -> shards.Manifest:
    """The shards that the listing becomes; whatever it holds must decode."""
    return shards.write_shards(listing, out, name="n", layout="l", classes=listing.classes, on_corrupt="fail")


def all_red(data: bytes, box: Box, size: tuple[int, int]) -> bool:
    """Whether the box is exactly the image's red part, by the pixels of the crop."""
    with Image.open(io.BytesIO(crop_and_resize(data, box))) as image:
        off = np.abs(np.asarray(image.convert("RGB"), int) - RED).max()
        return image.size == size and bool(off < 12)
