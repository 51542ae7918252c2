"""The one image format that shards keep: an RGB JPEG that training can decode.

A file that is one already is kept byte for byte (its EXIF orientation is not applied, as in the public data sets' own
loaders). Anything else that Pillow can read is encoded again: PNG, grayscale, CMYK, palette, transparency on white.
Pillow is the one decoder, here and in training, so what was kept can be read.
"""

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image


class CorruptImage(ValueError):
    """Bytes that no decoder makes an image of; the message is the reason, in one line."""


def normalise(data: bytes) -> tuple[bytes, tuple[int, int]]:
    """The JPEG to keep of an image file's bytes, and its (width, height) in pixels.

    Raises CorruptImage: the file is empty, no image, truncated or broken.
    """
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise CorruptImage("the file is empty")
    try:
        with Image.open(io.BytesIO(data)) as image:  # reads the header alone
            if image.format in ("JPEG", "MPO") and image.mode == "RGB":
                image.load()
                return data, image.size
            return encode(image), image.size
    except MemoryError:
        raise
    except UnidentifiedImageError:
        raise CorruptImage("not an image") from None
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error and more
        raise CorruptImage(" ".join((str(error) or repr(error)).split())) from error


def encode(image: "Image") -> bytes:
    """A Pillow image as an RGB JPEG: quality 95, colour at full resolution."""
    file = io.BytesIO()
    _rgb(image).save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


def decode(data: bytes, side: int | None = None, zoom: float = 1.0) -> "np.ndarray":
    """A kept JPEG as (height, width, 3) uint8, or the middle (side, side, 3) of it at side x zoom, antialiased."""
    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        pixels = image.convert("RGB")
    if side is not None:
        edge = round((1 - 1 / zoom) / 2 * pixels.width), round((1 - 1 / zoom) / 2 * pixels.height)
        middle = (*edge, pixels.width - edge[0], pixels.height - edge[1])
        if zoom > 1 or pixels.size != (side, side):
            pixels = pixels.resize((side, side), Image.Resampling.BILINEAR, box=middle)
    return np.asarray(pixels)


def _rgb(image: "Image") -> "Image":
    from PIL import Image

    if image.mode.startswith("I"):  # 16 bits a pixel; Pillow's own conversion would clip all but the darkest
        image = image.point(lambda value: value / 257.0).convert("L")
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")
