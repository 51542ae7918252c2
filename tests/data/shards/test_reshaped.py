"""Boxes and sides at ingest: pixel for pixel what a plain crop and Pillow's own resize give, encoded once."""

import io

import numpy as np
import pytest
from PIL import Image

from raysearch.data.shards import jpeg


def photo(width: int, height: int, mode: str = "RGB", format: str = "PNG") -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, format)
    return file.getvalue()


def array(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def kept(pixels: np.ndarray) -> np.ndarray:
    """The pixels after the one encoding that there should be."""
    return array(jpeg.encode_jpeg(Image.fromarray(pixels)))


@pytest.mark.parametrize(
    ("box", "left", "top", "right", "bottom"),
    [
        ((3, 2, 9, 7), 3, 2, 9, 7),
        ((3.4, 2.9, 8.1, 6.5), 3, 2, 9, 7),  # grows to whole pixels
        ((-5, -1, 4, 3), 0, 0, 4, 3),  # clipped
        ((10, 5, 99, 99), 10, 5, 16, 12),
    ],
)
def test_box(box: jpeg.Box, left: int, top: int, right: int, bottom: int) -> None:
    data = photo(16, 12)
    assert (array(jpeg.crop_and_resize(data, box)) == kept(array(data)[top:bottom, left:right])).all()


def test_side_is_what_training_would_see_but_for_the_encoding() -> None:
    data = photo(40, 30)
    resized = np.asarray(Image.open(io.BytesIO(data)).resize((10, 10), Image.Resampling.BILINEAR))
    assert (array(jpeg.crop_and_resize(data, side=10)) == kept(resized)).all()
    with Image.open(io.BytesIO(jpeg.crop_and_resize(data, side=10))) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (10, 10))


def test_what_lies_around_a_box_does_not_bleed_into_it() -> None:
    around = np.full((32, 32, 3), 255, np.uint8)
    around[8:24, 8:24] = 20
    file = io.BytesIO()
    Image.fromarray(around).save(file, "PNG")
    assert array(jpeg.crop_and_resize(file.getvalue(), (8, 8, 24, 24), side=4)).max() < 24


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
def test_nothing_to_do_keeps_the_bytes(mode: str) -> None:
    data = photo(16, 16, mode, "JPEG")
    assert jpeg.crop_and_resize(data, (0, 0, 16, 16), side=16) is data
    assert jpeg.crop_and_resize(data) is data
    assert jpeg.to_rgb_jpeg(jpeg.crop_and_resize(data, side=8))[1] == (8, 8)


@pytest.mark.parametrize("box", [(4, 4, 4, 9), (9, 4, 4, 9), (16, 0, 20, 5), (-9, -9, 0, 0)])
def test_a_box_without_pixels_is_corrupt(box: jpeg.Box) -> None:
    with pytest.raises(jpeg.CorruptImage, match=r"its box \(.*\) holds no pixel of 16 x 12"):
        jpeg.crop_and_resize(photo(16, 12), box)


def test_corrupt_files_stay_corrupt() -> None:
    for data in (b"", b"x", photo(64, 64, format="JPEG")[:-300]):
        with pytest.raises(jpeg.CorruptImage):
            jpeg.to_rgb_jpeg(jpeg.crop_and_resize(data, side=8))
