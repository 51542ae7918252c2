"""The one image format in shards: an RGB JPEG that training can decode.

A file that is such a JPEG, and upright, is kept byte for byte. Anything else that Pillow can read is encoded again, as
`image_opening` reads it: other formats, grayscale, CMYK, palettes, transparency, and photographs that an orientation
turns. So whoever decodes a row sees it upright. Pillow is the only decoder, here and in training, so training can read
every kept file.

A data set whose manifest does not have "images": "2" among its versions was written before photographs were turned. Its
rows are decoded as they were then.
"""

import io
import math
from typing import TYPE_CHECKING

from raysearch.data.shards.image_opening import CorruptImage, find_turn, open_image, to_rgb, upright_rgb

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image


Box = tuple[float, float, float, float]  # left, top, right, bottom: edges in pixels from the image's top left corner


def to_rgb_jpeg(data: bytes, name: str | None = None) -> tuple[bytes, tuple[int, int]]:
    """Return an upright RGB JPEG of an image file's bytes, and its (width, height) in pixels.

    Args:
        data: the data of a file in any format that Pillow reads.
        name: see `image_opening.open_image`.

    Raises:
        CorruptImage: the file is empty, not an image, truncated, damaged or too large, or its range is not known.
    """
    with open_image(data, name) as image:  # reads only the header
        if _is_kept(image):
            size = image.size
            # At an eighth of the side every bit of the file is still decoded, and only fewer pixels are made of it. So
            # this fails wherever full size fails, with the same message, in two thirds of the time.
            image.draft("RGB", (1, 1))
            image.load()
            return data, size
        rgb = upright_rgb(image)
        return encode_jpeg(rgb), rgb.size


def decode_any(data: bytes, side: int, zoom: float = 1.0, name: str | None = None) -> "np.ndarray":
    """Decode an image file as training sees it after an ingest: `decode_jpeg` of `to_rgb_jpeg`.

    Args:
        data: the data of a file in any format that Pillow reads.
        side: the side of the result, in pixels.
        zoom: see `decode_jpeg`.
        name: see `image_opening.open_image`.

    Returns:
        (side, side, 3) uint8.

    Raises:
        CorruptImage: as `to_rgb_jpeg`.
    """
    with open_image(data, name) as image:
        return image_pixels(image, side, zoom)


def image_pixels(image: "Image", side: int, zoom: float = 1.0) -> "np.ndarray":
    """Return the pixels of a Pillow image as `decode_any` would of its file.

    An image that shards would not keep is encoded as JPEG in between, as in an ingest, and so loses a little.

    Args:
        image: the image of any mode.
        side: the side of the result, in pixels.
        zoom: see `decode_jpeg`.

    Returns:
        (side, side, 3) uint8.

    Raises:
        CorruptImage: the range of its samples is not known.
    """
    if _is_kept(image):
        return _resize_center(image, side, zoom)
    return decode_jpeg(encode_jpeg(upright_rgb(image)), side, zoom)


def crop_and_resize(data: bytes, box: Box | None = None, side: int | None = None, name: str | None = None) -> bytes:
    """Crop an image file to a box, turn it upright and resize it, with a single encoding.

    Resizing is antialiased as in `decode_jpeg`. The box is extended to whole pixels, without padding, and clipped to
    the image. If nothing changes, the file's bytes are returned.

    Args:
        data: the data of an image file.
        box: to crop to, in the pixels as the file stores them, which is how the tools saw them that the boxes of
            public data sets were drawn with; None for the whole image.
        side: the side of the square to resize to, in pixels; None for the box's own size.
        name: see `image_opening.open_image`.

    Raises:
        CorruptImage: as `to_rgb_jpeg`, and for a box that contains no pixel of the image.
    """
    from PIL import Image

    with open_image(data, name) as image:
        turn = find_turn(image)
        whole = (0, 0, *image.size)
        area = whole if box is None else _whole_pixels(box, image.size)
        if area == whole and (side is None or image.size == (side, side)):
            return data
        rgb = to_rgb(image).crop(area)  # before resizing, whose filter would mix in pixels around the box
        upright = rgb if turn is None else rgb.transpose(turn)
        return encode_jpeg(upright if side is None else upright.resize((side, side), Image.Resampling.BILINEAR))


def encode_jpeg(image: "Image") -> bytes:
    """Encode a Pillow image as an RGB JPEG, as it is: quality 95, color at full resolution."""
    file = io.BytesIO()
    to_rgb(image).save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


def decode_jpeg(data: bytes, side: int | None = None, zoom: float = 1.0) -> "np.ndarray":
    """Decode an RGB JPEG as it is stored.

    Args:
        data: the data of the file.
        side: the side of the square to resize to, antialiased, in pixels; None for the image's own size.
        zoom: the image is resized to side x zoom, and its center is cut out.

    Returns:
        (height, width, 3) uint8, or (side, side, 3) with `side`.

    Raises:
        CorruptImage: as `to_rgb_jpeg`.
    """
    with open_image(data) as image:
        return _resize_center(image, side, zoom)


def is_turned(data: bytes) -> bool:
    """Return whether an orientation in a JPEG's metadata turns it.

    Raises:
        CorruptImage: as `to_rgb_jpeg`.
    """
    with open_image(data) as image:
        return find_turn(image) is not None


def _is_kept(image: "Image") -> bool:
    """Return whether shards hold this image's file as it is."""
    return image.format in ("JPEG", "MPO") and image.mode == "RGB" and find_turn(image) is None


def _whole_pixels(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the box in whole pixels, clipped to the image."""
    left, top = (max(math.floor(edge), 0) for edge in box[:2])
    right, bottom = (min(math.ceil(edge), limit) for edge, limit in zip(box[2:], size, strict=True))
    if left >= right or top >= bottom:
        edges = " ".join(f"{edge:g}" for edge in box)
        raise CorruptImage(f"its box ({edges}) holds no pixel of {size[0]} x {size[1]}")
    return left, top, right, bottom


def _resize_center(image: "Image", side: int | None, zoom: float) -> "np.ndarray":
    import numpy as np
    from PIL import Image

    rgb = image.convert("RGB")
    if side is not None:
        margin = round((1 - 1 / zoom) / 2 * rgb.width), round((1 - 1 / zoom) / 2 * rgb.height)
        center = (*margin, rgb.width - margin[0], rgb.height - margin[1])
        if zoom > 1 or rgb.size != (side, side):
            rgb = rgb.resize((side, side), Image.Resampling.BILINEAR, box=center)
    return np.asarray(rgb)
