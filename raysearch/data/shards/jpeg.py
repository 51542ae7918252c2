"""The one image format in shards: an RGB JPEG that training can decode.

A file that is such a JPEG is kept byte for byte. Its EXIF orientation is not applied, as in the public data sets' own
loaders. Anything else that Pillow can read is encoded again: PNG, grayscale, CMYK, palette, transparency on white.
Pillow is the only decoder, here and in training, so training can read every kept file.
"""

import contextlib
import io
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image


Box = tuple[float, float, float, float]  # left, top, right, bottom: edges in pixels from the image's top left corner


class CorruptImage(ValueError):
    """Bytes that do not decode to an image; the message is the reason, in one line."""


def to_rgb_jpeg(data: bytes) -> tuple[bytes, tuple[int, int]]:
    """Return an RGB JPEG of an image file's bytes, and its (width, height) in pixels.

    Raises:
        CorruptImage: the file is empty, not an image, truncated or damaged.
    """
    with _open_image(data) as image:  # reads only the header
        if _is_kept(image):
            size = image.size
            # At an eighth of the side every bit of the file is still decoded, and only fewer pixels are made of it. So
            # this fails wherever full size fails, with the same message, in two thirds of the time.
            image.draft("RGB", (1, 1))
            image.load()
            return data, size
        return encode_jpeg(image), image.size


def decode_any(data: bytes, side: int, zoom: float = 1.0) -> "np.ndarray":
    """Decode an image file as training sees it after an ingest: `decode_jpeg` of `to_rgb_jpeg`.

    Args:
        data: the data of a file in any format that Pillow reads.
        side: the side of the result, in pixels.
        zoom: see `decode_jpeg`.

    Returns:
        (side, side, 3) uint8.

    Raises:
        CorruptImage: as `to_rgb_jpeg`.
    """
    with _open_image(data) as image:
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
    """
    return _resize_center(image, side, zoom) if _is_kept(image) else decode_jpeg(encode_jpeg(image), side, zoom)


def crop_and_resize(data: bytes, box: Box | None = None, side: int | None = None) -> bytes:
    """Crop an image file to a box and resize it, antialiased as in `decode_jpeg`, with a single encoding.

    The box is extended to whole pixels, without padding, and clipped to the image. If nothing changes, the file's
    bytes are returned.

    Args:
        data: the data of an image file.
        box: to crop to; None for the whole image.
        side: the side of the square to resize to, in pixels; None for the box's own size.

    Raises:
        CorruptImage: as `to_rgb_jpeg`, and for a box that contains no pixel of the image.
    """
    from PIL import Image

    with _open_image(data) as image:
        whole = (0, 0, *image.size)
        area = whole if box is None else _whole_pixels(box, image.size)
        if area == whole and (side is None or image.size == (side, side)):
            return data
        rgb = _to_rgb(image).crop(area)  # before resizing, whose filter would mix in pixels around the box
        return encode_jpeg(rgb if side is None else rgb.resize((side, side), Image.Resampling.BILINEAR))


def encode_jpeg(image: "Image") -> bytes:
    """Encode a Pillow image as an RGB JPEG: quality 95, color at full resolution."""
    file = io.BytesIO()
    _to_rgb(image).save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


def decode_jpeg(data: bytes, side: int | None = None, zoom: float = 1.0) -> "np.ndarray":
    """Decode an RGB JPEG.

    Args:
        data: the data of the file.
        side: the side of the square to resize to, antialiased, in pixels; None for the image's own size.
        zoom: the image is resized to side x zoom, and its center is cut out.

    Returns:
        (height, width, 3) uint8, or (side, side, 3) with `side`.
    """
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return _resize_center(image, side, zoom)


@contextlib.contextmanager
def _open_image(data: bytes) -> "Iterator[Image]":
    """Open a file's bytes as a Pillow image; any error in the block becomes a CorruptImage."""
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise CorruptImage("the file is empty")
    try:
        with Image.open(io.BytesIO(data)) as image:
            yield image
    except MemoryError:
        raise
    except UnidentifiedImageError:
        raise CorruptImage("not an image") from None
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error and more
        raise CorruptImage(" ".join((str(error) or repr(error)).split())) from error


def _is_kept(image: "Image") -> bool:
    """Return whether shards hold this image's file as it is."""
    return image.format in ("JPEG", "MPO") and image.mode == "RGB"


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


def _to_rgb(image: "Image") -> "Image":
    from PIL import Image

    if image.mode.startswith("I"):  # 16 bits per pixel; Pillow's own conversion would clip all but the darkest
        image = image.point(lambda value: value / 257.0).convert("L")
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")
