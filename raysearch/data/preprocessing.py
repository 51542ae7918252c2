"""Pictures of a user's own, brought to what a network sees in the way that training brought its images there."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from raysearch.core.errors import UserError
from raysearch.data import shards
from raysearch.data.feed import MEAN, STD, normalize
from raysearch.data.image_sources import SourceImage
from raysearch.data.shards import Corrupt

ImageLike = Image.Image | str | os.PathLike[str]
ImagesLike = np.ndarray | Tensor | Sequence[ImageLike]  # an array is (n, side, side, 3) uint8


@dataclass(frozen=True)
class Preprocessing:
    """How pictures become pixels, and pixels what a network takes.

    Args:
        side: of the images, in pixels.
        zoom: see `raysearch.data.shards.jpeg.decode`.
        mean: of each channel, between 0 and 1.
        std: likewise.
    """

    side: int
    zoom: float
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Preprocessing":
        return cls(plain["side"], plain["zoom"], tuple(plain["mean"]), tuple(plain["std"]))

    def plain(self) -> dict[str, Any]:
        """As it goes into a file.

        >>> Preprocessing.from_plain(Preprocessing(64, 1.0).plain()) == Preprocessing(64, 1.0)
        True
        """
        return {"side": self.side, "zoom": self.zoom, "mean": list(self.mean), "std": list(self.std)}

    def pixels(self, picture: ImageLike) -> np.ndarray:
        """A Pillow image, or the image at a path: (side, side, 3) uint8.

        Raises:
            UserError: a path where there is no image, or one that does not decode.
        """
        try:
            if isinstance(picture, Image.Image):
                return shards.image_pixels(picture, self.side, self.zoom)
            return shards.decode_any(Path(picture).read_bytes(), self.side, self.zoom)
        except FileNotFoundError:
            raise UserError(f"no image {picture}") from None
        except (OSError, shards.CorruptImage) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"{picture} is no image that can be read: {reason}") from None

    def read(self, photo: SourceImage) -> np.ndarray | Corrupt:
        """The pixels (side, side, 3) uint8 of a photo, or why there are none."""
        try:
            photo.path.encode()
        except UnicodeEncodeError:
            return Corrupt(source=ascii(photo.path)[1:-1], reason="the file name is not UTF-8")
        try:
            return shards.decode_any(photo.load(), self.side, self.zoom)
        except (shards.CorruptImage, OSError) as error:
            return Corrupt(source=photo.path, reason=" ".join(str(getattr(error, "strerror", None) or error).split()))

    def check(self, images: ImagesLike) -> None:
        """Raise a ValueError for an array of another shape or type than this takes."""
        if not isinstance(images, np.ndarray | Tensor):
            return
        wanted = (self.side, self.side, 3)
        if images.ndim != 4 or tuple(images.shape[1:]) != wanted or not str(images.dtype).endswith("uint8"):
            raise ValueError(
                f"images are (n, {self.side}, {self.side}, 3) uint8, not {tuple(images.shape)} {images.dtype}; "
                "of other sizes give a list of Pillow images or paths"
            )

    def batch(self, images: ImagesLike, device: torch.device) -> Tensor:
        """Checked pictures (n) as normalised floats (n, 3, side, side) on the device."""
        if not isinstance(images, np.ndarray | Tensor):
            images = np.stack([self.pixels(picture) for picture in images])
        # a copy, since torch warns of arrays that cannot be written
        taken = torch.from_numpy(np.array(images)) if isinstance(images, np.ndarray) else images
        return normalize(taken.to(device), self.mean, self.std)
