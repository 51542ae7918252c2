"""Implementations of a training step's loss: raysearch's, a plain program's, and a classifier's.

All three see the same number of images.
"""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
import torchvision
from measuring import DeviceTimer
from torch import Tensor, nn

from raysearch.models import adsh, backbones, esrl, fcaenet, srem
from raysearch.models.backbones.block_networks import SmallNetwork

VIEWS = 3


class Setup(NamedTuple):
    """The sizes of a measurement."""

    backbone: str
    side: int  # of an image, in pixels
    batch: int  # triplets
    bits: int
    rows: int  # of the database
    sampled: int  # sampled rows of the database
    classes: int
    regions: int  # erased boxes per image
    size: int  # of an erased box, in pixels
    steps: int  # in a turn
    turns: int
    matrix: int  # rows of the matrices whose product measures the peak


PAPER = Setup("resnet50", 224, 64, 48, 75_750, 2_000, 101, 50, 32, steps=20, turns=7, matrix=8192)
QUICK_GPU = Setup("resnet50", 96, 16, 48, 7_575, 400, 101, 50, 14, steps=3, turns=3, matrix=4096)
QUICK_CPU = Setup("small", 32, 4, 12, 200, 40, 10, 5, 5, steps=2, turns=3, matrix=256)


class Data(NamedTuple):
    """One batch and the database that it belongs to, on the device."""

    anchors: Tensor  # (B, 3, side, side) channels last
    positives: Tensor
    labels: Tensor  # (B,) classes of the anchors
    rows: Tensor  # (B,) the anchors among the database
    codes: Tensor  # (n, c) in {-1, +1}
    database_labels: Tensor  # (n,)
    sample: Tensor  # (r,) sampled rows, the anchors first
    rho: float


def draw_data(setup: Setup, device: torch.device) -> Data:
    """Draw a random batch and database, the same for every call."""
    generator = torch.Generator().manual_seed(0)
    shape = (setup.batch, 3, setup.side, setup.side)
    database_labels = torch.arange(setup.rows) % setup.classes
    sample = torch.randperm(setup.rows, generator=generator)[: setup.sampled]
    rows = sample[: setup.batch]

    def _images() -> Tensor:
        return torch.randn(shape, generator=generator).to(device, memory_format=torch.channels_last)

    return Data(
        anchors=_images(),
        positives=_images(),
        labels=database_labels[rows].to(device),
        rows=rows.to(device),
        codes=(torch.randint(2, (setup.rows, setup.bits), generator=generator).float() * 2 - 1).to(device),
        database_labels=database_labels.to(device),
        sample=sample.to(device),
        rho=adsh.similarity_ratio(database_labels[sample], database_labels),
    )


GAMMA = 200.0
RELATION = 0.1  # weight of both terms of ESRL


class Implementation(Protocol):
    """One implementation of a training step."""

    network: nn.Module

    def loss(self, timer: DeviceTimer | None = None) -> Tensor:
        """Return a step's loss; set a mark of the timer before and after the masks are computed."""
        ...


class RaysearchStep:
    """raysearch's step, as in `tasks.retrieval.views.PixelViews.forward` and `AsymmetricMethod.losses`."""

    def __init__(self, setup: Setup, data: Data, network: nn.Module, autocast: bool) -> None:
        self.setup = setup
        self.data = data
        self.network = network
        self.autocast = autocast
        self.targets = adsh.targets(data.codes, data.database_labels, data.rho)

    def loss(self, timer: DeviceTimer | None = None) -> Tensor:
        """Return a step's loss. See `Implementation`."""
        setup = self.setup
        data = self.data
        seen = self._through(data.anchors)
        if timer:
            timer.set()
        mask = srem.erase_mask(seen.features, (setup.side, setup.side), setup.regions, setup.size)
        if timer:
            timer.set()
        erased = (data.anchors * mask).contiguous(memory_format=torch.channels_last)
        others = self._through(torch.cat([data.positives, erased]))
        u = seen.u
        (positive, erased) = others.u.chunk(2)
        hash_loss = adsh.target_loss(u, data.labels, self.targets)
        quantization = adsh.quantization_loss(u, data.codes[data.rows], setup.rows)
        return hash_loss + GAMMA * quantization + esrl.esrl(u, positive, erased, RELATION, RELATION)

    def _through(self, images: Tensor) -> Any:
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            return self.network(images)


class WrittenNetwork(nn.Module):
    """A backbone as a chain of modules, followed by pooling and a layer of outputs.

    Args:
        backbone: the chain of modules.
        channels: width C of its feature maps.
        outputs: number of outputs.
    """

    def __init__(self, backbone: nn.Sequential, channels: int, outputs: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.output = nn.Linear(channels, outputs)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return outputs (B, outputs) and feature maps (B, C, h, w) of images (B, 3, side, side)."""
        features = self.backbone(images)
        return self.output(self.pool(features).flatten(1)), features


Masks = Callable[[Tensor, int, int, int], Tensor]


def loop_masks(features: Tensor, side: int, regions: int, size: int) -> Tensor:
    """Compute the masks of FCAENet's algorithm 1 for one image after the other.

    Args:
        features: (B, C, h, w) feature maps.
        side: side of the images, in pixels.
        regions: number of erased boxes per image.
        size: side of a box, in pixels.

    Returns:
        (B, 1, side, side) masks, 0 where a box is erased, else 1.
    """
    masks = []
    for mean in features.float().mean(1, keepdim=True):
        activation = nn.functional.interpolate(mean[None], (side, side), mode="bilinear", align_corners=False)[0, 0]
        low = activation.min()
        high = activation.max()
        padded = nn.functional.pad((activation - low) / (high - low + srem.EPSILON), (0, size, 0, size))
        order = padded.flatten().sort(descending=True, stable=True).indices[:regions]
        mask = torch.ones_like(padded)
        for position in order.tolist():
            row, column = divmod(position, side + size)
            mask[row : row + size, column : column + size] = 0
        masks.append(mask[:side, :side])
    return torch.stack(masks)[:, None]


def batch_masks(features: Tensor, side: int, regions: int, size: int) -> Tensor:
    """Compute the masks of `loop_masks` by raysearch's function for whole batches."""
    return srem.erase_mask(features, (side, side), regions, size)


class WrittenStep:
    """The step as a plain program has it.

    Args:
        setup: sizes.
        data: the batch and its database.
        network: returns outputs and feature maps.
        autocast: whether the network computes in bfloat16.
        masks: makes the masks from feature maps; see `loop_masks`.
    """

    def __init__(self, setup: Setup, data: Data, network: nn.Module, autocast: bool, masks: Masks = loop_masks) -> None:
        self.setup = setup
        self.data = data
        self.network = network
        self.autocast = autocast
        self.masks = masks
        sample_labels = data.database_labels[data.sample]
        same = sample_labels[:, None] == data.database_labels
        self.similarity = torch.where(same, 1.0, -data.rho)  # (r, n), once an outer iteration
        self.batch = torch.arange(setup.batch, device=data.rows.device)  # the anchors among the sample

    def loss(self, timer: DeviceTimer | None = None) -> Tensor:
        """Return a step's loss. See `Implementation`."""
        setup = self.setup
        data = self.data
        u, features = self._through(data.anchors)
        if timer:
            timer.set()
        mask = self.masks(features.detach(), setup.side, setup.regions, setup.size)
        if timer:
            timer.set()
        positive, _ = self._through(data.positives)
        erased, _ = self._through(data.anchors * mask)
        difference = u @ data.codes.T - setup.bits * self.similarity[self.batch]
        loss = (difference.square().sum() + GAMMA * (u - data.codes[data.rows]).square().sum()) / u.shape[0]
        loss = loss / setup.rows
        for other in (positive, erased):
            loss = loss + RELATION * (u - other).square().sum(1).mean()
        return loss

    def _through(self, images: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            z, features = self.network(images)
        return torch.tanh(z.float()), features


class BareStep:
    """Classification of the same number of images."""

    def __init__(self, data: Data, network: nn.Module, autocast: bool) -> None:
        self.network = network
        self.autocast = autocast
        images = [data.anchors, data.positives, data.anchors]
        self.images = torch.cat(images).contiguous(memory_format=torch.channels_last)
        self.labels = data.labels.repeat(VIEWS)

    def loss(self, timer: DeviceTimer | None = None) -> Tensor:
        """Return the cross entropy of the images. It computes no masks and sets no marks."""
        with torch.autocast(self.images.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            scores = self.network(self.images)
        return nn.functional.cross_entropy(scores.float(), self.labels)


def build_networks(setup: Setup) -> dict[str, nn.Module]:
    """Build the networks of the implementations on the CPU.

    Those of raysearch and of the written steps start from the same weights.
    """
    torch.manual_seed(0)
    ours = fcaenet.FCAENet(backbones.build(setup.backbone), setup.bits)
    channels = ours.backbone.channels
    if setup.backbone == "small":
        whole: nn.Module = SmallNetwork()
        names = [name for name, _ in whole.named_children()]
        bare: nn.Module = _Scores(copy.deepcopy(_chain(whole, names)), channels, setup.classes)
    else:
        whole = torchvision.models.get_model(setup.backbone, weights=None)
        names = [name for name, _ in whole.named_children()][:-2]  # all but pooling and classifier
        bare = torchvision.models.get_model(setup.backbone, weights=None, num_classes=setup.classes)
    backbone = _chain(whole, names)
    state = ((key.split(".", 1), value) for key, value in ours.backbone.network.state_dict().items())
    backbone.load_state_dict({f"{names.index(child)}.{rest}": value for (child, rest), value in state})
    written = WrittenNetwork(backbone, channels, setup.bits)
    written.output.load_state_dict(ours.hash_layer.linear.state_dict())
    return {"computation": ours, "written": written, "three passes": copy.deepcopy(written), "bare": bare}


class _Scores(WrittenNetwork):
    def forward(self, images: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(images)[0]


def _chain(whole: nn.Module, names: list[str]) -> nn.Sequential:
    return nn.Sequential(*[whole.get_submodule(name) for name in names])
