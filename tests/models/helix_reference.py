"""HelixFormer written once more, slowly: every pair apart, lists in place of batches, attention maps laid out.

Works from the state of a `HelixFormer`. Maps are (C,H,W); what a function calls `pairs` is a list of one map for each
episode, query and support, in this order. Batch norm goes over all of them.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

TARGETS = {
    "q2s": ["support"],
    "s2q": ["query"],
    "s_then_q": ["query", "support"],
    "q_then_s": ["support", "query"],
}

Pairs = list[Tensor]


@dataclass
class Reference:
    """`Reference(state, ...)(support (E,S,C,H,W), query (E,Q,C,H,W)) -> supports' and queries' (E,Q,S,C',H,W)`.

    `statistics` holds the running statistics after a call in training mode.
    """

    state: dict[str, Tensor]
    depth: int
    heads: int
    design: str
    fusion: str
    rep: bool
    rmp: bool
    kv_stride: int
    training: bool = True
    statistics: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        every = [(e, q, s) for e in range(len(query)) for q in range(query.shape[1]) for s in range(support.shape[1])]
        sides = {
            "support": [self.embed("support_embedding", support[e, s]) for e, _, s in every],
            "query": [self.embed("query_embedding", query[e, q]) for e, q, _ in every],
        }
        for index in range(self.depth):
            sides = self.layer(f"layers.{index}", sides)
        shape = (len(query), query.shape[1], support.shape[1])
        return torch.stack(sides["support"]).unflatten(0, shape), torch.stack(sides["query"]).unflatten(0, shape)

    def layer(self, name: str, sides: dict[str, Pairs]) -> dict[str, Pairs]:
        if not self.rmp:
            updated = TARGETS.get(self.design, list(sides))
            return {side: self.rest(f"{name}.{side}", p) if side in updated else p for side, p in sides.items()}
        if self.design == "sym":
            normed = {side: [self.norm(f"{name}.{side}_norm", x) for x in p] for side, p in sides.items()}
            return {
                side: self.direction(f"{name}.{side}", sides[side], normed[side], normed[other])
                for side, other in (("support", "query"), ("query", "support"))
            }
        targets = TARGETS[self.design]
        names = [name] if len(targets) == 1 else [f"{name}.first", f"{name}.second"]
        for stage, target in zip(names, targets, strict=True):
            source = "query" if target == "support" else "support"
            asking = [self.norm(f"{stage}.target_norm", x) for x in sides[target]]
            answering = [self.norm(f"{stage}.source_norm", x) for x in sides[source]]
            sides = sides | {target: self.direction(f"{stage}.direction", sides[target], asking, answering)}
        return sides

    def direction(self, name: str, features: Pairs, asking: Pairs, answering: Pairs) -> Pairs:
        questions = self.project(f"{name}.mining.ask", asking, 1)
        answers = self.project(f"{name}.mining.answer", answering, self.kv_stride)
        fused = []
        for f, e, kv in zip(features, questions, answers, strict=True):
            m = self.pointwise(f"{name}.mining.out", self.attend(e, *kv.chunk(2)))
            fused.append({"mul": f * m, "add": f + m, "mul_res": f + f * m}[self.fusion])
        return self.rest(f"{name}.enhancement", fused)

    def attend(self, e: Tensor, k: Tensor, v: Tensor) -> Tensor:
        mined = []
        for eh, kh, vh in zip(e.chunk(self.heads), k.chunk(self.heads), v.chunk(self.heads), strict=True):
            scores = eh.flatten(1).T @ kh.flatten(1) / math.sqrt(len(eh))
            weights = scores.exp() / scores.exp().sum(1, keepdim=True)
            mined.append((weights @ vh.flatten(1).T).T)
        return torch.cat(mined).view(e.shape)

    def rest(self, name: str, pairs: Pairs) -> Pairs:
        return [self.enhance(name, x) for x in pairs] if self.rep else pairs

    def enhance(self, name: str, x: Tensor) -> Tensor:
        hidden = self.pointwise(f"{name}.network.0", self.norm(f"{name}.norm", x))
        hidden = 0.5 * hidden * (1 + torch.erf(hidden / math.sqrt(2)))
        return x + self.pointwise(f"{name}.network.3", hidden)

    def embed(self, name: str, x: Tensor) -> Tensor:
        weight = self.state[f"{name}.convolution.weight"]
        x = conv2d(x[None], weight, self.state[f"{name}.convolution.bias"], padding=weight.shape[-1] // 2)[0]
        return self.norm(f"{name}.norm", x)

    def project(self, name: str, pairs: Pairs, stride: int) -> Pairs:
        weight = self.state[f"{name}.depthwise.weight"]
        convolved = []
        for x in pairs:
            around, (_, height, width) = pad(x, (1, 1, 1, 1)), x.shape
            shifts = [(i, j) for i in range(3) for j in range(3)]
            moved = [weight[:, :, i, j, None] * around[:, i : i + height, j : j + width] for i, j in shifts]
            convolved.append(sum(moved[1:], moved[0])[:, ::stride, ::stride])
        return [self.pointwise(f"{name}.pointwise", x) for x in self.batch_norm(f"{name}.norm", convolved)]

    def batch_norm(self, name: str, pairs: Pairs) -> Pairs:
        mean, variance = self.state[f"{name}.running_mean"], self.state[f"{name}.running_var"]
        if self.training:
            rows = len(pairs) * pairs[0][0].numel()
            old = mean, variance
            mean = sum(x.sum((1, 2)) for x in pairs) / rows
            variance = sum((x - mean[:, None, None]).square().sum((1, 2)) for x in pairs) / rows
            new = mean.detach(), variance.detach() * rows / (rows - 1)
            for key, before, batch in zip(("running_mean", "running_var"), old, new, strict=True):
                self.statistics[f"{name}.{key}"] = 0.9 * before + 0.1 * batch
            self.statistics[f"{name}.num_batches_tracked"] = self.state[f"{name}.num_batches_tracked"] + 1
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        factor = weight / (variance + 1e-5).sqrt()
        return [(x - mean[:, None, None]) * factor[:, None, None] + bias[:, None, None] for x in pairs]

    def norm(self, name: str, x: Tensor) -> Tensor:
        mean = x.sum(0) / len(x)
        deviation = ((x - mean).square().sum(0) / len(x) + 1e-12).sqrt()
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        return (x - mean) / (deviation + 1e-5) * weight[:, None, None] + bias[:, None, None]

    def pointwise(self, name: str, x: Tensor) -> Tensor:
        y = torch.einsum("oc,chw->ohw", self.state[f"{name}.weight"][:, :, 0, 0], x)
        bias = self.state.get(f"{name}.bias")
        return y if bias is None else y + bias[:, None, None]


def head_scores(state: dict[str, Tensor], supports: Tensor, queries: Tensor, training: bool = True) -> Tensor:
    """Relation scores (...) of pairs of maps (...,C,H,W), from the state of a `RelationHead`: maps put together."""
    x = torch.cat((supports, queries), -3).flatten(0, -4)
    padding = 0 if x.shape[-1] >= 10 else 1
    for convolution, norm in (("compare", "compare_norm"), ("block.0", "block.1")):
        x = conv2d(x, state[f"{convolution}.weight"], state[f"{convolution}.bias"], padding=padding)
        mean, variance = state[f"{norm}.running_mean"], state[f"{norm}.running_var"]
        if training:
            mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
        factor = state[f"{norm}.weight"] / (variance + 1e-5).sqrt()
        x = (x - mean[:, None, None]) * factor[:, None, None] + state[f"{norm}.bias"][:, None, None]
        x = x.clamp(min=0)
        x = x[..., : x.shape[-2] // 2 * 2, : x.shape[-1] // 2 * 2]
        x = torch.stack([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]).amax(0)
    x = (x.flatten(1) @ state["score.1.weight"].T + state["score.1.bias"]).clamp(min=0)
    x = x @ state["score.3.weight"].T + state["score.3.bias"]
    return x.view(supports.shape[:-3])
