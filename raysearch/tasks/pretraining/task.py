"""Pre-training of a backbone as a classifier of the base classes: HelixFormer's first stage (arXiv 2207.00784).

A linear layer on the last map (flattened for Conv-4, averaged over positions for others) is trained with the backbone
and thrown away at the end; the last epoch counts. The backbone is evaluated by nearest centroids on the validation
classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raysearch.core import UserError
from raysearch.data.episodes import Episodes
from raysearch.data.feed import augment, draw_views
from raysearch.models import backbones, fewshot, fewshot_heads
from raysearch.studies.configs import PretrainRunConfig
from raysearch.tasks import metric_definitions
from raysearch.tasks.base import Worker
from raysearch.tasks.common import (
    Loader,
    Prefetcher,
    StepMeter,
    autocast,
    batch_sizes,
    check_finite,
    copied,
    generator,
    seed_step,
    step_decay,
)
from raysearch.tasks.fewshot import evaluation


class Classifier(nn.Module):
    """A backbone and a linear layer: `classifier(images (B,3,H,W)) -> logits (B, classes)`.

    Args:
        backbone: makes the maps.
        classes: number of base classes.
        flatten: size of the flattened last map; None: the map is averaged over positions.
    """

    def __init__(self, backbone: backbones.Backbone, classes: int, flatten: int | None) -> None:
        super().__init__()
        self.trunk = backbone  # the name in checkpoints
        self.flatten = flatten is not None
        self.linear = nn.Linear(flatten or backbone.channels, classes)

    @property
    def backbone(self) -> backbones.Backbone:
        """The module that later runs start from."""
        return self.trunk

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, classes) of images (B,3,H,W), from the last tap's map."""
        last = self.backbone(images)[self.backbone.taps[-1]]
        return self.linear((last.flatten(1) if self.flatten else last.mean((2, 3))).float())


@dataclass(frozen=True)
class BatchSampler:
    """The batches of each epoch: the images in an order that the seed and the epoch decide.

    Args:
        images: number of images.
        batch: images per step, of all workers together.
        seed: the seed of the run.
        worker: whose share of the batches `rows` yields.
    """

    images: int
    batch: int
    seed: int
    worker: Worker

    def batches(self, epoch: int) -> Sequence[Tensor]:
        """Return the rows of each batch of an epoch, for all workers together."""
        order = torch.randperm(self.images, generator=generator(self.seed, epoch))
        return order.split(batch_sizes(self.images, self.batch, self.worker.world_size))

    def rows(self, epoch: int) -> Iterator[Tensor]:
        """Yield the rows of each batch that this worker loads."""
        return map(self.worker.share, self.batches(epoch))


class PretrainTask:
    """Pre-training of a backbone; see the module. Implements `Task`.

    Args:
        config: the config of the run.
        seed: the seed of everything random.
        worker: the worker that it runs on.

    Raises:
        UserError: batches that leave a worker fewer than two images.
    """

    def __init__(self, config: PretrainRunConfig, seed: int, worker: Worker) -> None:
        self.config = config
        self.seed = seed
        self.worker = worker
        self.metric_ids = metric_definitions.pretraining(config, worker.feed.split)
        self.images = worker.feed.train
        self.steps = config.train.epochs
        self.done = 0
        # Not of `self`: with a cycle, an ended task would stay in memory until Python collects garbage.
        self._sampler = BatchSampler(len(self.images), config.train.batch, seed, worker)
        self._prefetcher = Prefetcher(self.images, self._sampler.rows)
        smallest = min(batch_sizes(len(self.images), config.train.batch, worker.world_size))
        if smallest < 2 * worker.world_size:
            raise UserError(
                f"pretrain.batch={config.train.batch}: batches of {smallest} images are too small for "
                f"{worker.world_size} workers, which need two each"
            )
        _, classes = np.unique(self.images.labels, return_inverse=True)
        self._classes = torch.from_numpy(classes)  # of each image, counted from 0
        torch.manual_seed(seed)
        backbone = backbones.build(config.model.backbone, config.model.weights)
        flatten = _map_size(backbone, config.data.side) if config.model.backbone == "conv4" else None
        self.classifier = Classifier(backbone, int(self._classes.max()) + 1, flatten)
        self.classifier.to(worker.device).to(memory_format=torch.channels_last)
        self._wrapped = worker.wrap(self.classifier)
        train = config.train
        self.optimizer = torch.optim.SGD(
            self.classifier.parameters(),
            lr=train.lr,
            momentum=train.momentum,
            weight_decay=train.weight_decay,
            fused=True if worker.device.type == "cuda" else None,  # one kernel for all weights
        )
        self.loader = Loader(worker.device, worker.device_images, worker.gpu_share)

    def advance(self) -> dict[str, Any]:
        """Train for one epoch over the base classes' images.

        Returns:
            Mean loss, training accuracy, and the keys of `StepMeter.report`.

        Raises:
            NonFiniteLoss: the loss became infinite or not a number.
        """
        meter = StepMeter(self.loader)
        config = self.config.train
        device = self.worker.device
        rate = step_decay(config.lr, 0.1, config.milestones, config.epochs, self.done)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self._prefetcher.request(self.done, self.steps)
        side = self.images.side
        sums = torch.zeros(2, device=device)  # of losses, and of correct images
        self.classifier.train()
        # Everything of the epoch is drawn and copied to the device at once, so that no step waits for a copy.
        batches = self._sampler.batches(self.done)
        rows = [self.worker.share(batch) for batch in batches]
        sizes = [len(part) for part in rows]
        drawn = draw_views(config.augment, torch.cat(rows), (side, side), (self.seed, self.done))
        drawn, classes = self.loader.upload(drawn, self._classes[torch.cat(rows)])
        taken = self.loader.batches(self.images, rows)
        steps = zip(batches, taken, drawn.split(sizes), classes.split(sizes), strict=True)
        for number, (batch, pixels, views, labels) in enumerate(steps):
            images = augment(pixels, views)
            seed_step(self.seed, self.done, number, self.worker.rank, device=device)
            with autocast(device, "auto"):
                logits = self._wrapped(images)
            loss = nn.functional.cross_entropy(logits, labels)
            self.optimizer.zero_grad(set_to_none=True)
            (loss * (self.worker.world_size * len(labels) / len(batch))).backward()
            self.optimizer.step()
            sums += torch.stack([loss.detach() * len(labels), (logits.argmax(1) == labels).sum()])
        mean_loss, accuracy = (self.worker.sum(sums) / len(self.images)).tolist()
        self.done += 1
        check_finite(mean_loss, f"in epoch {self.done}", "pretrain.lr")
        for buffer in self.classifier.buffers():
            self.worker.broadcast(buffer)
        return {
            "iteration": self.done,
            "phase": "train",
            "epochs": 1,
            "loss": mean_loss,
            "accuracy_train": accuracy,
            "lr": rate,
            **meter.report("images", len(self.images)),
        }

    def evaluate(self) -> dict[str, Any]:
        """Return `accuracy_validation` and its half width; the test classes stay unseen."""
        val = self.worker.feed.val
        assert val is not None, "pre-training takes class-disjoint splits"
        ways, shots, queries, count = metric_definitions.VALIDATION_EPISODES
        ways = min(ways, len(np.unique(val.labels)))
        backbone = self.classifier.backbone
        network = fewshot.EpisodicNetwork(backbone, backbone.taps[-1:], fewshot_heads.CentroidHead("cosine")).to(
            self.worker.device
        )
        drawn = Episodes(val.labels, ways, shots, queries, seed=0)
        by_episode = evaluation.accuracies(network, val, drawn, count, self.worker, self.loader)
        mean, half_width = evaluation.mean_and_half_width(by_episode)
        return {"accuracy_validation": mean, "accuracy_validation_ci": half_width}

    @property
    def metric_steps(self) -> dict[str, float]:
        """The smallest change of the accuracy: one query of one episode."""
        ways, _, queries, count = metric_definitions.VALIDATION_EPISODES
        return {"accuracy_validation": 1 / (ways * queries * count)}

    def state_dict(self) -> dict[str, Any]:
        """Return the state. Its "trunk" is the backbone that other runs start from, once training has ended."""
        backbone = copied(self.classifier.backbone.state_dict()) if self.done >= self.steps else None
        return {
            "classifier": copied(self.classifier.state_dict()),
            "optimiser": copied(self.optimizer.state_dict()["state"]),
            "done": self.done,
            "trunk": backbone,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state, under this run's own config."""
        self.classifier.load_state_dict(state["classifier"])
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": copied(state["optimiser"]), "param_groups": groups})
        self.done = state["done"]


def _map_size(backbone: backbones.Backbone, side: int) -> int:
    """Return the number of values of the last map of an image of `side` pixels."""
    with torch.no_grad():
        maps = backbone.eval()(torch.zeros(1, 3, side, side))
    return maps[backbone.taps[-1]].numel()
