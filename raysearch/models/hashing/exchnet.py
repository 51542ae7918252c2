"""ExchNet-like: Cui, Jiang, Wei, Li and Yoshie, "ExchNet: A Unified Hashing Network for Large-Scale Fine-Grained Image
Retrieval", ECCV 2020, as far as public sources tell.

M attention maps find parts of an object on the second last feature map E. One copy of the last stage turns each E * A_j
into a local feature, another turns E into a global one. The code is tanh of a linear layer on all of them. Two terms
keep the parts apart. Local features are exchanged with the mean feature of their part and class, so that a class's
parts stay interchangeable. The hash loss is ADSH's (`raysearch.models.adsh`), with gamma 0.

A public trainer and loss confirm: M = 4, Hellinger distances over softmaxes, the threshold 0.4, both terms with weight
1, ADSH's soft similarity. The model's own file was not available, so these points are a reading of the paper:

- the attention is a 1 x 1 convolution, a batch norm (maps then have one scale on every backbone) and a sigmoid;
- the softmax over positions is of the scores before the sigmoid, the one over channels of the pooled local features;
- one copy of the last stage serves all parts, and the layer of the code has no bias;
- anchors are means over a pass through the sample; each (image, part) is exchanged independently with probability 0.5.

Nothing here draws random numbers. The caller decides when to exchange (that trainer: after 50 iterations).
Legend: `B` batch, `M` parts, `C` channels of the last tap, `h` and `w` of the second last, `K` classes, `c` bits.
"""

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from raysearch.models import backbones, fcaenet, precision
from raysearch.models import class_sums as sums_by_class


class ExchOutput(NamedTuple):
    """Output of the network for a batch."""

    z: Tensor  # (B, c) before tanh, float32
    local: Tensor  # (B, M, C) local features as the network saw them, before any exchange, float32
    whole: Tensor  # (B, C) global feature, float32
    maps: Tensor  # (B, M, h, w) attention in (0, 1)
    scores: Tensor  # (B, M, h, w) attention before the sigmoid


class ExchNet(nn.Module):
    """Maps images (B, 3, H, W) to an `ExchOutput`.

    Args:
        backbone: any; cut at its second last tap. Both copies of the last stage start with its weights.
        bits: c.
        parts: M.
        standardise: batch norm without affine before the hash layer, see `raysearch.models.fcaenet`.
        classes: K of the anchors; 0 for a network that never exchanges.
        probability: the probability of an exchange.

    Raises:
        ValueError: no part.
    """

    anchors: Tensor  # (K, M, C); all zeros for a class without anchor

    def __init__(
        self,
        backbone: backbones.Backbone,
        bits: int,
        parts: int = 4,
        standardise: bool = False,
        *,
        classes: int = 0,
        probability: float = 0.5,
    ) -> None:
        super().__init__()
        if parts < 1:
            raise ValueError(f"ExchNet needs at least one part, got parts={parts}")
        self.parts = parts
        self.probability = probability
        self.stem, self.whole_stage = backbone.split()
        self.local_stage = copy.deepcopy(self.whole_stage)
        self.attention = nn.Sequential(
            nn.Conv2d(_channels(self.stem), parts, 1, bias=False),
            nn.BatchNorm2d(parts),
        )
        self.hash_layer = fcaenet.HashLayer((parts + 1) * backbone.channels, bits, standardise, bias=False)
        self.register_buffer("anchors", torch.zeros(classes, parts, backbone.channels))

    def forward(self, images: Tensor, labels: Tensor | None = None, drawn: Tensor | None = None) -> ExchOutput:
        """Compute codes, features and maps. With labels and random numbers, features are exchanged before the code.

        Args:
            images: (B, 3, H, W).
            labels: (B,) int64.
            drawn: (B, M) uniform numbers, with `labels`.

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
        # Parts are in the outer order, which keeps the memory format of the features.
        attended = torch.cat([features * maps[:, part : part + 1] for part in range(self.parts)])
        local = fcaenet.pool(self.local_stage(attended)).unflatten(0, (self.parts, -1)).transpose(0, 1)
        whole = fcaenet.pool(self.whole_stage(features))
        exchanged = local
        if drawn is not None and labels is not None:
            exchanged = exchange(local, labels, self.anchors, drawn, self.probability)
        with torch.autocast(images.device.type, enabled=False):
            z = self.hash_layer(torch.cat([exchanged.flatten(1), whole], dim=1))
        return ExchOutput(z, local, whole, maps, scores)

    def feature_map(self, images: Tensor) -> Tensor:
        """Return the last feature map of the global branch: (B, C, h, w)."""
        return self.whole_stage(self.stem(images))

    def from_pooled(self, pooled: Tensor) -> Tensor:
        """Return outputs (B, c) for global features (B, C) alone, for a warm-up: local features count as average."""
        count = self.hash_layer.linear.in_features - pooled.shape[1]
        batch_norm = self.hash_layer.standardise
        average = pooled.new_zeros(count) if batch_norm is None else batch_norm.running_mean[:count]  # type: ignore[index]
        return self.hash_layer(torch.cat([average.expand(len(pooled), -1), pooled], dim=1))

    @torch.no_grad()
    def start_from_whole(self) -> None:
        """Set the weights of local features to zero, so that what a warm-up learned of the global one stays valid."""
        self.hash_layer.linear.weight[:, : self.parts * self.anchors.shape[2]] = 0

    def new_layers(self) -> list[nn.Module]:
        """Return the layers that have no pretrained weights."""
        return [self.attention, self.hash_layer]

    @torch.no_grad()
    def update_anchors(self, sums: Tensor, counts: Tensor) -> None:
        """Replace the anchors by class means; a class without images keeps its anchor.

        Args:
            sums: (K, M, C), see `class_sums`, added over batches and workers.
            counts: (K,) images of each class.
        """
        means = (sums / counts[:, None, None].clamp(min=1)).to(self.anchors)
        self.anchors.copy_(torch.where(counts[:, None, None] > 0, means, self.anchors))


def class_sums(local: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Return local features (B, M, C) summed over each class: (K, M, C), and the number of images of each: (K,).

    >>> sums, counts = class_sums(torch.ones(3, 1, 2), torch.tensor([0, 0, 1]), classes=3)
    >>> sums.flatten(1).tolist(), counts.tolist()
    ([[2.0, 2.0], [1.0, 1.0], [0.0, 0.0]], [2, 1, 0])
    """
    return sums_by_class.class_sums(local, labels, classes), sums_by_class.class_counts(labels, classes)


def exchange(local: Tensor, labels: Tensor, anchors: Tensor, drawn: Tensor, probability: float = 0.5) -> Tensor:
    """Replace some local features by the anchor of their part and class.

    Args:
        local: (B, M, C).
        labels: (B,) int64.
        anchors: (K, M, C); no gradient flows into them. Features of a class without anchor (all zeros) stay.
        drawn: (B, M) uniform numbers in [0, 1).
        probability: the probability of an exchange: a feature with a smaller number is exchanged.

    Returns:
        (B, M, C).
    """
    known = anchors.flatten(1).any(1)[labels]
    swap = (drawn < probability) & known[:, None]
    return torch.where(swap[..., None], anchors.detach()[labels].to(local.dtype), local)


@precision.full_precision
def spatial_diversity(scores: Tensor) -> Tensor:
    """Return 1 - mean Hellinger distance of two parts' attention maps, softmax over positions; 0 for a single part.

    Args:
        scores: (B, M, h, w) attention before the sigmoid.

    Returns:
        Scalar in [0, 1], mean over the batch.
    """
    return (1 - _separation(scores.flatten(2))).mean()


@precision.full_precision
def channel_diversity(local: Tensor, threshold: float = 0.4) -> Tensor:
    """Return max(0, threshold - mean Hellinger distance between two parts' softmax over channels); 0 for one part.

    Args:
        local: (B, M, C) local features.
        threshold: distance from which the loss of an image is 0.

    Returns:
        Scalar, mean over the batch.
    """
    return (threshold - _separation(local)).clamp(min=0).mean()


@precision.full_precision
def alignment(local: Tensor, labels: Tensor, anchors: Tensor) -> Tensor:
    """Return the mean over images and parts of ||f_ij - anchor_{y_i, j}||; 0 for a class without anchor (all zeros).

    Args:
        local: (B, M, C).
        labels: (B,) int64.
        anchors: (K, M, C); no gradient flows into them.
    """
    distance = torch.linalg.vector_norm(precision.at_least_single(local) - anchors.detach()[labels], dim=2)
    known = anchors.flatten(1).any(1)[labels]
    return torch.where(known[:, None], distance, 0).mean()


def _separation(logits: Tensor) -> Tensor:
    """Return the mean Hellinger distance of the softmaxes of two rows: (B, M, N) to (B,); 1 for a single row.

    The distance is ||sqrt p - sqrt q|| / sqrt 2, in [0, 1]. Its gradient at p = q is 0.
    """
    first, second = torch.triu_indices(logits.shape[1], logits.shape[1], offset=1, device=logits.device)
    if len(first) == 0:
        return logits.new_ones(len(logits))
    # The root of the softmax, without an underflow: the gradient of its root would be infinite.
    roots = (precision.at_least_single(logits).log_softmax(2) / 2).exp()
    return torch.linalg.vector_norm(roots[:, first] - roots[:, second], dim=2).mean(1) / 2**0.5


def _channels(stem: nn.Module) -> int:
    """Return the channels of the stem's map. A copy computes it, so that no statistics change."""
    device = next(stem.parameters()).device
    with torch.no_grad():
        return copy.deepcopy(stem).eval()(torch.zeros(1, 3, 64, 64, device=device)).shape[1]
