"""A trained few-shot model in one file, which names images of new classes by a few examples of each.

    python -m raysearch.train fewshot --export model.pt

    recogniser = Recogniser.load("model.pt")
    recogniser.learn({"wren": ["a.jpg", "b.jpg"], "robin": ["c.jpg"]})
    recogniser.predict(["one.jpg"])                             # [Prediction(label="wren", score=0.93, ...)]

Besides the content of every model file (see `raysearch.inference.model_file`), the file holds the network's weights,
the training classes and the name of their split. With train.select=validation the weights are those of the best epoch.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from raysearch.core import UserError
from raysearch.data import image_sources, preprocessing, shards
from raysearch.inference import model_file
from raysearch.models.fewshot import Maps
from raysearch.models.variable_shots import class_logits
from raysearch.studies.configs import FewshotConfig
from raysearch.tasks.common import autocast
from raysearch.tasks.fewshot import evaluation
from raysearch.tasks.fewshot import network as fewshot_network
from raysearch.tasks.fewshot.task import FewshotTask


class Prediction(NamedTuple):
    """The class predicted for an image.

    A score is the softmax of the logits over the known classes, even when the image belongs to none of them. It orders
    the classes; it is not a calibrated probability.
    """

    label: str  # the class with the largest score
    score: float
    scores: dict[str, float]  # class -> score, the best first
    logits: dict[str, float]  # class -> logit, the best first


def save(path: str | Path, task: FewshotTask, data: shards.Manifest, metrics: Mapping[str, Any]) -> None:
    """Write the model of a finished task.

    Args:
        path: path of the file. An existing file is replaced whole or left unchanged.
        task: the task, trained to its end.
        data: manifest of the data set it was trained on.
        metrics: metrics of its evaluation.

    Raises:
        UserError: the file cannot be written.
    """
    state = task.state_dict()
    feed = task.worker.feed
    content = {
        "network": (state["best"] or state)["network"],
        "base": [data.classes[label] for label in np.unique(feed.train.labels)],
        "split": feed.split,
    }
    model_file.write_model(path, task.config, task.seed, content, data, metrics)


class FewShotClassifier(model_file.ExportedModel):
    """An exported few-shot model; `load` creates it. Its public name is `raysearch.classify.Recogniser`.

    Its logits equal the task's own except for rounding, because batches of another size add in another order.

    Attributes:
        config: config of the run that trained it.
        seed: seed of that run.
        preprocessing: how its images are resized and normalized.
        device: the device it computes on.
        data: "name", "content_hash" and "classes" of the data set it was trained on.
        base: the classes it was trained on.
        split: name of the split of these classes, and the first digits of its hash.
        metrics: metrics of that run's evaluation.
        sha256: digest of the file, the model's identity.
        shots: class -> number of its examples, in the order in which they were given.
    """

    task = "fewshot"

    def __init__(self, content: Mapping[str, Any], sha256: str, device: torch.device) -> None:
        super().__init__(content, sha256, device)
        self.config = FewshotConfig.from_plain(content["config"])
        self.base: list[str] = content["base"]
        self.split: str = content["split"]
        self.shots: dict[str, int] = {}
        self._supports: list[Maps] = []  # per class, (K, C, h, w) per tap
        model = self.config.model.model_copy(update={"weights": None})  # the state holds them
        with torch.random.fork_rng(devices=[]):
            config = self.config.model_copy(update={"model": model})
            network = fewshot_network.build_network(config, self.seed, len(self.base))
        network.load_state_dict(content["network"])
        self._network = network.to(device).to(memory_format=torch.channels_last).eval()

    def learn(self, supports: Mapping[str, preprocessing.ImagesLike]) -> None:
        """Replace the known classes by these.

        Args:
            supports: class -> examples: (n, side, side, 3) uint8, used as given, or a list of Pillow images and paths,
                which are resized as in training. Classes may have different numbers of examples.

        Raises:
            UserError: fewer than two classes, a class without images, or an image that cannot be read.
            ValueError: an array of another shape or type.
        """
        if len(supports) < 2:
            given = f"only '{next(iter(supports))}'" if supports else "none"
            raise UserError(f"at least two classes are needed; got {given}. Add a folder of examples per class.")
        for label, images in supports.items():
            if not len(images):
                raise UserError(f"class '{label}' has no example image; add at least one")
            self.preprocessing.check(images)
        self._supports = [self._maps(images) for images in supports.values()]
        self.shots = {label: len(images) for label, images in supports.items()}

    def learn_folder(self, folder: str | os.PathLike[str]) -> None:
        """Learn the classes of FOLDER/<class>/<images>.

        Raises:
            UserError: the folder is missing, or an error of `learn`.
        """
        self.learn(image_sources.images_by_class(folder))

    def predict(self, images: preprocessing.ImagesLike) -> list[Prediction]:
        """Return a prediction per image. Arguments and errors are those of `logits`."""
        predictions = []
        for logits in self.logits(images).cpu():
            best = logits.argsort(descending=True, stable=True)  # ties keep the order of the classes
            labels = [list(self.shots)[index] for index in best.tolist()]
            ordered = logits[best]
            scores = dict(zip(labels, ordered.softmax(-1).tolist(), strict=True))
            raw = dict(zip(labels, ordered.tolist(), strict=True))
            predictions.append(Prediction(labels[0], scores[labels[0]], scores, raw))
        return predictions

    @torch.no_grad()
    def logits(self, images: preprocessing.ImagesLike) -> torch.Tensor:
        """Return the network's logits of images over the known classes.

        Args:
            images: (n, side, side, 3) uint8, used as given, or a list of Pillow images and paths.

        Returns:
            (n, classes) float32 on the device, in the order in which the classes were given.

        Raises:
            UserError: no class has been learned, or an image cannot be read.
            ValueError: an array of another shape or type.
        """
        if not self._supports:
            raise UserError("no class has been learned; call learn() or learn_folder() first")
        self.preprocessing.check(images)
        parts = [torch.empty(0, len(self._supports), device=self.device)]
        for at in range(0, len(images), evaluation.BATCH):
            query = self._maps(images[at : at + evaluation.BATCH])
            with autocast(self.device, self.config.train.precision):
                parts.append(class_logits(self._network.head, self._supports, query))
        return torch.cat(parts)

    @torch.no_grad()
    def _maps(self, images: preprocessing.ImagesLike) -> Maps:
        """Return the feature maps of images, (n, C, h, w) per tap."""
        starts = range(0, len(images), evaluation.BATCH)
        with autocast(self.device, self.config.train.precision):
            parts = [
                self._network.maps(self.preprocessing.batch(images[at : at + evaluation.BATCH], self.device))
                for at in starts
            ]
        return [torch.cat(taps) for taps in zip(*parts, strict=True)]
