"""A trained model in one file, and what it is for: images in, codes out.

    python -m raysearch.train retrieval --export model.pt

    hasher = Hasher.load("model.pt")
    codes = hasher.encode(["one.jpg", "two.png"])        # (2, c) in {-1, +1}

Beside what every model's file holds (see `raysearch.inference.model_file`) it has the weights of the network (with
train.select=validation those of the best iteration) and a fitted method's encoder.
"""

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raysearch.data.preprocessing import ImageLike, ImagesLike, Preprocessing
from raysearch.data.shards.manifest import Manifest
from raysearch.inference import model_file
from raysearch.models import hashing
from raysearch.models.fcaenet import pool
from raysearch.studies.configs import RetrievalConfig
from raysearch.tasks.retrieval import network as retrieval_network
from raysearch.tasks.retrieval.evaluation import signs
from raysearch.tasks.retrieval.shallow_task import BATCH, ShallowHashingTask
from raysearch.tasks.retrieval.task import EVALUATION_BATCH, RetrievalTask


def save(
    path: str | Path, task: RetrievalTask | ShallowHashingTask, data: Manifest, metrics: Mapping[str, Any]
) -> None:
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
    if isinstance(task, ShallowHashingTask):
        kept = {name: tensor.to("cpu", copy=True) for name, tensor in task.network.state_dict().items()}
    else:
        kept = (state["best"] or state)["network"]
    own = {"network": kept, "encoder": state.get("encoder", {})}
    model_file.write(path, task.config, task.seed, own, data, metrics)


class Hasher:
    """An exported model; made by `load`.

    On a CPU it gives the task's own codes bit for bit for the same images in the same order. In other company, on
    another device or with another number of threads, sums have other last digits, and a bit whose output is next to
    zero may turn.

    Attributes:
        config: of the run that trained it.
        seed: of that run.
        bits: c.
        preprocessing: of its images.
        side: of its images, in pixels.
        zoom: see `raysearch.data.shards.jpeg.decode`.
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
        self.preprocessing = Preprocessing.from_plain(content["preprocessing"])
        self.side, self.zoom = self.preprocessing.side, self.preprocessing.zoom
        state = content["network"]
        classes = len(state["anchors"]) if "anchors" in state else 0  # ExchNet's
        model = self.config.model.model_copy(update={"weights": None})  # they are in the state
        network = retrieval_network.build_network(self.config.model_copy(update={"model": model}), self.seed, classes)
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
            UserError: no such file, no model in it, or one of another task or format.
        """
        return model_file.load(path, "retrieval", partial(cls, device=model_file.place(device)))

    @torch.no_grad()
    def encode(self, images: ImagesLike) -> Tensor:
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
        self.preprocessing.check(images)
        outputs = [self._outputs(images[at : at + self.batch]) for at in range(0, len(images), self.batch)]
        if not outputs:
            return torch.zeros(0, self.bits, device=self.device)
        whole = torch.cat(outputs)
        return signs(whole) if self._encoder is None else self._encoder(whole)

    def pixels(self, picture: ImageLike) -> np.ndarray:
        """A Pillow image, or the image at a path, as the network sees it: (side, side, 3) uint8."""
        return self.preprocessing.pixels(picture)

    def _outputs(self, images: ImagesLike) -> Tensor:
        """Outputs (B, c) of the network, or features (B, C) where an encoder follows."""
        ready = self.preprocessing.batch(images, self.device)
        return self._network(ready).z if self._encoder is None else pool(self._network.trunk(ready))
