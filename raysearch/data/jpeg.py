"""The one image format that shards keep: an RGB JPEG that training can decode.

A file that is one already is kept byte for byte (its EXIF orientation is not applied, as in the public data sets' own
loaders). Anything else that Pillow can read is encoded again: PNG, grayscale, CMYK, palette, transparency on white, and
the JPEGs that torchvision's stricter decoder refuses.
"""

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


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
            if image.format in ("JPEG", "MPO") and image.mode == "RGB" and _trains(data):
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


def decode(data: bytes) -> "Tensor":
    """A JPEG as training sees it: (3, height, width) uint8. Raises RuntimeError where it is broken."""
    import torch  # slow to import, and most of what knows shards never decodes
    from torchvision.io import ImageReadMode, decode_image

    return decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=ImageReadMode.RGB)


def _trains(data: bytes) -> bool:
    try:
        decode(data)
    except RuntimeError:
        return False
    return True


def _rgb(image: "Image") -> "Image":
    from PIL import Image

    if image.mode.startswith("I"):  # 16 bits a pixel; Pillow's own conversion would clip all but the darkest
        image = image.point(lambda value: value / 257.0).convert("L")
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")
