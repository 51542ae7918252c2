"""Configs of runs whose data is split by classes: what they share, and the config of a pre-training."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal

from raysearch.core import UserError
from raysearch.data import class_splits
from raysearch.data.evaluation_limits import DataCounts, Limits, classifier_limits, shared_classes_warning
from raysearch.studies.configs import base, fewshot_sections, weights


class ClassDisjointConfig(base.RunConfig):
    """The config of a run whose training, validation and test images are of different classes."""

    data: fewshot_sections.FewshotDataConfig
    model: fewshot_sections.BackboneConfig
    train: fewshot_sections.PretrainConfig | fewshot_sections.EpisodicTrainConfig

    @property
    def images(self) -> base.Images:
        """The images that the run works on."""
        return base.Images(self.data.side, self.data.zoom, self.data.split)

    @property
    def steps(self) -> int:
        """Number of epochs, each of which a scheduler may stop after."""
        return self.train.epochs

    @property
    def backbone(self) -> tuple[str, str | None]:
        """Name of the backbone, and the weights that it starts from."""
        return self.model.backbone, self.model.weights

    def limits(self, name: str, classes: Sequence[str], counts: base.Counts) -> Limits:
        """Return the limits of the run on the classes of its split; those of its pre-training are among them."""
        data = DataCounts(name, classes, counts)
        try:
            parts = class_splits.divide_classes(self.data.split, data).parts
        except UserError as error:
            return Limits((str(error),))
        limits = self.limits_of_parts(data, parts)
        shared = shared_classes_warning(data) if self.data.split == class_splits.AUTO else []
        return limits._replace(warnings=(*shared, *limits.warnings))

    @abstractmethod
    def limits_of_parts(self, data: DataCounts, parts: Mapping[str, str]) -> Limits:
        """Return the limits of the run on a data set whose classes are divided.

        Args:
            data: the images of each class.
            parts: class -> "train", "val" or "test".
        """

    @property
    def augments_episodes(self) -> bool:
        """Whether the run trains on random views of episodes."""
        return False

    @property
    def identities(self) -> dict[str, str | None]:
        """Digests of files of weights and of the class-disjoint split, and of an extension's backbone."""
        return {
            **weights.backbone_identities(*self.backbone),
            "data.split": class_splits.partition_identity(self.data.split),
        }


class PretrainRunConfig(ClassDisjointConfig):
    """The config of a pre-training: a backbone learns to classify the base classes, and later cells start from it.

    A pre-training is a cell like others. Its hash covers everything that decides its outcome, so studies that start
    from the same backbone share it.
    """

    task: Literal["pretrain"] = "pretrain"
    data: fewshot_sections.FewshotDataConfig = fewshot_sections.FewshotDataConfig()
    model: fewshot_sections.BackboneConfig = fewshot_sections.BackboneConfig()
    train: fewshot_sections.PretrainConfig = fewshot_sections.PretrainConfig(epochs=100)

    def limits_of_parts(self, data: DataCounts, parts: Mapping[str, str]) -> Limits:
        """Return the limits of the classifier of base classes."""
        return classifier_limits(data, parts)

    def chance(self, counts: base.Counts) -> float:
        """Return the accuracy of guessing among the base classes."""
        return 1 / max(1, sum(count > 0 for count in counts.get("train", ())))
