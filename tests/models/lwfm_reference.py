"""LWFM-SPM a second time, as its formulas read: pair by pair, weighted maps built, phi after them."""

from collections.abc import Sequence

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from raysearch.models.lwfm import MetricOutput, PixelMetric, ResidualMap

Image = list[Tensor]  # (C_l, P) by layer


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return a @ b / (a.norm().clamp(min=1e-12) * b.norm().clamp(min=1e-12))


def centre(image: Image) -> Image:
    """Pixel by pixel, less the mean over all layers' channels."""
    mean = torch.cat(image).mean(0)
    return [layer - mean for layer in image]


def embed(s: Image, q: Image, temperature: float) -> tuple[Image, Image]:
    """e_s and e_q of centred images."""
    e_s, e_q = [], []
    for z_s, z_q in zip(s, q, strict=True):
        u_s, u_q = (z / (z.square().sum(0) + 1e-6).sqrt() for z in (z_s, z_q))
        pixels = z_s.shape[1]
        r = torch.stack([torch.stack([u_s[:, i] @ u_q[:, j] for j in range(pixels)]) for i in range(pixels)])
        down = [softmax_of_zscore(r[:, j], temperature) for j in range(pixels)]
        across = [softmax_of_zscore(r[i], temperature) for i in range(pixels)]
        e_s.append(z_s * torch.stack(down).sum(0))
        e_q.append(z_q * torch.stack(across).sum(0))
    return e_s, e_q


def softmax_of_zscore(values: Tensor, temperature: float) -> Tensor:
    exponentials = ((values - values.mean()) / (values.var() + 1e-5).sqrt() / temperature).exp()
    return exponentials / exponentials.sum()


def phi(residual: ResidualMap | None, x: Tensor) -> Tensor:
    if residual is None:
        return x
    w1, w2 = residual.squeeze.weight, residual.expand.weight
    return x + torch.relu(w2 @ torch.relu(w1 @ x))


def matches(cost: Tensor, matcher: str) -> list[tuple[int, int]]:
    """Pairs of support and query pixel."""
    n = len(cost)
    if matcher == "hungarian":
        return [(int(i), int(j)) for i, j in zip(*linear_sum_assignment(cost.detach().numpy()), strict=True)]
    values = cost.tolist()
    query_of = [min(range(n), key=row.__getitem__) for row in values]
    support_of = [min(range(n), key=[row[j] for row in values].__getitem__) for j in range(n)]
    if matcher == "nearest":
        return [(support_of[j], j) for j in range(n)]
    return [(i, query_of[i]) for i in range(n) if support_of[query_of[i]] == i]


def sinkhorn_plan(cost: Tensor, eps: float, iterations: int) -> Tensor:
    plan = (-cost / eps).exp()
    for _ in range(iterations):
        plan = plan / plan.sum(0)
        plan = plan / plan.sum(1)[:, None]
    return plan


def layer_score(e_s: Tensor, e_q: Tensor, residual: ResidualMap | None, options: dict) -> Tensor:
    """SPM of one layer (C_l, P) of one pair."""
    pixels = e_s.shape[1]

    def table(value) -> Tensor:
        return torch.stack([torch.stack([value(i, j) for j in range(pixels)]) for i in range(pixels)])

    def similarity(i: int, j: int) -> Tensor:
        return cosine(phi(residual, e_s[:, i]), phi(residual, e_q[:, j]))

    cost = table(lambda i, j: 1 - cosine(e_s[:, i], e_q[:, j]))
    if options["matcher"] == "sinkhorn":
        plan = sinkhorn_plan(cost, options["sinkhorn_eps"], options["sinkhorn_iterations"])
        similarities = list((plan * table(similarity)).sum(1))
    else:
        similarities = [similarity(i, j) for i, j in matches(cost, options["matcher"])]
    count = {"top1": 1, "topk": options["k"], "mean": pixels}[options["reduce"]]
    return torch.stack(sorted(similarities, key=Tensor.item)[-count:]).mean()


def pair_score(e_s: Image, e_q: Image, metric: PixelMetric, options: dict) -> Tensor:
    residuals: Sequence = [None] * len(e_s) if metric.residual is None else list(metric.residual)
    layers = [layer_score(*each, options) for each in zip(e_s, e_q, residuals, strict=True)]
    return max(layers, key=Tensor.item) if options["layers"] == "max" else torch.stack(layers).mean()


def slow_matching(metric: PixelMetric, options: dict, pairs: list, channels: int) -> MetricOutput:
    """Of `pairs[episode][query][way][shot]`, each the two images of a pair."""
    logits, embeddings = [], []
    for episode in pairs:
        for query in episode:
            g_q_by_way = []
            for way in query:
                g_s, g_q, score = [], [], []
                for support_image, query_image in way:
                    e_s, e_q = centre(support_image), centre(query_image)
                    if options["lwe"]:
                        e_s, e_q = embed(e_s, e_q, options["temperature"])
                    g_s.append(torch.cat(e_s).mean(1))
                    g_q.append(torch.cat(e_q).mean(1))
                    if options["weight"]:
                        score.append(pair_score(e_s, e_q, metric, options))
                mean_s, mean_q = torch.stack(g_s).mean(0), torch.stack(g_q).mean(0)
                logit = cosine(mean_s, mean_q)
                if options["weight"]:
                    logit = logit + options["weight"] * torch.stack(score).mean()
                logits.append(logit / options["tau"])
                g_q_by_way.append(mean_q)
            embeddings.append(torch.stack(g_q_by_way).mean(0))
    shape = (len(pairs), len(pairs[0]))
    return MetricOutput(torch.stack(logits).view(*shape, -1), torch.stack(embeddings).view(*shape, channels))


def image_pairs(support: list[Tensor], query: list[Tensor]) -> list:
    """Of maps of images, as `LayerwiseMatching` takes them."""
    episodes, ways, shots = support[0].shape[:3]
    return [
        [
            [
                [([x[e, w, k].flatten(1) for x in support], [x[e, n].flatten(1) for x in query]) for k in range(shots)]
                for w in range(ways)
            ]
            for n in range(query[0].shape[1])
        ]
        for e in range(episodes)
    ]


def own_pairs(support: list[Tensor], query: list[Tensor], shots: int) -> list:
    """Of maps of pairs, as `PairMatching` takes them."""
    episodes, queries, supports = support[0].shape[:3]
    return [
        [
            [
                [tuple([x[e, n, s].flatten(1) for x in side] for side in (support, query)) for s in range(w, w + shots)]
                for w in range(0, supports, shots)
            ]
            for n in range(queries)
        ]
        for e in range(episodes)
    ]


def slopes(matched: MetricOutput, seed: int, inputs: list[Tensor]) -> list[Tensor | None]:
    """Gradients of a random sum of all outputs."""
    draw = torch.Generator().manual_seed(seed)
    weights = [torch.randn(each.shape, generator=draw, dtype=torch.float64) for each in matched]
    return list(torch.autograd.grad(tuple(matched), inputs, weights, allow_unused=True))


def assert_same(actual: MetricOutput, expected: MetricOutput, inputs: list[Tensor]) -> None:
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)
    for fast, slow in zip(slopes(actual, 0, inputs), slopes(expected, 0, inputs), strict=True):
        if slow is None:  # of a layer that was never the largest
            assert fast is None or not fast.any()
        else:
            assert fast is not None
            assert (fast - slow).norm() <= 1e-9 * slow.norm() + 1e-12
