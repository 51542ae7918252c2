"""What configs have in common whose data is divided by classes: those of few-shot runs and of their pre-trainings."""

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
    data: FewshotDataConfig
    model: BackboneConfig
    train: PretrainConfig | EpisodicTrainConfig

    @property
    def images(self) -> Images:
        return Images(self.data.side, self.data.zoom, self.data.split)

    @property
    def steps(self) -> int:
        return self.train.epochs

    @property
    def backbone(self) -> tuple[str, str | None]:
        return self.model.backbone, self.model.weights

    @property
    def identities(self) -> dict[str, str | None]:
        return {
            "model.weights": weights.identity(self.model.weights),
            "data.split": class_splits.partition_identity(self.data.split),
        }
