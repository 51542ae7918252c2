"""The config of a pre-training: a backbone learns to classify the base classes, and later cells start from it.

A pre-training is a cell like others. Its hash covers everything that decides its outcome, so studies that start from
the same backbone share it.
"""

from typing import Literal

from raysearch.studies.configs.base import Counts
from raysearch.studies.configs.class_disjoint import ClassDisjointConfig
from raysearch.studies.configs.fewshot_sections import BackboneConfig, FewshotDataConfig, PretrainConfig


class PretrainRunConfig(ClassDisjointConfig):
    """The config of a pre-training; see the module."""

    task: Literal["pretrain"] = "pretrain"
    data: FewshotDataConfig = FewshotDataConfig()
    model: BackboneConfig = BackboneConfig()
    train: PretrainConfig = PretrainConfig(epochs=100)

    def chance(self, counts: Counts) -> float:
        """Return the accuracy of guessing among the base classes."""
        return 1 / max(1, sum(count > 0 for count in counts.get("train", ())))
