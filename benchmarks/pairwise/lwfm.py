"""LWFM-SPM (arXiv 2411.06363) in the usual form: all pairs expanded, phi once per pair, scipy once per assignment.

It implements the released options: Hungarian matching, the best match alone, the maximum over layers. The metric has
the parameters of `raysearch.models.lwfm.LayerwiseMatching` under the same names.

Legend: `E` episodes, `W` ways, `K` shots, `N` queries, `B` = E N W K pairs, `C_l` channels of a layer, `P` pixels.
"""

from collections.abc import Sequence

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from raysearch.models.fewshot import HeadOutput, Maps
from raysearch.models.precision import at_least_single


class PairwiseLayerwise(nn.Module):
    """The usual form of `raysearch.models.fewshot_heads.LwfmHead`. Arguments are those of `PairwiseMetric`."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.metric = PairwiseMetric(channels)

    def forward(self, support: Maps, query: Maps) -> HeadOutput:
        """Return logits (E,N,W) and embeddings of queries. Arguments are those of `PairwiseMetric.forward`."""
        return HeadOutput(*self.metric(support, query))


class PairwiseMetric(nn.Module):
    """Compare supports and queries layer by layer on expanded pairs.

    Args:
        channels: C_l of each layer.
        temperature: divisor of the correlations before the softmax of the votes.
        weight: weight of the matched similarity in the score.
        tau: divisor of the score.
    """

    def __init__(
        self, channels: Sequence[int], temperature: float = 5.0, weight: float = 0.25, tau: float = 0.2
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.weight = weight
        self.tau = tau
        self.residual = nn.ModuleList(map(Residual, channels))

    def forward(self, support: Maps, query: Maps) -> tuple[Tensor, Tensor]:
        """Compute logits and embeddings.

        Args:
            support: (E,W,K,C_l,h,w) per layer.
            query: (E,N,C_l,h,w) per layer.

        Returns:
            Logits (E,N,W), and the mean embeddings of queries (E,N,C), C the sum of all C_l.
        """
        episodes, ways, shots = support[0].shape[:3]
        queries = query[0].shape[1]
        channels = [maps.shape[-3] for maps in support]
        s, q = (torch.cat([at_least_single(maps).flatten(-2) for maps in side], -2) for side in (support, query))
        s = s - s.mean(-2, keepdim=True)
        q = q - q.mean(-2, keepdim=True)
        pairs = episodes, queries, ways * shots, *s.shape[-2:]
        s = s.flatten(1, 2).unsqueeze(1).expand(pairs).reshape(-1, *s.shape[-2:])
        q = q.unsqueeze(2).expand(pairs).reshape(-1, *q.shape[-2:])
        embedded = [self.embed(z_s, z_q) for z_s, z_q in zip(s.split(channels, 1), q.split(channels, 1), strict=True)]
        by_layer = [self.match(phi, e_s, e_q) for phi, (e_s, e_q) in zip(self.residual, embedded, strict=True)]
        matched = torch.stack(by_layer).amax(0).view(episodes, queries, ways, shots).mean(-1)
        g_s, g_q = (
            torch.cat(side, 1).mean(-1).view(episodes, queries, ways, shots, -1).mean(3)
            for side in zip(*embedded, strict=True)
        )
        score = nn.functional.cosine_similarity(g_s, g_q, dim=-1) + self.weight * matched
        return score / self.tau, g_q.mean(2)

    def embed(self, s: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weighted maps (B,C_l,P) of the centered maps (B,C_l,P) of pairs."""
        u_s, u_q = (z / (z.square().sum(1, keepdim=True) + 1e-6).sqrt() for z in (s, q))
        correlations = u_s.mT @ u_q
        return s * self._votes(correlations, 1).unsqueeze(1), q * self._votes(correlations, 2).unsqueeze(1)

    def _votes(self, correlations: Tensor, axis: int) -> Tensor:
        variance, mean = torch.var_mean(correlations, axis, keepdim=True)
        scores = (correlations - mean) / (variance + 1e-5).sqrt()
        return (scores / self.temperature).softmax(axis).sum(3 - axis)

    @staticmethod
    def match(phi: nn.Module, s: Tensor, q: Tensor) -> Tensor:
        """Return the similarity (B,) of the best match of each pair of maps (B,C_l,P)."""
        cost = 1 - nn.functional.normalize(s, dim=1).mT @ nn.functional.normalize(q, dim=1)
        assigned = [torch.from_numpy(linear_sum_assignment(pair_cost)[1]) for pair_cost in cost.detach().cpu().numpy()]
        columns = torch.stack(assigned).to(q.device).unsqueeze(1).expand_as(q)
        matched = q.gather(2, columns)
        return nn.functional.cosine_similarity(phi(s.mT), phi(matched.mT), dim=-1).amax(-1)


class Residual(nn.Module):
    """phi, a bottleneck of two linear layers with a residual connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // 2, bias=False)
        self.expand = nn.Linear(channels // 2, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the transformed features, in the shape of `x` (..., C_l)."""
        return x + self.expand(self.squeeze(x).relu()).relu()
