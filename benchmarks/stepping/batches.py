"""What a step of training is timed on: its sizes, and a batch with the database that it is of."""

from typing import NamedTuple

import torch
from torch import Tensor

from raysearch.models import adsh

VIEWS = 3


class Setup(NamedTuple):
    backbone: str
    side: int  # pixels
    batch: int  # triplets
    bits: int
    rows: int  # of the database
    sampled: int
    classes: int
    regions: int
    size: int  # pixels
    steps: int  # in a turn
    turns: int
    matrix: int  # side of the product that measures the peak


PAPER = Setup("resnet50", 224, 64, 48, 75_750, 2_000, 101, 50, 32, steps=20, turns=7, matrix=8192)
QUICK_GPU = Setup("resnet50", 96, 16, 48, 7_575, 400, 101, 50, 14, steps=3, turns=3, matrix=4096)
QUICK_CPU = Setup("small", 32, 4, 12, 200, 40, 10, 5, 5, steps=2, turns=3, matrix=256)


class Data(NamedTuple):
    """One batch and the database it is of, on the device."""

    anchors: Tensor  # (B, 3, side, side) channels last
    positives: Tensor
    labels: Tensor  # (B,) classes of the anchors
    rows: Tensor  # (B,) the anchors among the database
    codes: Tensor  # (n, c) in {-1, +1}
    database_labels: Tensor  # (n,)
    sample: Tensor  # (r,) sampled rows, the anchors first
    rho: float


def draw(setup: Setup, device: torch.device) -> Data:
    generator = torch.Generator().manual_seed(0)
    shape = (setup.batch, 3, setup.side, setup.side)
    database_labels = torch.arange(setup.rows) % setup.classes
    sample = torch.randperm(setup.rows, generator=generator)[: setup.sampled]
    rows = sample[: setup.batch]

    def images() -> Tensor:
        return torch.randn(shape, generator=generator).to(device, memory_format=torch.channels_last)

    return Data(
        anchors=images(),
        positives=images(),
        labels=database_labels[rows].to(device),
        rows=rows.to(device),
        codes=(torch.randint(2, (setup.rows, setup.bits), generator=generator).float() * 2 - 1).to(device),
        database_labels=database_labels.to(device),
        sample=sample.to(device),
        rho=adsh.similarity_ratio(database_labels[sample], database_labels),
    )
