"""Set up one episode of a few-shot method in both implementations, with the same weights.

*raysearch* is the network of `raysearch.models.fewshot`; *usual* is the same backbone with the heads of this folder.
Both train on all images of the episode. In evaluation, the usual implementation sends them through the backbone for
every episode. raysearch takes their maps from a `MapStore`, where an evaluation puts each image of a split once.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from pairwise.helix import PairwiseHelix
from pairwise.lwfm import PairwiseLayerwise
from torch import Tensor, nn

from raysearch.data.feed import ImageSet
from raysearch.models import backbones, fewshot, fewshot_heads, helixformer, lwfm, precision, relation
from raysearch.tasks.common.loader import Loader
from raysearch.tasks.fewshot.evaluation import MapStore, autocast

WAYS = 5
GRID = 3  # rows and columns of the maps that LWFM-SPM compares
TOLERANCE = 1e-4  # largest difference between logits of about 1, in float32


class Case(NamedTuple):
    """A method on a backbone, and one episode."""

    method: str  # "helix" or "lwfm"
    backbone: str
    shots: int
    queries: int  # per class
    side: int = 84  # of an image, in pixels

    @property
    def name(self) -> str:
        """The case's name in the results, such as "helix_conv4_1shot"."""
        return f"{self.method}_{self.backbone}_{self.shots}shot"

    @property
    def layout(self) -> fewshot.Layout:
        """The layout of one episode."""
        return fewshot.Layout(1, WAYS, self.shots, WAYS * self.queries)


class Episode(NamedTuple):
    """The images of one episode, decoded and ready for the network."""

    images: ImageSet  # all supports, then all queries, as decoded
    ready: Tensor  # (B, 3, side, side) the same images on the device
    targets: Tensor  # (N,) index of each query's class
    layout: fewshot.Layout


def draw_episode(case: Case, device: torch.device) -> Episode:
    """Draw an episode of random images, the same for every call."""
    count = WAYS * (case.shots + case.queries)
    pixels = np.random.default_rng(0).integers(256, size=(count, case.side, case.side, 3), dtype=np.uint8)
    images = ImageSet(pixels, np.zeros(count, np.int64))
    targets = torch.arange(WAYS, device=device).repeat_interleave(case.queries)
    return Episode(images, Loader(device).batch(images, torch.arange(count)), targets, case.layout)


def build_networks(case: Case, device: torch.device) -> dict[str, fewshot.EpisodicNetwork]:
    """Build the networks "raysearch" and "usual" with the same weights."""
    torch.manual_seed(0)
    backbone = backbones.build(case.backbone)
    heads: Sequence[nn.Module]
    if case.method == "helix":
        taps = backbone.taps[-1:]
        grid = None
        with torch.no_grad():
            size = backbone(torch.zeros(2, 3, case.side, case.side))[taps[0]].shape[-1]
        scorer = relation.RelationHead(backbone.channels, size)
        with torch.no_grad():
            # A fresh scorer gives all pairs nearly the same score, which would hide a difference.
            for parameter in scorer.score.parameters():
                parameter.mul_(10)
        helix = helixformer.HelixFormer(backbone.channels)
        heads = fewshot_heads.HelixHead(helix, scorer), PairwiseHelix(backbone.channels, size)
    else:
        taps = backbone.taps[-2:]
        grid = GRID
        widths = backbone.widths[-2:]
        heads = fewshot_heads.LwfmHead(lwfm.LayerwiseMatching(widths)), PairwiseLayerwise(widths)
    both = backbone, backbones.build(case.backbone)
    ours, usual = (fewshot.EpisodicNetwork(*parts, grid) for parts in zip(both, (taps, taps), heads, strict=True))
    usual.load_state_dict(ours.state_dict())
    return {"raysearch": ours.to(device), "usual": usual.to(device)}


def train_step(network: fewshot.EpisodicNetwork, episode: Episode) -> Tensor:
    """Run a step forward and backward through the whole network; return its logits."""
    network.train()
    network.zero_grad(set_to_none=True)
    with autocast(episode.ready.device, "auto"):
        logits = network(episode.ready, episode.layout).logits
    nn.functional.cross_entropy(precision.at_least_single(logits.flatten(0, 1)), episode.targets).backward()
    return logits.detach()


@torch.no_grad()
def evaluate_images(network: fewshot.EpisodicNetwork, episode: Episode) -> Tensor:
    """Return the logits of an episode from its images, as the usual implementation does."""
    network.eval()
    with autocast(episode.ready.device, "auto"):
        return network(episode.ready, episode.layout).logits


@torch.no_grad()
def evaluate_stored(network: fewshot.EpisodicNetwork, store: MapStore, episode: Episode) -> Tensor:
    """Return the logits of an episode from stored maps, as raysearch does."""
    network.eval()
    layout = episode.layout
    rows = torch.arange(len(episode.images))
    supports = layout.ways * layout.shots
    support = rows[:supports].view(1, layout.ways, layout.shots)
    query = rows[supports:].view(1, -1)
    with autocast(episode.ready.device, "auto"):
        return network.head(store.maps(support), store.maps(query)).logits


def build_store(network: fewshot.EpisodicNetwork, episode: Episode) -> MapStore:
    """Compute and store the maps of an episode's images."""
    return MapStore(network, episode.images, Loader(episode.ready.device), "auto")


def largest_difference(logits: Tensor, other: Tensor) -> float:
    """Return the largest absolute difference of two tensors of logits."""
    return (logits.float() - other.float()).abs().max().item()
