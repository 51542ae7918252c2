"""What configs share whose data is split by classes: those of few-shot runs and of their pre-trainings."""

from raysearch.data import class_splits
from raysearch.studies.configs import weights
from raysearch.studies.configs.base import Images, RunConfig
from raysearch.studies.configs.fewshot_sections import (
    BackboneConfig,
    EpisodicTrainConfig,
    FewshotDataConfig,
    PretrainConfig,
)


class ClassDisjointConfig(RunConfig):
    """The config of a run whose training, validation and test images are of different classes."""

    data: FewshotDataConfig
    model: BackboneConfig
    train: PretrainConfig | EpisodicTrainConfig

    @property
    def images(self) -> Images:
        """The images that the run works on."""
        return Images(self.data.side, self.data.zoom, self.data.split)

    @property
    def steps(self) -> int:
        """Number of epochs, each of which a scheduler may stop after."""
        return self.train.epochs

    @property
    def backbone(self) -> tuple[str, str | None]:
        """Name of the backbone, and the weights that it starts from."""
        return self.model.backbone, self.model.weights

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
