"""Pre-training of a trunk: it learns to name the base classes, as the first stage of HelixFormer (arXiv 2207.00784).

A linear layer over the last map (flattened for Conv-4, averaged over space for others) is trained with the trunk and
thrown away at the end; the last epoch counts. What is left is judged by nearest centroids on the validation classes.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from raysearch.core.errors import UserError
from raysearch.data.episodes import Episodes
from raysearch.data.feed import augment, draw_views
from raysearch.models import backbones
from raysearch.models.fewshot import EpisodicNetwork
from raysearch.models.fewshot_heads import CentroidHead
from raysearch.studies.configs import PretrainRunConfig
from raysearch.tasks.base import NonFiniteLoss, Worker
from raysearch.tasks.common.batches import batch_sizes, generator
from raysearch.tasks.common.loader import Loader, Prefetcher
from raysearch.tasks.common.training import copied
from raysearch.tasks.fewshot import evaluation

VALIDATION_EPISODES = (5, 1, 15, 200)  # ways where there are as many, shots, queries and number of validation episodes


class Classifier(nn.Module):
    """`classifier(images (B,3,H,W)) -> logits (B, classes)`."""

    def __init__(self, backbone: backbones.Backbone, classes: int, flatten: int | None) -> None:
        super().__init__()
        self.trunk = backbone  # the name in checkpoints
        self.flatten = flatten is not None
        self.linear = nn.Linear(flatten or backbone.channels, classes)

    @property
    def backbone(self) -> backbones.Backbone:
        """What is trained for later runs."""
        return self.trunk

    def forward(self, images: Tensor) -> Tensor:
        last = self.backbone(images)[self.backbone.taps[-1]]
        return self.linear((last.flatten(1) if self.flatten else last.mean((2, 3))).float())


class PretrainTask:
    """See the module; implements `Task`.

    Args:
        config: of the run.
        seed: of everything random.
        worker: what it runs on.

    Raises:
        UserError: batches that leave a worker fewer than two images.
    """

    def __init__(self, config: PretrainRunConfig, seed: int, worker: Worker) -> None:
        self.config, self.seed, self.worker = config, seed, worker
        self.metric_ids = metric_ids(config, worker.feed.split)
        self.images, self.steps, self.done = worker.feed.train, config.train.epochs, 0
        self._ahead = Prefetcher(self.images, lambda epoch: map(worker.share, self._batches(epoch)))
        sizes = batch_sizes(len(self.images), config.train.batch, worker.world_size)
        if min(sizes) < 2 * worker.world_size:
            raise UserError(
                f"pretrain.batch={config.train.batch}: batches of {min(sizes)} images are too small for "
                f"{worker.world_size} workers, which need two each"
            )
        self._names = torch.from_numpy(np.unique(self.images.labels, return_inverse=True)[1]).to(worker.device)
        torch.manual_seed(seed)
        backbone = backbones.build(config.model.backbone, config.model.weights)
        flatten = None
        if config.model.backbone == "conv4":
            with torch.no_grad():
                shape = backbone.eval()(torch.zeros(1, 3, config.data.side, config.data.side))[backbone.taps[-1]].shape
            flatten = shape[1] * shape[2] * shape[3]
        self.classifier = Classifier(backbone, int(self._names.max()) + 1, flatten)
        self.classifier.to(worker.device).to(memory_format=torch.channels_last)
        self._wrapped = worker.wrap(self.classifier)
        train = config.train
        self.optimiser = torch.optim.SGD(
            self.classifier.parameters(), lr=train.lr, momentum=train.momentum, weight_decay=train.weight_decay
        )
        self.loader = Loader(worker.device)

    def advance(self) -> dict[str, Any]:
        """An epoch over the base classes' images."""
        started, config, device = time.perf_counter(), self.config.train, self.worker.device
        self.loader.waited()
        rate = config.lr * 0.1 ** sum(self.done >= round(share * config.epochs, 6) for share in config.milestones)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self._ahead.request(self.done, self.steps)
        side = self.images.side
        total = torch.zeros(2, device=device)
        self.classifier.train()
        for rows in self._batches(self.done):
            mine = self.worker.share(rows)
            drawn = draw_views(config.augment, mine, (side, side), (self.seed, self.done))
            images = augment(self.loader.take(self.images, mine), drawn)
            with evaluation.autocast(device, "auto"):
                logits = self._wrapped(images)
            names = self._names[mine.to(device)]
            loss = functional.cross_entropy(logits, names)
            self.optimiser.zero_grad(set_to_none=True)
            (loss * (self.worker.world_size * len(mine) / len(rows))).backward()
            self.optimiser.step()
            total += torch.stack([loss.detach() * len(mine), (logits.argmax(1) == names).sum()])
        loss, right = (self.worker.sum(total) / len(self.images)).tolist()
        self.done += 1
        if not np.isfinite(loss):
            raise NonFiniteLoss(f"the loss became {loss} in epoch {self.done}; a lower pretrain.lr may help")
        for buffer in self.classifier.buffers():
            self.worker.broadcast(buffer)
        seconds = time.perf_counter() - started
        report = {"iteration": self.done, "phase": "train", "epochs": 1, "loss": loss, "accuracy_train": right}
        report |= {"lr": rate, "seconds": seconds, "images_per_second": len(self.images) / seconds}
        return report | {"feed_wait_share": min(1.0, self.loader.waited() / seconds)}

    def _batches(self, epoch: int) -> Sequence[Tensor]:
        """Rows of each batch of an epoch, of all workers."""
        order = torch.randperm(len(self.images), generator=generator(self.seed, epoch))
        return order.split(batch_sizes(len(order), self.config.train.batch, self.worker.world_size))

    def evaluate(self) -> dict[str, Any]:
        """`accuracy_validation` and its half width; the test classes stay unseen."""
        val = self.worker.feed.val
        assert val is not None, "pre-training takes class-disjoint splits"
        ways, shots, queries, count = VALIDATION_EPISODES
        ways = min(ways, len(np.unique(val.labels)))
        backbone = self.classifier.backbone
        network = EpisodicNetwork(backbone, backbone.taps[-1:], CentroidHead("cosine"))
        network.to(self.worker.device)
        drawn = Episodes(val.labels, ways, shots, queries, seed=0)
        found = evaluation.accuracies(network, val, drawn, count, self.worker, self.loader)
        mean, half = evaluation.mean_and_half_width(found)
        return {"accuracy_validation": mean, "accuracy_validation_ci": half}

    def state_dict(self) -> dict[str, Any]:
        """`trunk` is there when the training has come to its end: what other runs start from."""
        trunk = copied(self.classifier.backbone.state_dict()) if self.done >= self.steps else None
        return {
            "classifier": copied(self.classifier.state_dict()),
            "optimiser": copied(self.optimiser.state_dict()["state"]),
            "done": self.done,
            "trunk": trunk,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.classifier.load_state_dict(state["classifier"])
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": copied(state["optimiser"]), "param_groups": groups})
        self.done = state["done"]


def metric_ids(config: PretrainRunConfig, split: str) -> dict[str, str]:
    ways, shots, _, count = VALIDATION_EPISODES
    name = f"nearest-centroid-accuracy@{ways}-or-all-ways-{shots}-shot"
    return {
        "accuracy_validation": f"{name}/{count}-episodes/{split}/validation",
        "accuracy_validation_ci": f"half-width-of-{name}/{count}-episodes/{split}/validation",
    }


def build(config: PretrainRunConfig, seed: int, worker: Worker) -> PretrainTask:
    """Return the task of a config."""
    return PretrainTask(config, seed, worker)
