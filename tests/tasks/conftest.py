"""Fixtures of the tests of tasks."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

from raysearch.models.backbones import Backbone
from raysearch.tasks.retrieval.views import CachedViews, PixelViews

from ..registries import replace_backbone
from .fewshot import fewshot_runs
from .retrieval.small_runs import Log, TinyBody


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the small backbone by one convolution; one thread, so that sums have one order."""
    replace_backbone(monkeypatch, "small", lambda name, weights: Backbone(TinyBody(), ("block",), (5,)))
    torch.set_num_threads(1)


@pytest.fixture
def tiny_taps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Replace the small backbone by two convolutions with two taps; one thread; a cache `Path()` of its own."""
    monkeypatch.chdir(tmp_path)
    replace_backbone(monkeypatch, "small", fewshot_runs.tiny_backbone)
    torch.set_num_threads(1)


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All arithmetic in float64: two writings then agree to the last digits, not to float32's rounding."""
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    log = Log()

    def listen(kind: type[PixelViews] | type[CachedViews]) -> None:
        original = kind.forward

        def forward(self, batch, *inputs):
            log.batches.append((batch.rows.clone(), batch.positives.clone()))
            return original(self, batch, *inputs)

        monkeypatch.setattr(kind, "forward", forward)

    def before_step(optimiser: torch.optim.Optimizer, *_: object) -> None:
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        log.gradients.append({id(p): p.grad.clone() for p in parameters if p.grad is not None})

    listen(PixelViews)
    listen(CachedViews)
    handle = register_optimizer_step_pre_hook(before_step)
    yield log
    handle.remove()
