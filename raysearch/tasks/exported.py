"""A trained model in one file, and what it is for: images in, codes out.

    python -m raysearch.train retrieval --export model.pt

    hasher = Hasher.load("model.pt")
    codes = hasher.encode(["one.jpg", "two.png"])        # (2, c) in {-1, +1}

The file holds all that codes depend on: the config, the weights of the network (with train.select=validation those of
the best iteration), a fitted method's encoder, and how images become pixels. It names the data set it was trained on.
`torch.load(weights_only=True)` reads it; nothing is downloaded. The same run gives the same file, byte for byte.
"""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pydantic import ValidationError
from torch import Tensor

from raysearch.data import jpeg
from raysearch.data.images import MEAN, STD, normalise
from raysearch.data.manifest import Manifest
from raysearch.data.rows import file_sha256
from raysearch.errors import UserError
from raysearch.models import hashing
from raysearch.models.fcaenet import pool
from raysearch.studies import atomic
from raysearch.studies.config import RetrievalConfig
from raysearch.tasks import networks
from raysearch.tasks.evaluation import signs
from raysearch.tasks.fitted import BATCH, FittedTask
from raysearch.tasks.retrieval import EVALUATION_BATCH, RetrievalTask

FORMAT = 1  # raised when an older raysearch could not read the file, or this one no longer reads older files
MAKE_ONE = "make one with: python -m raysearch.train retrieval --export model.pt"
Picture = Image.Image | str | os.PathLike[str]


def save(path: str | Path, task: RetrievalTask | FittedTask, data: Manifest, metrics: Mapping[str, Any]) -> None:
    """Write the model of a task that has ended.

    Args:
        path: of the file, which is replaced whole or left as it is.
        task: trained, or fitted, to its end.
        data: what it was trained on.
        metrics: of its evaluation.

    Raises:
        UserError: the file cannot be written.
    """
    state = task.state_dict()
    if isinstance(task, FittedTask):
        kept = {name: tensor.to("cpu", copy=True) for name, tensor in task.network.state_dict().items()}
    else:
        kept = (state["best"] or state)["network"]
    content = {
        "format": FORMAT,
        "config": task.config.model_dump(mode="json"),
        "seed": task.seed,
        "network": kept,
        "encoder": state.get("encoder", {}),
        "preprocessing": {
            "side": task.config.data.side,
            "zoom": task.config.data.zoom,
            "mean": list(MEAN),
            "std": list(STD),
        },
        "data": {"name": data.name, "content_hash": data.content_hash, "classes": list(data.classes)},
        "metrics": {name: value for name, value in metrics.items() if isinstance(value, float)},
    }
    written = io.BytesIO()  # of a file torch.save writes the name into the content, and two runs would differ
    torch.save(content, written)
    try:
        atomic.replace(Path(path), lambda temporary: temporary.write_bytes(written.getbuffer()))
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


class Hasher:
    """An exported model; made by `load`.

    On a CPU it gives the task's own codes bit for bit for the same images in the same order. In other company, on
    another device or with another number of threads, sums have other last digits, and a bit whose output is next to
    zero may turn.

    Attributes:
        config: of the run that trained it.
        seed: of that run.
        bits: c.
        side: of its images, in pixels.
        zoom: see `raysearch.data.jpeg.decode`.
        batch: images that go through the network at once.
        device: where it computes.
        data: "name", "content_hash" and "classes" of the data set it was trained on.
        metrics: of that run's evaluation.
        sha256: of the file, the model's identity.
    """

    def __init__(self, content: Mapping[str, Any], sha256: str, device: torch.device) -> None:
        self.config = RetrievalConfig.model_validate(content["config"])
        self.seed: int = content["seed"]
        self.data: dict[str, Any] = content["data"]
        self.metrics: dict[str, float] = content["metrics"]
        self.sha256, self.device, self.bits = sha256, device, self.config.hash.bits
        self._preprocessing = content["preprocessing"]
        self.side: int = self._preprocessing["side"]
        self.zoom: float = self._preprocessing["zoom"]
        state = content["network"]
        classes = len(state["anchors"]) if "anchors" in state else 0  # ExchNet's
        model = self.config.model.model_copy(update={"weights": None})  # they are in the state
        network = networks.build(self.config.model_copy(update={"model": model}), self.seed, classes)
        network.load_state_dict(state)
        self._network = network.to(device).to(memory_format=torch.channels_last).eval()
        self._encoder: hashing.Encoder | None = None
        if content["encoder"]:
            self._encoder = hashing.restore(self.config.hash.method, content["encoder"]).to(device)
        self.batch = EVALUATION_BATCH if self._encoder is None else BATCH

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: torch.device | str | None = None) -> "Hasher":
        """Read a model file.

        Args:
            path: of the file.
            device: where to compute; a GPU where there is one, when left out.

        Raises:
            UserError: no such file, no model in it, or one of another format.
        """
        file = Path(path)
        if not file.is_file():
            raise UserError(f"{path} is no file; {MAKE_ONE}" if file.exists() else f"no model {path}; {MAKE_ONE}")
        try:
            content = torch.load(file, weights_only=True, map_location="cpu")
        except Exception as error:  # torch raises several kinds for a file that it did not write, or not whole
            raise UserError(f"{path} is no model file, or a damaged one ({type(error).__name__}); {MAKE_ONE}") from None
        if not isinstance(content, dict) or not isinstance(content.get("format"), int):
            raise UserError(f"{path} is no exported model (--out writes a trained state); {MAKE_ONE}")
        if content["format"] != FORMAT:
            raise UserError(
                f"{path} is a model of format {content['format']} and this raysearch reads format {FORMAT}; "
                + ("upgrade raysearch" if content["format"] > FORMAT else "export it again")
            )
        place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        try:
            return cls(content, file_sha256(file), place)
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise UserError(
                f"{path} was trained with another config than this raysearch knows, first at {where}"
            ) from None
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{path} does not fit this version of raysearch ({reason}); export it again") from None

    @torch.no_grad()
    def encode(self, images: np.ndarray | Tensor | Sequence[Picture]) -> Tensor:
        """Codes of images.

        Args:
            images: (n, side, side, 3) uint8 as they are; or a list of Pillow images and paths, brought to that size as
                training did it.

        Returns:
            (n, c) of -1 and +1, float32 on the device.

        Raises:
            UserError: a path where there is no image, or one that does not decode.
            ValueError: an array of another shape or type.
        """
        if isinstance(images, np.ndarray | Tensor):
            self._check(images)
        outputs = [self._outputs(images[at : at + self.batch]) for at in range(0, len(images), self.batch)]
        if not outputs:
            return torch.zeros(0, self.bits, device=self.device)
        whole = torch.cat(outputs)
        return signs(whole) if self._encoder is None else self._encoder(whole)

    def pixels(self, picture: Picture) -> np.ndarray:
        """A Pillow image, or the image at a path, as the network sees it: (side, side, 3) uint8."""
        try:
            if isinstance(picture, Image.Image):
                return jpeg.of_image(picture, self.side, self.zoom)
            return jpeg.pixels(Path(picture).read_bytes(), self.side, self.zoom)
        except FileNotFoundError:
            raise UserError(f"no image {picture}") from None
        except (OSError, jpeg.CorruptImage) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"{picture} is no image that can be read: {reason}") from None

    def _outputs(self, images: np.ndarray | Tensor | Sequence[Picture]) -> Tensor:
        """Outputs (B, c) of the network, or features (B, C) where an encoder follows."""
        if not isinstance(images, np.ndarray | Tensor):
            images = np.stack([self.pixels(picture) for picture in images])
        # a copy, since torch warns of arrays that cannot be written
        taken = torch.from_numpy(np.array(images)) if isinstance(images, np.ndarray) else images
        ready = normalise(taken.to(self.device), self._preprocessing["mean"], self._preprocessing["std"])
        return self._network(ready).z if self._encoder is None else pool(self._network.trunk(ready))

    def _check(self, images: np.ndarray | Tensor) -> None:
        wanted = (self.side, self.side, 3)
        if images.ndim != 4 or tuple(images.shape[1:]) != wanted or not str(images.dtype).endswith("uint8"):
            raise ValueError(
                f"images are (n, {self.side}, {self.side}, 3) uint8, not {tuple(images.shape)} {images.dtype}; "
                "of other sizes give a list of Pillow images or paths"
            )
