"""Fine-grained retrieval by asymmetric hashing: FCAENet in training, arXiv 2110.04479, algorithm of section 3.

An outer iteration draws a sample of the database, trains the network on it for some epochs with the database codes
fixed, and then updates all codes bit by bit with the outputs of the last epoch fixed. The codes are the retrieval
index; queries are the signs of the network's outputs. Departures, each a field of the config: a warm-up of the hash
layer on cached features, a trunk that stays frozen, features standardised before the hash layer.
"""

import hashlib
import time
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from raysearch.data.images import ImageSet
from raysearch.errors import UserError
from raysearch.models import adsh, backbones
from raysearch.models.esrl import esrl
from raysearch.models.fcaenet import FCAENet
from raysearch.studies import weights
from raysearch.studies.config import RetrievalConfig
from raysearch.tasks.base import NonFiniteLoss, Worker
from raysearch.tasks.metrics import mean_average_precision
from raysearch.tasks.views import CachedViews, PixelViews, Views, Wanted

_EVALUATION_BATCH = 256


class RetrievalTask:
    """See the module; implements `Task`.

    Args:
        config: of the run.
        seed: of everything random.
        worker: what it runs on.
    """

    metric_ids: ClassVar = {
        "map": "map@all/expected-ties/test",
        "map_index": "map@all/index-order/test",
        "map_best_ties": "map@all/relevant-first/test",
        "map_worst_ties": "map@all/relevant-last/test",
    }

    def __init__(self, config: RetrievalConfig, seed: int, worker: Worker) -> None:
        self.config, self.seed, self.worker = config, seed, worker
        self.train, self.held_out = hold_out(worker.feed.train, config.data.validation)
        check_classes(self.train.labels)
        self.labels = torch.from_numpy(self.train.labels).to(worker.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            backbone = backbones.build(config.model.backbone, config.model.weights)
            network = FCAENet(backbone, config.hash.bits, config.model.standardise)
        self.network = network.to(worker.device).to(memory_format=torch.channels_last)
        self.codes = self._random_codes()
        self.by_class = [np.flatnonzero(self.train.labels == label) for label in range(self.train.labels.max() + 1)]
        warm = 0 if config.model.frozen else config.warmup.iterations
        self.warm_steps, self.steps, self.done = warm, warm + config.train.iterations, 0
        cache_key = {
            "data": worker.feed.content_hash,
            "side": config.data.side,
            "zoom": config.data.zoom,
            "validation": config.data.validation,
            "backbone": config.model.backbone,
            "weights": weights.identity(config.model.weights) or f"random, seed {seed}",
            "device": worker.device.type,
        }
        self._cached = CachedViews(self.network, self.train, config, worker, cache_key)
        self._pixels = PixelViews(worker.wrap(self.network), self.train, config, worker)
        if warm or config.model.frozen:
            self.network.hash_layer.fit_statistics(self._cached.anchors)
        self.optimiser = self._make_optimiser()

    def advance(self) -> dict[str, Any]:
        """One outer iteration; returns its mean losses and what became of the codes."""
        started = time.perf_counter()
        config, warming = self.config, self.done < self.warm_steps
        if self.done == self.warm_steps and self.warm_steps:
            self.optimiser = self._make_optimiser()
        views: Views = self._cached if warming or config.model.frozen else self._pixels
        epochs = config.warmup.epochs if warming else config.train.epochs
        rate = self._set_rate(warming)
        sample = torch.randperm(len(self.train), generator=self._generator(self.done))[: config.train.samples]
        on_device = sample.to(self.worker.device)
        rho = 1.0
        if config.adsh.similarity == "soft":
            rho = adsh.similarity_ratio(self.labels[on_device], self.labels)
        targets = adsh.targets(self.codes, self.labels, rho)
        sums: dict[str, float] = {}
        for epoch in range(epochs):
            generator = self._generator(self.done, epoch)  # workers whose batches differ in size start alike again
            views.start_epoch()
            positives = self._draw_positives(sample, generator)
            outputs, sums = self._epoch(views, sample, positives, targets, generator, warming)
            if not np.isfinite(sums["loss"]):
                at = f"iteration {self.done + 1}, epoch {epoch + 1}"
                raise NonFiniteLoss(f"the loss became {sums['loss']} at {at}; a lower train.lr may help")
        self.codes = adsh.update_codes(
            self.codes, outputs, on_device, self.labels, config.adsh.gamma, config.adsh.sweeps, rho=rho
        )
        self.done += 1
        report = {"iteration": self.done, "phase": "warmup" if warming else "train", **sums, "lr": rate}
        report |= self._describe_codes(outputs, on_device)
        if len(self.held_out):
            queries = self._encode(self.held_out)
            report["map"] = self._map(queries, self.held_out.labels, "expected")
        seconds = time.perf_counter() - started
        return report | {"seconds": seconds, "images_per_second": len(sample) * epochs / seconds}

    def evaluate(self) -> dict[str, float]:
        test = self.worker.feed.test
        queries = self._encode(test)
        ties = {"map": "expected", "map_index": "index", "map_best_ties": "best", "map_worst_ties": "worst"}
        return {name: self._map(queries, test.labels, tie) for name, tie in ties.items()}

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "codes": self.codes.to(torch.int8),
            "done": self.done,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.codes = state["codes"].to(self.codes)
        self.done = state["done"]

    def _epoch(
        self,
        views: Views,
        sample: Tensor,
        positives: Tensor,
        targets: adsh.Targets,
        generator: torch.Generator,
        warming: bool,
    ) -> tuple[Tensor, dict[str, float]]:
        """Train on the sample once; returns the outputs (r, c) it saw and mean losses."""
        config, device = self.config, self.worker.device
        outputs = torch.zeros(len(sample), config.hash.bits, device=device)
        names = ("loss", "hash_loss", "quantisation", "esrl", "erased_fraction")
        totals = torch.zeros(len(names), device=device)
        # Without SREM and ESRL in the warm-up it is the same for every variant.
        wanted = Wanted(config.uses_positive and not warming, config.uses_erased and not warming)
        positive_weight = config.esrl.positive if wanted.positive else 0.0
        erased_weight = config.esrl.erased if wanted.erased else 0.0
        order = torch.randperm(len(sample), generator=generator)
        for batch in split_batches(order, config.train.batch, least=2 * views.worker.world_size):
            mine = views.worker.share(batch)
            rows = sample[mine]
            seen = views.forward(rows, positives[mine], wanted, generator)
            labels = self.labels[rows.to(device)]
            hash_loss = adsh.target_loss(seen.anchor, labels, targets)
            for other in seen.also_hashed(config.adsh.views):
                hash_loss = hash_loss + adsh.target_loss(other, labels, targets)
            codes = self.codes[rows.to(device)]
            quantisation = adsh.quantisation_loss(seen.anchor, codes, len(self.train))
            adapted = hash_loss + config.adsh.gamma * quantisation
            if config.adsh.bit_norm:
                adapted = adapted * (12 / config.hash.bits)
            relation = esrl(seen.anchor, seen.positive, seen.erased, positive_weight, erased_weight)
            loss = adapted + relation
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            self.optimiser.step()
            outputs[mine.to(device)] = seen.anchor.detach()
            parts = (loss, hash_loss, quantisation, relation, seen.erased_fraction)
            totals += torch.stack([part.detach() for part in parts]) * len(rows)
        totals = views.worker.sum(totals) / len(sample)
        return views.worker.sum(outputs), dict(zip(names, totals.tolist(), strict=True))

    def _draw_positives(self, sample: Tensor, generator: torch.Generator) -> Tensor:
        """Another image of the same class for each sampled row, from the whole train set: (r,)."""
        draws = torch.rand(len(sample), generator=generator).numpy()
        chosen = np.empty(len(sample), dtype=np.int64)
        for index, (row, draw) in enumerate(zip(sample.tolist(), draws, strict=True)):
            others = self.by_class[self.train.labels[row]]
            pick = int(draw * (len(others) - 1))
            chosen[index] = others[pick] if others[pick] < row else others[pick + 1]
        return torch.from_numpy(chosen)

    def _make_optimiser(self) -> torch.optim.Optimizer:
        config = self.config.train
        trunk = {"params": self.network.backbone.parameters(), "scale": 1.0}
        head = {"params": self.network.hash_layer.parameters(), "scale": config.hash_lr}
        return torch.optim.SGD([trunk, head], lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)

    def _set_rate(self, warming: bool) -> float:
        """Set the rates of this iteration; returns the trunk's, or the hash layer's in the warm-up."""
        config = self.config
        done = self.done - self.warm_steps
        # Rounded, since 0.55 * 100 is a little more than 55.
        falls = sum(done >= round(share * config.train.iterations, 6) for share in config.train.milestones)
        rate = config.warmup.lr if warming else config.train.lr * 0.1**falls
        for group in self.optimiser.param_groups:
            group["lr"] = rate if warming else rate * group["scale"]
        return rate

    def _generator(self, *at: int) -> torch.Generator:
        """Randomness of a step or an epoch of it: follows from the seed and `at` alone, so a run can go on anywhere."""
        digest = hashlib.sha256(" ".join(map(str, (self.seed, *at))).encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))

    def _random_codes(self) -> Tensor:
        # At random an image: one code a class at the start would make the codes follow nothing but themselves.
        bits = torch.randint(0, 2, (len(self.train), self.config.hash.bits), generator=self._generator(-1))
        return (2 * bits - 1).float().to(self.worker.device)

    @torch.no_grad()
    def _encode(self, images: ImageSet) -> Tensor:
        """Signs of the network's outputs: (m, c), on the device."""
        self.network.eval()
        device = self.worker.device
        rows = torch.arange(len(images)).split(_EVALUATION_BATCH)
        outputs = torch.cat([self.network(images.batch(part, device)).u for part in rows])
        return torch.where(outputs >= 0, 1.0, -1.0)

    def _map(self, queries: Tensor, labels: np.ndarray, ties: str) -> float:
        return mean_average_precision(
            queries, torch.from_numpy(labels).to(queries.device), self.codes, self.labels, ties
        )

    def _describe_codes(self, outputs: Tensor, sample: Tensor) -> dict[str, float]:
        """Distinct codes a class, and the share of bits on which network and codes agree."""
        both = torch.cat([self.codes, self.labels[:, None].to(self.codes)], dim=1)
        distinct = len(torch.unique(both, dim=0)) / len(torch.unique(self.labels))
        agreement = ((outputs >= 0) == (self.codes[sample] > 0)).float().mean()
        return {"codes_per_class": distinct, "bit_agreement": float(agreement)}


def hold_out(train: ImageSet, share: float) -> tuple[ImageSet, ImageSet]:
    """Split off a validation part, the same for every seed: evenly spread through each class, never all of it."""
    held = np.zeros(len(train), dtype=bool)
    for label in np.unique(train.labels):
        rows = np.flatnonzero(train.labels == label)
        count = min(round(share * len(rows)), max(0, len(rows) - 2))
        held[rows[np.linspace(0, len(rows) - 1, count, dtype=int)]] = True
    if share and not held.any():
        raise UserError(f"data.validation={share} holds out no image of classes this small")
    # Without a held-out part the arrays stay as they are: a map of shared memory is not copied.
    rest = ImageSet(train.images[~held], train.labels[~held]) if held.any() else train
    return rest, ImageSet(train.images[held], train.labels[held])


def split_batches(order: Tensor, size: int, least: int) -> list[Tensor]:
    """Batches of `size`; a last one smaller than `least` joins the one before, since batch norm needs two a worker.

    >>> [len(batch) for batch in split_batches(torch.arange(9), size=4, least=2)]
    [4, 5]
    """
    batches = list(order.split(size))
    if len(batches) > 1 and len(batches[-1]) < least:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def check_classes(labels: np.ndarray) -> None:
    """Every class needs two images to train on: one is the other's positive."""
    present, counts = np.unique(labels, return_counts=True)
    if len(present) < 2:
        raise UserError("retrieval needs at least two classes to train on")
    if counts.min() < 2:
        raise UserError(f"class {present[counts.argmin()]} has one image to train on; retrieval needs at least two")


def build(config: Mapping[str, Any], seed: int, worker: Worker) -> RetrievalTask:
    """Make the task from a plain config, as it travels between processes."""
    return RetrievalTask(RetrievalConfig.model_validate(config), seed, worker)
