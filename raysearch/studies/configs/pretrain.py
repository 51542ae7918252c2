"""The config of a pre-training: a trunk learns to name the base classes, and later cells start from it.

It is a cell like others: its name covers all that decides it, so studies that start from the same trunk share it.
"""

import json
from typing import Any, Literal

from raysearch.studies.configs.base import Counts
from raysearch.studies.configs.class_disjoint import ClassDisjointConfig
from raysearch.studies.configs.fewshot_sections import BackboneConfig, FewshotDataConfig, PretrainConfig


class PretrainRunConfig(ClassDisjointConfig):
    task: Literal["pretrain"] = "pretrain"
    data: FewshotDataConfig = FewshotDataConfig()
    model: BackboneConfig = BackboneConfig()
    train: PretrainConfig = PretrainConfig(epochs=100)

    def chance(self, counts: Counts) -> float:
        return 1 / max(1, sum(count > 0 for count in counts.get("train", ())))

    def canonical(self) -> dict[str, Any]:
        plain = json.loads(self.model_dump_json())
        del plain["train"]["seed"]  # the cell's own
        del plain["data"]["augment"]  # of episodes; its own is in `train`
        return plain
