"""The few-shot methods written once more, slowly: every pair of images apart, from the papers' formulas.

Legend: `E` episodes, `W` ways, `K` shots, `N` queries of an episode, `C` channels, `P` pixels of a pooled map.
"""

from collections.abc import Mapping
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import conv2d

from raysearch.studies.configs import FewshotConfig

from ...models.helix_reference import Reference as Helix
from ...models.helix_reference import head_scores

SLOPES = {"one": 0.0, "two": 0.1}  # of the backbone's activations below zero


class Methods:
    """Args:
    config: of the run.
    state: of its network, of which copies are taken.
    """

    def __init__(self, config: FewshotConfig, state: Mapping[str, Tensor]) -> None:
        self.config, self.frozen = config, config.model.frozen
        self.values = {name: value.detach().clone() for name, value in state.items()}

    def backbone(self, x: Tensor, training: bool = True) -> list[Tensor]:
        maps = []
        for block, slope in SLOPES.items():
            name = f"trunk.body.{block}"
            x = conv2d(x, self.values[f"{name}.0.weight"], stride=2, padding=1)
            x = self.normed(f"{name}.1", x, training and not self.frozen)
            x = torch.where(x > 0, x, slope * x)
            maps.append(x)
        return maps

    def normed(self, name: str, x: Tensor, training: bool) -> Tensor:
        mean, variance = self.values[f"{name}.running_mean"], self.values[f"{name}.running_var"]
        if training:
            count = x.numel() // x.shape[1]
            batch = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
            self.values[f"{name}.running_mean"] = (0.9 * mean + 0.1 * batch[0]).detach()
            self.values[f"{name}.running_var"] = (0.9 * variance + 0.1 * batch[1] * count / (count - 1)).detach()
            mean, variance = batch
        scaled = (x - mean.view(-1, 1, 1)) / (variance.view(-1, 1, 1) + 1e-5).sqrt()
        return scaled * self.values[f"{name}.weight"].view(-1, 1, 1) + self.values[f"{name}.bias"].view(-1, 1, 1)

    def taken(self, maps: list[Tensor]) -> list[Tensor]:
        """The taps that the method compares, on its grid."""
        if self.config.model.method != "lwfm":
            return maps[-1:]
        return [pooled(maps[tap]) for tap in self.config.lwe.layers]

    def logits(self, support: list[Tensor], query: list[Tensor], training: bool) -> tuple[Tensor, Tensor | None]:
        """Of all taps' maps, (E,W,K,C,h,w) and (E,N,C,h,w): (E,N,W), and for LWFM-SPM embeddings (E,N,C)."""
        support, query, method = self.taken(support), self.taken(query), self.config.model.method
        of_support, of_query = support[-1], query[-1]
        episodes, ways, shots = of_support.shape[:3]
        count = of_query.shape[1]
        if method == "centroid":
            centres, points = of_support.mean((2, 4, 5)), of_query.mean((3, 4))
            return torch.stack([self.near(points[e], centres[e]) for e in range(episodes)]), None
        if method == "relation":
            shape = (episodes, count, ways, *of_query.shape[2:])
            pair = of_support.mean(2)[:, None].expand(shape), of_query[:, :, None].expand(shape)
            return self.head(*pair, training), None
        if method in ("helixformer", "helix_lwfm"):
            pair = self.helix(of_support.flatten(1, 2), of_query, training)  # (E,N,WK,C,H,W)
            if method == "helixformer":
                return self.head(*pair, training).view(episodes, count, ways, shots).mean(3), None
            pairs = [[[pooled(side[e, n, s]) for side in pair] for s in range(ways * shots)]
                     for e in range(episodes) for n in range(count)]  # fmt: skip
        else:
            pairs = [[[[tap[e, w, k] for tap in support], [tap[e, n] for tap in query]]
                      for w in range(ways) for k in range(shots)]
                     for e in range(episodes) for n in range(count)]  # fmt: skip
        answers = [self.matched(query_pairs, ways, shots) for query_pairs in pairs]
        stacked = (torch.stack([answer[part] for answer in answers]) for part in (0, 1))
        logits, embedded = (part.view(episodes, count, -1) for part in stacked)
        return logits, embedded

    def near(self, points: Tensor, centres: Tensor) -> Tensor:
        if self.config.centroid.distance == "euclidean":
            return torch.stack([torch.stack([-((p - c) ** 2).sum() for c in centres]) for p in points])
        scale = self.values["comparer.scale"]
        return torch.stack([torch.stack([scale * cosine(p, c) for c in centres]) for p in points])

    def head(self, supports: Tensor, queries: Tensor, training: bool) -> Tensor:
        if self.config.head.kind == "relation":
            return head_scores(self.part("comparer.head."), supports, queries, training)
        means = supports.mean((-2, -1)), queries.mean((-2, -1))
        flat = [cosine(s, q) for s, q in zip(*(side.flatten(0, -2) for side in means), strict=True)]
        return self.values["comparer.head.scale"] * torch.stack(flat).view(supports.shape[:-3])

    def helix(self, support: Tensor, query: Tensor, training: bool) -> tuple[Tensor, Tensor]:
        section = self.config.helix
        options: dict[str, Any] = {name: getattr(section, name) for name in
                                   ("depth", "heads", "design", "fusion", "rep", "rmp", "kv_stride")}  # fmt: skip
        module = Helix(self.part("comparer.helix."), **options, training=training)
        outcome = module(support, query)
        self.values |= {f"comparer.helix.{name}": value for name, value in module.statistics.items()}
        return outcome

    def part(self, prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in self.values.items() if name.startswith(prefix)}

    def matched(self, pairs: Any, ways: int, shots: int) -> tuple[Tensor, Tensor]:
        """A query's logits (W), and its embedding (C), from its pairs of lists of layers (C_l,h,w), way by way."""
        spm, logits, of_query = self.config.spm, [], []
        for way in range(ways):
            sums_s, sums_q, scores = [], [], []
            for support, query in pairs[way * shots : (way + 1) * shots]:
                weighted = self.weighted(as_list(support), as_list(query))
                sums_s.append(torch.cat([s.mean(0) for s, _ in weighted]))
                sums_q.append(torch.cat([q.mean(0) for _, q in weighted]))
                scores.append(self.pixelwise(weighted))
            g_s, g_q = sum(sums_s) / shots, sum(sums_q) / shots
            assert isinstance(g_s, Tensor)
            assert isinstance(g_q, Tensor)
            of_query.append(g_q)
            logits.append((cosine(g_s, g_q) + spm.weight * sum(scores) / shots) / self.config.lwfm.tau)
        return torch.stack(logits), torch.stack(of_query).mean(0)

    def weighted(self, support: list[Tensor], query: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Layer-wise embedding of one pair: of each layer e_s and e_q, (P,C_l)."""
        channels = sum(len(maps) for maps in support)
        sides = []
        for layers in (support, query):
            flat = [maps.flatten(1).T for maps in layers]
            mean = sum(vectors.sum(1) for vectors in flat) / channels  # over all layers
            sides.append([vectors - mean[:, None] for vectors in flat])  # type: ignore[index]
        embedded = []
        for z_s, z_q in zip(*sides, strict=True):
            u_s, u_q = (z / (z.square().sum(1, keepdim=True) + 1e-6).sqrt() for z in (z_s, z_q))
            attention = []
            for axis in (0, 1):
                R = u_s @ u_q.T
                z = (R - R.mean(axis, keepdim=True)) / (R.var(axis, keepdim=True) + 1e-5).sqrt()
                attention.append((z / self.config.lwe.temperature).softmax(axis).sum(1 - axis))
            embedded.append((attention[0][:, None] * z_s, attention[1][:, None] * z_q))
        return embedded

    def pixelwise(self, weighted: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Semantic-pixel matching of one pair."""
        spm, layers = self.config.spm, []
        for index, (e_s, e_q) in enumerate(weighted):
            cost = [[1 - cosine(s, q).item() for q in e_q] for s in e_s]
            _, columns = linear_sum_assignment(cost)
            name = f"comparer.metric.residual.{index}"
            squeeze, expand = self.values[f"{name}.squeeze.weight"], self.values[f"{name}.expand.weight"]

            def phi(x: Tensor, squeeze: Tensor = squeeze, expand: Tensor = expand) -> Tensor:
                return x + (expand @ (squeeze @ x).clamp(min=0)).clamp(min=0)

            m = torch.stack([cosine(phi(s), phi(e_q[j])) for s, j in zip(e_s, columns.tolist(), strict=True)])
            layers.append(m.max() if spm.reduce == "top1" else m.mean())
        return torch.stack(layers).max() if spm.layers == "max" else torch.stack(layers).mean()


def pooled(maps: Tensor) -> Tensor:
    """To 2 x 2 pixels."""
    half = maps.shape[-1] // 2
    rows = (maps[..., :half, :].mean(-2), maps[..., half:, :].mean(-2))
    return torch.stack([torch.stack([row[..., :half].mean(-1), row[..., half:].mean(-1)], -1) for row in rows], -2)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b) / ((a @ a).sqrt() * (b @ b).sqrt())


def as_list(layers: Any) -> list[Tensor]:
    return [layers] if isinstance(layers, Tensor) else layers
