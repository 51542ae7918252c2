"""A trained few-shot model in one file, and what it is for: pictures of new classes in, names of others out.

    python -m raysearch.train fewshot --export model.pt

    recogniser = Recogniser.load("model.pt")
    recogniser.learn({"wren": ["a.jpg", "b.jpg"], "robin": ["c.jpg"]})
    recogniser.predict(["one.jpg"])                             # [Prediction(label="wren", score=0.93, ...)]

Beside what every model's file holds (see `raysearch.inference.model_file`) it has the weights of the network (with
train.select=validation those of the best epoch), the classes that it learned from, and the split that these are of.
"""

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from raysearch.core.errors import UserError
from raysearch.data import image_sources
from raysearch.data.preprocessing import ImagesLike, Preprocessing
from raysearch.data.shards.manifest import Manifest
from raysearch.inference import model_file
from raysearch.models.fewshot import Maps
from raysearch.models.variable_shots import class_logits
from raysearch.studies.configs import FewshotConfig
from raysearch.tasks.fewshot import evaluation
from raysearch.tasks.fewshot import network as fewshot_network
from raysearch.tasks.fewshot.task import FewshotTask


class Prediction(NamedTuple):
    """What a query was taken for.

    A score is the softmax of the logits: a share of one among the classes that are known, also where the query is of
    none of them. It orders the classes; how often it is right has not been calibrated.
    """

    label: str  # the class with the largest score
    score: float
    scores: dict[str, float]  # of all classes, the best first
    logits: dict[str, float]  # likewise


def save(path: str | Path, task: FewshotTask, data: Manifest, metrics: Mapping[str, Any]) -> None:
    """Write the model of a task that has ended.

    Args:
        path: of the file, which is replaced whole or left as it is.
        task: trained to its end.
        data: what it was trained on.
        metrics: of its evaluation.

    Raises:
        UserError: the file cannot be written.
    """
    state, feed = task.state_dict(), task.worker.feed
    own = {
        "network": (state["best"] or state)["network"],
        "base": [data.classes[label] for label in np.unique(feed.train.labels)],
        "split": feed.split,
    }
    model_file.write(path, task.config, task.seed, own, data, metrics)


class FewShotClassifier:
    """An exported model; made by `load`.

    It gives the task's own logits but for the last digits: sums of batches of another size have another order.

    Attributes:
        config: of the run that trained it.
        seed: of that run.
        preprocessing: of its images.
        device: where it computes.
        data: "name", "content_hash" and "classes" of the data set it was trained on.
        base: those of its classes that it was trained on.
        split: name of the split that these are of, and the beginning of its hash.
        metrics: of that run's evaluation.
        sha256: of the file, the model's identity.
        shots: number of supports of each class that it knows, in the order in which they were given.
    """

    def __init__(self, content: Mapping[str, Any], sha256: str, device: torch.device) -> None:
        self.config = FewshotConfig.model_validate(content["config"])
        self.seed: int = content["seed"]
        self.data: dict[str, Any] = content["data"]
        self.base: list[str] = content["base"]
        self.split: str = content["split"]
        self.metrics: dict[str, float] = content["metrics"]
        self.preprocessing = Preprocessing.from_plain(content["preprocessing"])
        self.sha256, self.device = sha256, device
        self.shots: dict[str, int] = {}
        self._supports: list[Maps] = []  # of each class, (K, C, h, w) a tap
        model = self.config.model.model_copy(update={"weights": None})  # they are in the state
        with torch.random.fork_rng(devices=[]):
            config = self.config.model_copy(update={"model": model})
            network = fewshot_network.build_network(config, self.seed, len(self.base))
        network.load_state_dict(content["network"])
        self._network = network.to(device).to(memory_format=torch.channels_last).eval()

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: torch.device | str | None = None) -> "FewShotClassifier":
        """Read a model file.

        Args:
            path: of the file.
            device: where to compute; a GPU where there is one, when left out.

        Raises:
            UserError: no such file, no model in it, or one of another task or format.
        """
        return model_file.load(path, "fewshot", partial(cls, device=model_file.place(device)))

    def learn(self, supports: Mapping[str, ImagesLike]) -> None:
        """Know these classes, and no others from now on.

        Args:
            supports: of each class (n, side, side, 3) uint8 as they are, or a list of Pillow images and paths, brought
                to that size as training did it. Classes may have different numbers of them.

        Raises:
            UserError: fewer than two classes, a class without images, or an image that cannot be read.
            ValueError: an array of another shape or type.
        """
        if len(supports) < 2:
            given = f"only '{next(iter(supports))}'" if supports else "none"
            raise UserError(f"two classes at least are needed to tell apart, and there is {given}")
        for label, images in supports.items():
            if not len(images):
                raise UserError(f"class '{label}' has no image to learn it from")
            self.preprocessing.check(images)
        self._supports = [self._maps(images) for images in supports.values()]
        self.shots = {label: len(images) for label, images in supports.items()}

    def learn_folder(self, folder: str | os.PathLike[str]) -> None:
        """`learn` the classes of FOLDER/<class>/<images>.

        Raises:
            UserError: no such folder, or as `learn`.
        """
        self.learn(image_sources.images_by_class(folder))

    def predict(self, images: ImagesLike) -> list[Prediction]:
        """Name images, each by itself; arguments and errors as `logits`."""
        answers = []
        for logits in self.logits(images).cpu():
            best = logits.argsort(descending=True, stable=True)  # equals in the order of the classes
            labels = [list(self.shots)[index] for index in best.tolist()]
            ordered = logits[best]
            scores = dict(zip(labels, ordered.softmax(-1).tolist(), strict=True))
            raw = dict(zip(labels, ordered.tolist(), strict=True))
            answers.append(Prediction(labels[0], scores[labels[0]], scores, raw))
        return answers

    @torch.no_grad()
    def logits(self, images: ImagesLike) -> Tensor:
        """What the network says of images and the classes that it knows.

        Args:
            images: (n, side, side, 3) uint8 as they are, or a list of Pillow images and paths.

        Returns:
            (n, classes) float32 on the device, in the order in which the classes were given.

        Raises:
            UserError: no classes are known, or an image that cannot be read.
            ValueError: an array of another shape or type.
        """
        if not self._supports:
            raise UserError("no classes are known yet; learn some first")
        self.preprocessing.check(images)
        parts = [torch.empty(0, len(self._supports), device=self.device)]
        for at in range(0, len(images), evaluation.BATCH):
            query = self._maps(images[at : at + evaluation.BATCH])
            with evaluation.autocast(self.device, "auto"):
                parts.append(class_logits(self._network.head, self._supports, query))
        return torch.cat(parts)

    @torch.no_grad()
    def _maps(self, images: ImagesLike) -> Maps:
        """Of each tap (n, C, h, w)."""
        starts = range(0, len(images), evaluation.BATCH)
        with evaluation.autocast(self.device, "auto"):
            parts = [
                self._network.maps(self.preprocessing.batch(images[at : at + evaluation.BATCH], self.device))
                for at in starts
            ]
        return [torch.cat(taps) for taps in zip(*parts, strict=True)]
