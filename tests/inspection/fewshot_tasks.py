"""A few-shot task as if it were trained: its weights are random."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from raysearch.tasks.fewshot.task import FewshotTask

from ..registries import replace_backbone
from ..tasks.fewshot import fewshot_runs

Make = Callable[..., FewshotTask]


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> Make:
    """Build tasks on a backbone of two convolutions, with weights and statistics unlike those of a fresh network."""
    replace_backbone(monkeypatch, "small", fewshot_runs.tiny_backbone)
    torch.set_num_threads(1)

    def make(*changes: dict[str, Any], seed: int = 0) -> FewshotTask:
        task = fewshot_runs.make(*changes, seed=seed)
        generator = torch.Generator().manual_seed(5)
        for name, value in task.network.state_dict().items():
            if value.is_floating_point():
                noise = torch.rand(value.shape, generator=generator, dtype=value.dtype)
                value.copy_(value + 0.5 * noise if name.endswith("var") else value + 0.6 * (noise - 0.5))
        return task

    return make
