"""One episode of a few-shot method, ready to be trained on and judged in both ways with the same weights.

*raysearch* is the network of `raysearch.models.fewshot`, *usual* the same trunk with the comparers of this folder. Both
train on all images of the episode. To judge, the usual way sends them through the trunk, as it does for every episode;
raysearch takes their maps from a `MapStore`, where an evaluation puts each image of a split once.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from pairwise.helix import PairwiseHelix
from pairwise.lwfm import PairwiseLayerwise
from torch import Tensor, nn
from torch.nn import functional

from raysearch.data.feed import ImageSet
from raysearch.models.backbones import build
from raysearch.models.fewshot import EpisodicNetwork, Layout
from raysearch.models.fewshot_heads import HelixHead, LwfmHead
from raysearch.models.helixformer import HelixFormer
from raysearch.models.lwfm import LayerwiseMatching
from raysearch.models.precision import at_least_single
from raysearch.models.relation import RelationHead
from raysearch.tasks.common import Loader
from raysearch.tasks.fewshot.evaluation import MapStore, autocast

WAYS = 5
GRID = 3  # side of the maps that LWFM-SPM compares
TOLERANCE = 1e-4  # of logits of about 1, in float32


class Case(NamedTuple):
    """A method on a backbone, and one episode."""

    method: str  # "helix" or "lwfm"
    backbone: str
    shots: int
    queries: int  # of a class
    side: int = 84  # pixels

    @property
    def name(self) -> str:
        return f"{self.method}_{self.backbone}_{self.shots}shot"

    @property
    def layout(self) -> Layout:
        return Layout(1, WAYS, self.shots, WAYS * self.queries)


class Episode(NamedTuple):
    images: ImageSet  # all supports, then all queries, as decoded
    ready: Tensor  # (B, 3, side, side) the same on the device
    names: Tensor  # (N,) ways of the queries
    layout: Layout


def draw(case: Case, device: torch.device) -> Episode:
    count = WAYS * (case.shots + case.queries)
    pixels = np.random.default_rng(0).integers(256, size=(count, case.side, case.side, 3), dtype=np.uint8)
    images = ImageSet(pixels, np.zeros(count, np.int64))
    names = torch.arange(WAYS, device=device).repeat_interleave(case.queries)
    return Episode(images, Loader(device).batch(images, torch.arange(count)), names, case.layout)


def networks(case: Case, device: torch.device) -> dict[str, EpisodicNetwork]:
    """Both ways, with the same weights."""
    torch.manual_seed(0)
    trunk = build(case.backbone)
    comparers: Sequence[nn.Module]
    if case.method == "helix":
        taps = trunk.taps[-1:]
        grid = None
        with torch.no_grad():
            size = trunk(torch.zeros(2, 3, case.side, case.side))[taps[0]].shape[-1]
        head = RelationHead(trunk.channels, size)
        with torch.no_grad():
            # Fresh ones give all pairs nearly the same score, and the ways could differ unseen.
            for parameter in head.score.parameters():
                parameter.mul_(10)
        comparers = HelixHead(HelixFormer(trunk.channels), head), PairwiseHelix(trunk.channels, size)
    else:
        taps = trunk.taps[-2:]
        grid = GRID
        widths = trunk.widths[-2:]
        comparers = LwfmHead(LayerwiseMatching(widths)), PairwiseLayerwise(widths)
    trunks = trunk, build(case.backbone)
    ours, usual = (EpisodicNetwork(*parts, grid) for parts in zip(trunks, (taps, taps), comparers, strict=True))
    usual.load_state_dict(ours.state_dict())
    return {"raysearch": ours.to(device), "usual": usual.to(device)}


def train(network: EpisodicNetwork, episode: Episode) -> Tensor:
    """Logits of a step, forward and backward of the whole network."""
    network.train()
    network.zero_grad(set_to_none=True)
    with autocast(episode.ready.device, "auto"):
        logits = network(episode.ready, episode.layout).logits
    functional.cross_entropy(at_least_single(logits.flatten(0, 1)), episode.names).backward()
    return logits.detach()


@torch.no_grad()
def judge(network: EpisodicNetwork, episode: Episode) -> Tensor:
    """Logits of the usual way, from images."""
    network.eval()
    with autocast(episode.ready.device, "auto"):
        return network(episode.ready, episode.layout).logits


@torch.no_grad()
def judge_stored(network: EpisodicNetwork, store: MapStore, episode: Episode) -> Tensor:
    """Logits of raysearch's way, from maps."""
    network.eval()
    layout = episode.layout
    rows = torch.arange(len(episode.images))
    supports = layout.ways * layout.shots
    support = rows[:supports].view(1, layout.ways, layout.shots)
    query = rows[supports:].view(1, -1)
    with autocast(episode.ready.device, "auto"):
        return network.head(store.maps(support), store.maps(query)).logits


def store_of(network: EpisodicNetwork, episode: Episode) -> MapStore:
    return MapStore(network, episode.images, Loader(episode.ready.device), "auto")


def apart(one: Tensor, other: Tensor) -> float:
    return (one.float() - other.float()).abs().max().item()
