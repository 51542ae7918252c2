"""Few-shot training written once more, slowly: rows, views, losses, rates, clipping and steps by their formulas."""

import math

import numpy as np
import torch
from torch import Tensor

from raysearch.data.episodes import episode
from raysearch.data.feed import ImageSet, uniforms
from raysearch.tasks.common import generator
from raysearch.tasks.fewshot.task import FewshotTask

from .fewshot_methods import Methods


class Reference(Methods):
    """The run of a task that has not begun. Call `epoch` for each epoch, or `logits` in evaluation.

    Args:
        task: whose config, images and first parameters are taken.
    """

    def __init__(self, task: FewshotTask) -> None:
        super().__init__(task.config, task.network.state_dict())
        self.images, self.seed = task.worker.feed.train, task.seed
        self.learned = {name: self.values[name].requires_grad_() for name, p in task.network.named_parameters()
                        if not (self.frozen and name.startswith("trunk."))}  # fmt: skip
        self.memory: dict[str, dict[str, Tensor]] = {name: {} for name in self.learned}
        self.steps = 0

    def epoch(self, number: int) -> dict[str, float]:
        """Means over episodes of the losses and of the accuracy."""
        train = self.config.train
        rate = train.lr
        for milestone in train.milestones:
            rate *= train.decay if number >= milestone * train.epochs else 1
        sums: dict[str, float] = {}
        for first in range(0, train.episodes, train.batch):
            count = min(train.batch, train.episodes - first)
            for name, value in self.step(number, first, count, rate).items():
                sums[name] = sums.get(name, 0.0) + count * value
        return {name: value / train.episodes for name, value in sums.items()}

    def step(self, number: int, first: int, count: int, rate: float) -> dict[str, float]:
        config, labels = self.config.episodes, self.images.labels
        sizes = (config.ways, config.shots, config.queries)
        at = number * self.config.train.episodes + first
        drawn = [episode(labels, index, self.seed, *sizes) for index in range(at, at + count)]
        supports, queries = (torch.from_numpy(np.stack([pair[side] for pair in drawn])) for side in (0, 1))
        draws = generator(self.seed, number, first)
        sides = [(0, supports.flatten(1)), (1, queries.flatten(1))]
        maps = self.backbone(
            torch.cat([self.view(side, at + e, rows[e]) for side, rows in sides for e in range(count)])
        )
        shapes = ((count, config.ways, config.shots), (count, config.ways * config.queries))
        cut = supports.numel()
        support = [tap[:cut].view(*shapes[0], *tap.shape[1:]) for tap in maps]
        query = [tap[cut:].view(*shapes[1], *tap.shape[1:]) for tap in maps]
        logits, embedded = self.logits(support, query, training=True)
        names = [n // config.queries for n in range(shapes[1][1])]
        one_loss = -sum(logits[e, n].log_softmax(0)[name] for e in range(count) for n, name in enumerate(names))
        losses = {"loss": one_loss / (count * len(names))}
        if "classifier.weight" in self.values:
            losses = self.auxiliary(losses["loss"], embedded, queries, at, draws)
        right = sum(int(logits[e, n].argmax()) == name for e in range(count) for n, name in enumerate(names))
        self.descend(losses["loss"], rate)
        return {k: v.item() for k, v in losses.items()} | {"accuracy_train": right / (count * len(names))}

    def auxiliary(
        self, loss: Tensor, embedded: Tensor | None, queries: Tensor, at: int, draws: torch.Generator
    ) -> dict[str, Tensor]:
        """lambda CE(episode) + CE(queries among the base classes) + CE(an ordinary batch among them)."""
        assert embedded is not None
        base = sorted(set(self.images.labels.tolist()))

        def entropy(vectors: Tensor, rows: Tensor) -> Tensor:
            logits = vectors @ self.values["classifier.weight"].T + self.values["classifier.bias"]
            named = [base.index(self.images.labels[row]) for row in rows.flatten().tolist()]
            return -sum(row.log_softmax(0)[name] for row, name in zip(logits, named, strict=True)) / len(named)  # type: ignore[return-value]

        ordinary = torch.randint(len(self.images), (self.config.lwfm.aux_batch,), generator=draws)
        taken = self.taken(self.backbone(self.view(2, at, ordinary)))
        pooled = torch.cat([tap.mean((2, 3)) for tap in taken], dim=1)
        query, batch = entropy(embedded.flatten(0, 1), queries), entropy(pooled, ordinary)
        whole = self.config.lwfm.episode_weight * loss + query + batch
        return {"loss": whole, "loss_episode": loss, "loss_query": query, "loss_batch": batch}

    def descend(self, loss: Tensor, rate: float) -> None:
        """SGD with Nesterov's momentum, or Adam, of the clipped gradient with weight decay."""
        train, self.steps = self.config.train, self.steps + 1
        slopes = torch.autograd.grad(loss, list(self.learned.values()), allow_unused=True)
        gradients = {name: slope for name, slope in zip(self.learned, slopes, strict=True) if slope is not None}
        norm = math.sqrt(sum(float(slope.square().sum()) for slope in gradients.values()))
        factor = min(1.0, train.clip / (norm + 1e-6)) if train.clip else 1.0
        with torch.no_grad():
            for name, gradient in gradients.items():
                value, memory = self.learned[name], self.memory[name]
                slope = gradient * factor + train.weight_decay * value
                if train.optimiser == "sgd":
                    memory["v"] = train.momentum * memory["v"] + slope if memory else slope
                    value -= rate * (slope + train.momentum * memory["v"])
                    continue
                memory["m"] = 0.9 * memory.get("m", 0 * slope) + 0.1 * slope
                memory["s"] = 0.999 * memory.get("s", 0 * slope) + 0.001 * slope**2
                mean, square = memory["m"] / (1 - 0.9**self.steps), memory["s"] / (1 - 0.999**self.steps)
                value -= rate * mean / (square.sqrt() + 1e-8)

    def view(self, side: int, episode: int, rows: Tensor) -> Tensor:
        """Images of rows; mirrored where a coin says so, except under a frozen backbone.

        The coin is of the seed, the side (0 support, 1 query, 2 ordinary), row, episode, and how often the row was
        there before.
        """
        views: list[Tensor] = []
        before: list[int] = []
        for row in rows.tolist():
            image, place = pixels(self.images, row), (row, episode, before.count(row))
            before.append(row)
            plain = self.frozen or self.config.data.augment == "none"
            coin = 1.0 if plain else uniforms((self.seed, side), [np.array([word]) for word in place], 1)[0, 0]
            views.append(image.flip(2) if coin < 0.5 else image)
        return torch.stack(views)


def pixels(images: ImageSet, row: int) -> Tensor:
    scaled = torch.from_numpy(images.images[row]).permute(2, 0, 1).double() / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (scaled - mean.view(3, 1, 1)) / std.view(3, 1, 1)
