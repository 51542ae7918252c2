"""Open an image file, in any format that Pillow reads, as upright RGB pixels.

Ingest, retrieve and classify all open images here, so a photograph has the same pixels everywhere and in every format.

*Orientation.* Pixels are turned as viewers and `PIL.ImageOps.exif_transpose` turn them: by the orientation in EXIF, in
a TIFF tag or in XMP. Metadata that cannot be read turns nothing, as in viewers.

*Range.* Black is 0 and white is 255 in the result. A sample of 16 bits is divided by 257, and a sample of 12 bits by
4095 / 255. A TIFF file can state its range (SMinSampleValue, SMaxSampleValue), and then its range is used. Samples of
32 bits and signed samples have no usual range. They are read if they are floating-point numbers from 0 to 1, or
numbers from 0 to 255 with a mean of 4 or more. Everything else is an error, because a guess would give a black image.

*Transparency* is put on white.

*Size.* An image of more than `max_pixels()` pixels is refused, since a small file can decode to gigabytes.
"""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

from raysearch.core import UserError
from raysearch.data.source_tree import register_plugins

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image, Transpose

MAX_SIDE = 4096  # of images that are resized, in pixels; such an image takes 50 MB, and a batch many times that
MAX_PIXELS = 178_956_970  # Pillow's own limit, twice 2^28 / 3
LARGE_PIXELS = MAX_PIXELS // 2  # reading more is worth a warning; Pillow's own warning does not name the file
MAX_PIXELS_VARIABLE = "RAYSEARCH_MAX_PIXELS"

_METADATA = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")  # in `image.info`; may have an orientation
_ORIENTATION = 0x0112  # tags of EXIF and TIFF
_BITS_PER_SAMPLE = 258
_PHOTOMETRIC = 262
_SAMPLE_FORMAT = 339
_LOWEST_VALUE = 340
_HIGHEST_VALUE = 341
_SIGNED = 2  # a value of _SAMPLE_FORMAT
_WHITE_IS_ZERO = 0  # a value of _PHOTOMETRIC
_SCALED_BY_PILLOW = ("PNG", "PPM", "JPEG2000")  # Pillow spreads their samples over all 16 bits
_DEEP_MODES = ("I", "F")  # and all modes that begin so
_DARKEST_MEAN = 4  # of samples from 0 to 255 whose range the file does not state
_log = logging.getLogger(__name__)


class CorruptImage(ValueError):
    """Bytes that do not decode to an image; the message is the reason, in one line."""


def max_pixels() -> int:
    """Return how many pixels an image may have: RAYSEARCH_MAX_PIXELS, else 178,956,970.

    Raises:
        UserError: RAYSEARCH_MAX_PIXELS is not a number of pixels.
    """
    text = os.environ.get(MAX_PIXELS_VARIABLE)
    if text is None:
        return MAX_PIXELS
    with contextlib.suppress(ValueError):
        if (pixels := int(text)) > 0:
            return pixels
    raise UserError(f"{MAX_PIXELS_VARIABLE} is a number of pixels, such as 400000000, not {text!r}")


def check_side(side: int, setting: str) -> None:
    """Check the side that images are to be resized to, before any image is read.

    Args:
        side: in pixels.
        setting: the name of the setting, for the error.

    Raises:
        UserError: the side is not from 1 to MAX_SIDE.
    """
    if side < 1:
        raise UserError(f"{setting} must be 1 pixel or more, not {side}")
    if side > MAX_SIDE:
        raise UserError(f"{setting} must be {MAX_SIDE:,} pixels or less, not {side:,}")


@contextlib.contextmanager
def open_image(data: bytes, name: str | None = None) -> "Iterator[Image]":
    """Open a file's bytes as a Pillow image; any error in the block becomes a CorruptImage.

    Args:
        data: the data of the file.
        name: the name of the file, for a warning about a large image; None for no warning.

    Raises:
        CorruptImage: the file is empty, not an image, damaged or too large.
        UserError: RAYSEARCH_MAX_PIXELS is not a number.
    """
    from PIL import Image, UnidentifiedImageError

    register_plugins()
    limit = max_pixels()
    _configure_pillow(limit)
    if not data:
        raise CorruptImage("the file is empty")
    try:
        with Image.open(io.BytesIO(data)) as image:
            pixels = image.width * image.height
            if pixels > limit:
                raise CorruptImage(f"{image.width:,} x {image.height:,} are {_too_large(limit)}")
            if pixels > LARGE_PIXELS and name is not None:
                _log.warning("%s: a large image, %s x %s pixels", name, f"{image.width:,}", f"{image.height:,}")
            yield image
    except (MemoryError, CorruptImage, UserError):
        raise
    except UnidentifiedImageError:
        raise CorruptImage("not an image") from None
    except Image.DecompressionBombError:
        raise CorruptImage(f"it has {_too_large(limit)}") from None
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error and more
        raise CorruptImage(" ".join((str(error) or repr(error)).split())) from error


def _too_large(limit: int) -> str:
    return f"more than {limit:,} pixels, the limit; allow more by {MAX_PIXELS_VARIABLE}, such as 400000000"


def find_turn(image: "Image") -> "Transpose | None":
    """Return how the pixels of an image must be turned to be upright, or None.

    Afterwards `image.size` is that of the pixels that Pillow gives. Pillow turns a TIFF file itself, when it loads it.
    """
    from PIL.Image import Transpose

    if image.format not in ("JPEG", "MPO"):
        image.load()  # a PNG file may have its EXIF behind the pixels
    elif image.info.keys().isdisjoint(_METADATA):
        return None
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # damaged metadata raises struct.error, SyntaxError, ValueError and more
        return None
    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return turns.get(orientation) if isinstance(orientation, int) else None


def upright_rgb(image: "Image") -> "Image":
    """Return an image of any mode as upright RGB.

    Raises:
        CorruptImage: the range of its samples is not known.
    """
    turn = find_turn(image)
    rgb = to_rgb(image)
    return rgb if turn is None else rgb.transpose(turn)


def to_rgb(image: "Image") -> "Image":
    """Return an image of any mode as RGB, not turned.

    Raises:
        CorruptImage: the range of its samples is not known.
    """
    from PIL import Image

    if image.mode.startswith(_DEEP_MODES) or _has_own_range(image):
        return _deep_to_rgb(image)
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "La":  # premultiplied; Pillow converts it to LA only
        image = image.convert("LA")
    if "A" in image.getbands() or image.mode == "RGBa" or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _has_own_range(image: "Image") -> bool:
    """Return whether 8-bit samples of a TIFF file are signed, or have a stated range."""
    tags = getattr(image, "tag_v2", {})
    return image.mode == "L" and (_tag(tags, _SAMPLE_FORMAT) == _SIGNED or _tag(tags, _HIGHEST_VALUE) is not None)


def _deep_to_rgb(image: "Image") -> "Image":
    """Return a gray image whose samples are not bytes from 0 to 255 as RGB."""
    import numpy as np
    from PIL import Image

    tags = getattr(image, "tag_v2", {})
    samples = np.asarray(image)
    if image.mode == "L" and _tag(tags, _SAMPLE_FORMAT) == _SIGNED:
        samples = samples.view(np.int8)
    low, high = _sample_range(image, samples)
    if (low, high) == (0, 65535):
        gray = samples // 257  # rounded down, as it was before the other ranges were known
    else:
        # In single precision an image of 100 million pixels takes 400 MB. It is exact up to 24 bits.
        gray = np.clip((samples.astype(np.float32) - low) * (255 / (high - low)) + 0.5, 0, 255)
    if image.format == "TIFF" and image.mode.startswith("I;16") and _tag(tags, _PHOTOMETRIC) == _WHITE_IS_ZERO:
        gray = 255 - gray  # Pillow inverts samples of up to 8 bits only
    key = image.info.get("transparency")
    if isinstance(key, int):
        gray = np.where(samples == key, 255, gray)
    return Image.fromarray(np.nan_to_num(gray).astype(np.uint8)).convert("RGB")


def _sample_range(image: "Image", samples: "np.ndarray") -> tuple[float, float]:
    """Return the samples of black and of white.

    Raises:
        CorruptImage: they are not known.
    """
    import numpy as np

    tags = getattr(image, "tag_v2", {})
    low = _tag(tags, _LOWEST_VALUE)
    high = _tag(tags, _HIGHEST_VALUE)
    if high is not None and high > (low or 0):
        return low or 0, high
    if image.mode.startswith("I;16") and image.format != "FITS":  # FITS has a scale and signs that Pillow leaves out
        return 0, 2 ** int(_tag(tags, _BITS_PER_SAMPLE) or 16) - 1
    if image.mode == "I" and image.format in _SCALED_BY_PILLOW:
        return 0, 65535
    lowest = float(samples.min())
    highest = float(samples.max())
    if lowest >= 0 and highest <= 1 and (image.mode == "F" or highest == 0):
        return 0, 1
    if lowest >= 0 and highest <= 255 and image.mode != "L" and samples.mean(dtype=np.float64) >= _DARKEST_MEAN:
        return 0, 255
    kind = "floating-point" if image.mode == "F" else "integer"
    raise CorruptImage(
        f"the range of its {kind} samples, here {lowest:g} to {highest:g}, is not known; save it with 8 or 16 bits"
    )


def _tag(tags: object, number: int) -> float | None:
    """Return the first number in a TIFF tag, or None without one."""
    value = tags.get(number) if hasattr(tags, "get") else None
    first = value[0] if isinstance(value, tuple) and value else value
    return first if isinstance(first, int | float) else None


@cache
def _configure_pillow(limit: int) -> None:
    """Let Pillow read images of up to `limit` pixels, without warnings that do not name the file."""
    from PIL import Image

    warnings.filterwarnings("ignore", module=r"PIL\.")
    if limit > MAX_PIXELS:
        Image.MAX_IMAGE_PIXELS = None  # `open_image` checks the size instead
