"""Prepare a user's images for a trained network in the way that training prepared its images."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from raysearch.core import UserError
from raysearch.data import feed, image_sources, shards

ImageLike = Image.Image | str | os.PathLike[str]
ImagesLike = np.ndarray | torch.Tensor | Sequence[ImageLike]  # an array is (n, side, side, 3) uint8


@dataclass(frozen=True)
class Preprocessing:
    """How images become pixels, and pixels become a network's input.

    Args:
        side: the side of the images, in pixels.
        zoom: see `raysearch.data.shards.decode_jpeg`.
        mean: the mean of each channel, between 0 and 1.
        std: the standard deviation of each channel, between 0 and 1.
    """

    side: int
    zoom: float
    mean: tuple[float, ...] = feed.MEAN
    std: tuple[float, ...] = feed.STD

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Preprocessing":
        """Return the preprocessing that `plain` describes."""
        return cls(plain["side"], plain["zoom"], tuple(plain["mean"]), tuple(plain["std"]))

    def plain(self) -> dict[str, Any]:
        """Return the fields as plain values, for a model file.

        >>> Preprocessing.from_plain(Preprocessing(64, 1.0).plain()) == Preprocessing(64, 1.0)
        True
        """
        return {"side": self.side, "zoom": self.zoom, "mean": list(self.mean), "std": list(self.std)}

    def pixels(self, image: ImageLike) -> np.ndarray:
        """Return the pixels (side, side, 3) uint8 of a Pillow image, or of the image at a path.

        Raises:
            UserError: no image at the path, or one that does not decode.
        """
        try:
            if isinstance(image, Image.Image):
                return shards.image_pixels(image, self.side, self.zoom)
            return shards.decode_any(Path(image).read_bytes(), self.side, self.zoom, str(image))
        except FileNotFoundError:
            raise UserError(f"no image {image}") from None
        except (OSError, shards.CorruptImage) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"{image} cannot be read as an image: {reason}") from None

    def read(self, image: image_sources.SourceImage) -> np.ndarray | shards.Corrupt:
        """Return the pixels (side, side, 3) uint8 of an image, or why there are none."""
        try:
            image.path.encode()
        except UnicodeEncodeError:
            return shards.Corrupt(source=ascii(image.path)[1:-1], reason="the file name is not UTF-8")
        try:
            return shards.decode_any(image.load(), self.side, self.zoom, image.path)
        except (shards.CorruptImage, OSError) as error:
            reason = str(getattr(error, "strerror", None) or error)
            return shards.Corrupt(source=image.path, reason=" ".join(reason.split()))
        except MemoryError:
            return shards.Corrupt(source=image.path, reason="it needs more memory than is free")

    def check(self, images: ImagesLike) -> None:
        """Check the shape and type of an array of images; other inputs pass.

        Raises:
            ValueError: the array is not (n, side, side, 3) uint8.
        """
        if not isinstance(images, np.ndarray | torch.Tensor):
            return
        expected = (self.side, self.side, 3)
        if images.ndim != 4 or tuple(images.shape[1:]) != expected or not str(images.dtype).endswith("uint8"):
            raise ValueError(
                f"images are (n, {self.side}, {self.side}, 3) uint8, not {tuple(images.shape)} {images.dtype}; "
                "of other sizes give a list of Pillow images or paths"
            )

    def batch(self, images: ImagesLike, device: torch.device) -> torch.Tensor:
        """Return n checked images as normalized floats (n, 3, side, side) on the device.

        Raises:
            UserError: as `pixels`.
        """
        if not isinstance(images, np.ndarray | torch.Tensor):
            images = np.stack([self.pixels(image) for image in images])
        # A copy, since torch warns about read-only arrays.
        pixels = torch.from_numpy(np.array(images)) if isinstance(images, np.ndarray) else images
        return feed.normalize(pixels.to(device), self.mean, self.std)
