"""Pictures that a user's class returns from `inspect`, written as PNG files of its cell."""

import io
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from raysearch.core import UserError, type_of

_NAME = re.compile(r"[\w][\w .=+-]{0,79}")  # it becomes the name of a file, on any machine
_ADVICE = "give an array (H, W), (H, W, 3) or (3, H, W), an image of Pillow, or a figure of matplotlib"


def encode_pictures(pictures: Any, where: str) -> dict[str, bytes]:
    """Return pictures as PNG files: name of the file -> its bytes.

    Args:
        pictures: name -> bytes or numbers from 0 to 1 of shape (H, W), (H, W, 3) or (3, H, W), an image of Pillow, or a
            figure with matplotlib's `savefig`.
        where: the call that gave the pictures, for messages.

    Raises:
        UserError: something else, or a name that cannot be a file's.
    """
    if not isinstance(pictures, Mapping):
        raise UserError(f"{where}: expected {{'name': picture}}, not {type_of(pictures)}")
    encoded = {}
    for name, picture in pictures.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise UserError(f"{where}: {name!r} cannot name a picture; use letters, digits, spaces and . _ - = +")
        encoded[f"{name}.png"] = _encode(picture, f"{where}: '{name}'")
    return encoded


def _encode(picture: Any, where: str) -> bytes:
    """Return a picture as PNG.

    Raises:
        UserError: it is none.
    """
    buffer = io.BytesIO()
    if hasattr(picture, "savefig"):
        picture.savefig(buffer, format="png")
        return buffer.getvalue()
    if isinstance(picture, Image.Image):
        picture = picture.convert("RGB")
    elif isinstance(picture, torch.Tensor):
        picture = picture.detach().cpu().numpy()
    Image.fromarray(_to_bytes(np.asarray(picture), where)).save(buffer, "png")
    return buffer.getvalue()


def _to_bytes(pixels: NDArray[Any], where: str) -> NDArray[np.uint8]:
    """Return pixels as bytes (H, W) or (H, W, 3).

    Raises:
        UserError: another shape, or other numbers.
    """
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3) and pixels.shape[2] not in (1, 3):
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.size == 0 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)):
        raise UserError(f"{where} is an array of shape {pixels.shape}; {_ADVICE}")
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    if pixels.dtype.kind not in "bf":
        raise UserError(f"{where} is an array of {pixels.dtype}; use uint8, or floats from 0 to 1")
    lowest = float(pixels.min())
    highest = float(pixels.max())
    if not (lowest >= 0 and highest <= 1):  # also where one is not a number
        raise UserError(f"{where} has values from {lowest:g} to {highest:g}; scale floats to 0 to 1, or use uint8")
    return np.round(255 * pixels.astype(np.float64)).astype(np.uint8)
