"""ExchNet-like: Cui, Jiang, Wei, Li and Yoshie, "ExchNet: A Unified Hashing Network for Large-Scale Fine-Grained Image
Retrieval", ECCV 2020, as far as public sources tell.

M attention maps look for parts of an object on the second last feature map E; a copy of the last stage turns each
E * A_j into a local feature, another turns E into a global one. The code is tanh of a linear layer on all of them. Two
terms keep the parts apart, and local features are exchanged with the mean feature of their part and class, so that a
class's parts stay interchangeable. The hash loss is ADSH's (`raysearch.models.adsh`), with gamma 0.

What is verified, in a public trainer and loss: M = 4, Hellinger distances over softmaxes, the threshold 0.4, both
terms with weight 1, ADSH's soft similarity. What is a reading, because the model's own file was not to be had:

- the attention is a 1 x 1 convolution, a batch norm (maps then have one scale on every trunk) and a sigmoid;
- the softmax over positions is of the scores before the sigmoid, the one over channels of the pooled local features;
- one copy of the last stage serves all parts, and the layer of the code has no bias;
- anchors are means over a pass through the sample, and each (image, part) is exchanged with probability 0.5 by itself.

Nothing here draws random numbers, and when to exchange (after 50 iterations in that trainer) is the caller's choice.
Legend: `B` batch, `M` parts, `C` channels of the last tap, `h` and `w` of the second last, `K` classes, `c` bits.
"""

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from raysearch.models.backbones import Backbone
from raysearch.models.fcaenet import HashLayer, pool
from raysearch.models.precision import at_least_single, full_precision


class ExchOutput(NamedTuple):
    z: Tensor  # (B, c) before tanh, float32
    local: Tensor  # (B, M, C) local features as the network saw them, before any exchange, float32
    whole: Tensor  # (B, C) global feature, float32
    maps: Tensor  # (B, M, h, w) attention in (0, 1)
    scores: Tensor  # (B, M, h, w) attention before the sigmoid


class ExchNet(nn.Module):
    """`network(images (B,3,H,W)) -> ExchOutput`.

    Args:
        backbone: any; cut at its second last tap. Both copies of the last stage start with its weights.
        bits: c.
        parts: M.
        standardise: batch norm without affine before the hash layer, see `raysearch.models.fcaenet`.
        classes: K of the anchors; 0 for a network that never exchanges.
        probability: of an exchange.
    """

    anchors: Tensor  # (K, M, C); a class that has none yet is all zeros

    def __init__(
        self,
        backbone: Backbone,
        bits: int,
        parts: int = 4,
        standardise: bool = False,
        *,
        classes: int = 0,
        probability: float = 0.5,
    ) -> None:
        super().__init__()
        if parts < 1:
            raise ValueError(f"ExchNet looks at one part at least, got parts={parts}")
        self.parts, self.probability = parts, probability
        self.stem, self.whole_stage = backbone.split()
        self.local_stage = copy.deepcopy(self.whole_stage)
        self.attention = nn.Sequential(
            nn.Conv2d(_channels(self.stem), parts, 1, bias=False),
            nn.BatchNorm2d(parts),
        )
        self.hash_layer = HashLayer((parts + 1) * backbone.channels, bits, standardise, bias=False)
        self.register_buffer("anchors", torch.zeros(classes, parts, backbone.channels))

    def forward(self, images: Tensor, labels: Tensor | None = None, drawn: Tensor | None = None) -> ExchOutput:
        """With labels (B,) and uniform numbers `drawn` (B, M), z is of exchanged features.

        Raises:
            ValueError: one of the two without the other, or a network without anchors.
        """
        if (labels is None) != (drawn is None):
            raise ValueError("an exchange needs both labels and drawn numbers")
        if drawn is not None and len(self.anchors) == 0:
            raise ValueError("a network that exchanges needs anchors: ExchNet(..., classes=K)")
        features = self.stem(images)
        scores = self.attention(features)
        maps = scores.sigmoid()
        # Part after part, not image after image: keeps the memory format of the features.
        attended = torch.cat([features * maps[:, part : part + 1] for part in range(self.parts)])
        local = pool(self.local_stage(attended)).unflatten(0, (self.parts, -1)).transpose(0, 1)
        whole = pool(self.whole_stage(features))
        seen = (
            local if drawn is None or labels is None else exchange(local, labels, self.anchors, drawn, self.probability)
        )
        with torch.autocast(images.device.type, enabled=False):
            z = self.hash_layer(torch.cat([seen.flatten(1), whole], dim=1))
        return ExchOutput(z, local, whole, maps, scores)

    def feature_map(self, images: Tensor) -> Tensor:
        """Last feature map of the global branch: (B, C, h, w)."""
        return self.whole_stage(self.stem(images))

    def from_pooled(self, pooled: Tensor) -> Tensor:
        """Outputs (B, c) of global features (B, C) alone, as a warm-up wants them: local ones count as average."""
        count = self.hash_layer.linear.in_features - pooled.shape[1]
        batch_norm = self.hash_layer.standardise
        average = pooled.new_zeros(count) if batch_norm is None else batch_norm.running_mean[:count]  # type: ignore[index]
        return self.hash_layer(torch.cat([average.expand(len(pooled), -1), pooled], dim=1))

    @torch.no_grad()
    def start_from_whole(self) -> None:
        """Let local features begin without a say, so that what a warm-up learned of the global one holds."""
        self.hash_layer.linear.weight[:, : self.parts * self.anchors.shape[2]] = 0

    def new_layers(self) -> list[nn.Module]:
        """Layers that no pretrained weights are for."""
        return [self.attention, self.hash_layer]

    @torch.no_grad()
    def update_anchors(self, sums: Tensor, counts: Tensor) -> None:
        """Take class means as anchors; a class that was not seen keeps its own.

        Args:
            sums: (K, M, C) see `class_sums`; those of several batches, or workers, are added.
            counts: (K,) images of each class.
        """
        seen = counts > 0
        self.anchors[seen] = (sums[seen] / counts[seen, None, None]).to(self.anchors)


def class_sums(local: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Local features (B, M, C) summed over each class: (K, M, C), and the images of each: (K,).

    >>> sums, counts = class_sums(torch.ones(3, 1, 2), torch.tensor([0, 0, 1]), classes=3)
    >>> sums.flatten(1).tolist(), counts.tolist()
    ([[2.0, 2.0], [1.0, 1.0], [0.0, 0.0]], [2, 1, 0])
    """
    sums = local.new_zeros(classes, *local.shape[1:]).index_add_(0, labels, local)
    return sums, torch.bincount(labels, minlength=classes)


def exchange(local: Tensor, labels: Tensor, anchors: Tensor, drawn: Tensor, probability: float = 0.5) -> Tensor:
    """Put the anchor of part and class in the place of some local features.

    Args:
        local: (B, M, C).
        labels: (B,) int64.
        anchors: (K, M, C); no gradient flows into them. Features of a class without anchor (all zeros) stay.
        drawn: (B, M) uniform numbers in [0, 1); below `probability` a feature is exchanged.

    Returns:
        (B, M, C).
    """
    known = anchors.flatten(1).any(1)[labels]
    swap = (drawn < probability) & known[:, None]
    return torch.where(swap[..., None], anchors.detach()[labels].to(local.dtype), local)


@full_precision
def spatial_diversity(scores: Tensor) -> Tensor:
    """1 - mean Hellinger distance between the attention maps of two parts, softmax over positions; 0 for one part.

    Args:
        scores: (B, M, h, w) attention before the sigmoid.

    Returns:
        Scalar in [0, 1], mean over the batch.
    """
    return (1 - _separation(scores.flatten(2))).mean()


@full_precision
def channel_diversity(local: Tensor, threshold: float = 0.4) -> Tensor:
    """max(0, threshold - mean Hellinger distance between two parts' softmax over channels); 0 for one part.

    Args:
        local: (B, M, C) local features.
        threshold: distance from which an image costs nothing.

    Returns:
        Scalar, mean over the batch.
    """
    return (threshold - _separation(local)).clamp(min=0).mean()


@full_precision
def alignment(local: Tensor, labels: Tensor, anchors: Tensor) -> Tensor:
    """Mean over images and parts of ||f_ij - anchor_{y_i, j}||; a class without anchor (all zeros) costs nothing.

    Args:
        local: (B, M, C).
        labels: (B,) int64.
        anchors: (K, M, C); no gradient flows into them.
    """
    distance = torch.linalg.vector_norm(at_least_single(local) - anchors.detach()[labels], dim=2)
    known = anchors.flatten(1).any(1)[labels]
    return torch.where(known[:, None], distance, 0).mean()


def _separation(logits: Tensor) -> Tensor:
    """Mean Hellinger distance of the softmaxes of two rows: (B, M, N) -> (B,), 1 where there is one row only.

    The distance is ||sqrt p - sqrt q|| / sqrt 2, in [0, 1]. Its slope where p = q is taken as 0.
    """
    first, second = torch.triu_indices(logits.shape[1], logits.shape[1], offset=1, device=logits.device)
    if len(first) == 0:
        return logits.new_ones(len(logits))
    # sqrt softmax without an underflow, whose root would have an infinite slope
    roots = (at_least_single(logits).log_softmax(2) / 2).exp()
    return torch.linalg.vector_norm(roots[:, first] - roots[:, second], dim=2).mean(1) / 2**0.5


def _channels(stem: nn.Module) -> int:
    """Channels of the map that the stem gives; asked of a copy, so that no statistics move."""
    device = next(stem.parameters()).device
    with torch.no_grad():
        return copy.deepcopy(stem).eval()(torch.zeros(1, 3, 64, 64, device=device)).shape[1]
