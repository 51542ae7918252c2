"""A trained retrieval model in one file, which turns images into hash codes.

    python -m raysearch.train retrieval --export model.pt

    hasher = Hasher.load("model.pt")
    codes = hasher.encode(["one.jpg", "two.png"])        # (2, c) in {-1, +1}

Besides the content of every model file (see `raysearch.inference.model_file`), the file holds the network's weights
and the encoder of a fitted method. With train.select=validation the weights are those of the best iteration.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from raysearch.data.preprocessing import ImageLike, ImagesLike
from raysearch.data.shards import Manifest
from raysearch.inference import model_file
from raysearch.models import hashing
from raysearch.models.fcaenet import pool
from raysearch.models.hashing.encoder import signs
from raysearch.studies.configs import RetrievalConfig
from raysearch.tasks.retrieval import network as retrieval_network
from raysearch.tasks.retrieval.shallow_task import BATCH, ShallowHashingTask
from raysearch.tasks.retrieval.task import EVALUATION_BATCH, RetrievalTask


def save(
    path: str | Path, task: RetrievalTask | ShallowHashingTask, data: Manifest, metrics: Mapping[str, Any]
) -> None:
    """Write the model of a finished task.

    Args:
        path: path of the file. An existing file is replaced whole or left unchanged.
        task: the task, trained or fitted to its end.
        data: manifest of the data set it was trained on.
        metrics: metrics of its evaluation.

    Raises:
        UserError: the file cannot be written.
    """
    state = task.state_dict()
    if isinstance(task, ShallowHashingTask):
        network = {name: tensor.to("cpu", copy=True) for name, tensor in task.network.state_dict().items()}
    else:
        network = (state["best"] or state)["network"]
    content = {"network": network, "encoder": state.get("encoder", {})}
    model_file.write_model(path, task.config, task.seed, content, data, metrics)


class Hasher(model_file.ExportedModel):
    """An exported retrieval model; `load` creates it.

    On a CPU it gives the task's own codes, bit for bit, for the same images in the same order. In other batches, on
    another device or with another number of threads, sums differ in their last digits, and a bit whose output is close
    to zero may flip.

    Attributes:
        config: config of the run that trained it.
        seed: seed of that run.
        bits: length c of a code.
        preprocessing: how its images are resized and normalized.
        side: side of its images, in pixels.
        zoom: see `raysearch.data.shards.jpeg.decode`.
        batch: number of images that go through the network at once.
        device: the device it computes on.
        data: "name", "content_hash" and "classes" of the data set it was trained on.
        metrics: metrics of that run's evaluation.
        sha256: digest of the file, the model's identity.
    """

    task = "retrieval"

    def __init__(self, content: Mapping[str, Any], sha256: str, device: torch.device) -> None:
        super().__init__(content, sha256, device)
        self.config = RetrievalConfig.from_plain(content["config"])
        self.bits = self.config.hash.bits
        self.side = self.preprocessing.side
        self.zoom = self.preprocessing.zoom
        state = content["network"]
        classes = len(state["anchors"]) if "anchors" in state else 0  # only ExchNet has anchors
        model = self.config.model.model_copy(update={"weights": None})  # the state holds them
        network = retrieval_network.build_network(self.config.model_copy(update={"model": model}), self.seed, classes)
        network.load_state_dict(state)
        self._network = network.to(device).to(memory_format=torch.channels_last).eval()
        self._encoder: hashing.Encoder | None = None
        if content["encoder"]:
            self._encoder = hashing.restore(self.config.hash.method, content["encoder"]).to(device)
        self.batch = EVALUATION_BATCH if self._encoder is None else BATCH

    @torch.no_grad()
    def encode(self, images: ImagesLike) -> torch.Tensor:
        """Return the codes of images.

        Args:
            images: (n, side, side, 3) uint8, used as given; or a list of Pillow images and paths, which are resized
                as in training.

        Returns:
            (n, c) of -1 and +1, float32 on the device.

        Raises:
            UserError: a path that is not an image, or an image that does not decode.
            ValueError: an array of another shape or type.
        """
        self.preprocessing.check(images)
        outputs = [self._outputs(images[at : at + self.batch]) for at in range(0, len(images), self.batch)]
        if not outputs:
            return torch.zeros(0, self.bits, device=self.device)
        all_outputs = torch.cat(outputs)
        return signs(all_outputs) if self._encoder is None else self._encoder(all_outputs)

    def pixels(self, picture: ImageLike) -> np.ndarray:
        """Return a Pillow image, or the image at a path, as the network sees it: (side, side, 3) uint8.

        Raises:
            UserError: a path that is not an image, or an image that does not decode.
        """
        return self.preprocessing.pixels(picture)

    def _outputs(self, images: ImagesLike) -> torch.Tensor:
        """Return outputs (B, c) of the network, or features (B, C) when an encoder follows."""
        ready = self.preprocessing.batch(images, self.device)
        return self._network(ready).z if self._encoder is None else pool(self._network.feature_map(ready))
