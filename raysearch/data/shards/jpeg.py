"""The one image format that shards keep: an RGB JPEG that training can decode.

A file that is one already is kept byte for byte (its EXIF orientation is not applied, as in the public data sets' own
loaders). Anything else that Pillow can read is encoded again: PNG, grayscale, CMYK, palette, transparency on white.
Pillow is the one decoder, here and in training, so what was kept can be read.
"""

import contextlib
import io
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image


Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels from the image's corner; edges, not pixels


class CorruptImage(ValueError):
    """Bytes that no decoder makes an image of; the message is the reason, in one line."""


def to_rgb_jpeg(data: bytes) -> tuple[bytes, tuple[int, int]]:
    """The JPEG to keep of an image file's bytes, and its (width, height) in pixels.

    Raises CorruptImage: the file is empty, no image, truncated or broken.
    """
    with _opened(data) as image:  # reads the header alone
        if _kept(image):
            size = image.size
            # At an eighth of its side every bit of the file is still decoded, and only then fewer pixels are made of
            # it: what fails at full size fails here, with the same message, in two thirds of the time.
            image.draft("RGB", (1, 1))
            image.load()
            return data, size
        return encode_jpeg(image), image.size


def decode_any(data: bytes, side: int, zoom: float = 1.0) -> "np.ndarray":
    """An image file's bytes as training sees them: `decode` of what `normalise` keeps, (side, side, 3) uint8.

    Raises CorruptImage as `normalise` does.
    """
    with _opened(data) as image:
        return image_pixels(image, side, zoom)


def image_pixels(image: "Image", side: int, zoom: float = 1.0) -> "np.ndarray":
    """A Pillow image as `pixels` of its file; what is no RGB JPEG is made one, as for shards, and so loses a little."""
    return _middle(image, side, zoom) if _kept(image) else decode_jpeg(encode_jpeg(image), side, zoom)


def crop_and_resize(data: bytes, box: Box | None = None, side: int | None = None) -> bytes:
    """An image file's box, resized to side x side (antialiased, as `decode` does), encoded once.

    The box grows to whole pixels and has no padding; what lies outside the image is cut off. A file of which nothing
    changes comes back byte for byte.

    Raises CorruptImage: as `normalise` does, and for a box that holds no pixel of the image.
    """
    from PIL import Image

    with _opened(data) as image:
        whole = (0, 0, *image.size)
        area = whole if box is None else _pixels_of(box, image.size)
        if area == whole and (side is None or image.size == (side, side)):
            return data
        rgb = _rgb(image).crop(area)  # before resizing, whose filter would take in what lies around the box
        return encode_jpeg(rgb if side is None else rgb.resize((side, side), Image.Resampling.BILINEAR))


def encode_jpeg(image: "Image") -> bytes:
    """A Pillow image as an RGB JPEG: quality 95, colour at full resolution."""
    file = io.BytesIO()
    _rgb(image).save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


def decode_jpeg(data: bytes, side: int | None = None, zoom: float = 1.0) -> "np.ndarray":
    """A kept JPEG as (height, width, 3) uint8, or the middle (side, side, 3) of it at side x zoom, antialiased."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return _middle(image, side, zoom)


@contextlib.contextmanager
def _opened(data: bytes) -> "Iterator[Image]":
    """A Pillow image of a file's bytes; whatever goes wrong with it is a CorruptImage."""
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


def _kept(image: "Image") -> bool:
    """Whether shards hold this image's file as it is."""
    return image.format in ("JPEG", "MPO") and image.mode == "RGB"


def _pixels_of(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The box in whole pixels, without what lies outside the image."""
    left, top = (max(math.floor(edge), 0) for edge in box[:2])
    right, bottom = (min(math.ceil(edge), most) for edge, most in zip(box[2:], size, strict=True))
    if left >= right or top >= bottom:
        edges = " ".join(f"{edge:g}" for edge in box)
        raise CorruptImage(f"its box ({edges}) holds no pixel of {size[0]} x {size[1]}")
    return left, top, right, bottom


def _middle(image: "Image", side: int | None, zoom: float) -> "np.ndarray":
    import numpy as np
    from PIL import Image

    rgb = image.convert("RGB")
    if side is not None:
        edge = round((1 - 1 / zoom) / 2 * rgb.width), round((1 - 1 / zoom) / 2 * rgb.height)
        middle = (*edge, rgb.width - edge[0], rgb.height - edge[1])
        if zoom > 1 or rgb.size != (side, side):
            rgb = rgb.resize((side, side), Image.Resampling.BILINEAR, box=middle)
    return np.asarray(rgb)


def _rgb(image: "Image") -> "Image":
    from PIL import Image

    if image.mode.startswith("I"):  # 16 bits a pixel; Pillow's own conversion would clip all but the darkest
        image = image.point(lambda value: value / 257.0).convert("L")
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")
