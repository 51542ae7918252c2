"""Fine-grained retrieval by asymmetric hashing: FCAENet in training, arXiv 2110.04479, algorithm of section 3.

An outer iteration draws a sample of the database, trains the network on it for some epochs with the database codes
fixed, and then updates all codes bit by bit with the outputs of the last epoch fixed. The codes are the retrieval
index; queries are the signs of the network's outputs. Departures, each a field of the config: a warm-up of the hash
layer on cached features, a trunk that stays frozen, features standardised before the hash layer.
"""

import time
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from raysearch.data.images import ImageSet
from raysearch.models import adsh, backbones
from raysearch.models.esrl import esrl
from raysearch.models.fcaenet import FCAENet
from raysearch.studies import weights
from raysearch.studies.config import RetrievalConfig
from raysearch.tasks import optimiser
from raysearch.tasks.base import NonFiniteLoss, Worker
from raysearch.tasks.draws import Draws
from raysearch.tasks.loader import Loader
from raysearch.tasks.metrics import mean_average_precision
from raysearch.tasks.splits import batch_sizes, check_batches, check_classes, hold_out
from raysearch.tasks.views import CachedViews, PixelViews, Views, Wanted

_EVALUATION_BATCH = 256


class RetrievalTask:
    """See the module; implements `Task`.

    Args:
        config: of the run.
        seed: of everything random.
        worker: what it runs on.

    Raises:
        UserError: classes too few or too small, weights that do not fit, batches too small for the workers.
    """

    metric_ids: ClassVar = {
        "map": "map@all/expected-ties/test",
        "map_index": "map@all/index-order/test",
        "map_best_ties": "map@all/relevant-first/test",
        "map_worst_ties": "map@all/relevant-last/test",
        "map_validation": "map@all/expected-ties/validation",  # where data.validation holds a part out
    }

    def __init__(self, config: RetrievalConfig, seed: int, worker: Worker) -> None:
        self.config, self.seed, self.worker = config, seed, worker
        self.train, self.held_out = hold_out(worker.feed.train, config.data.validation)
        check_classes(self.train.labels)
        check_batches(min(config.train.batch, config.train.samples, len(self.train)), worker.world_size)
        self.labels = torch.from_numpy(self.train.labels).to(worker.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            backbone = backbones.build(config.model.backbone, config.model.weights)
            network = FCAENet(backbone, config.hash.bits, config.model.standardise)
        self.network = network.to(worker.device).to(memory_format=torch.channels_last)
        self.draws = Draws(seed, self.train.labels)
        self.codes = self.draws.codes(config.hash.bits).to(worker.device)
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
        self.loader = Loader(worker.device)
        self._cached = CachedViews(self.network, self.train, config, worker, self.loader, cache_key)
        self._pixels = PixelViews(worker.wrap(self.network), self.train, config, worker, self.loader)
        if warm or config.model.frozen:
            self.network.hash_layer.fit_statistics(self._cached.anchors)
        self.optimiser = optimiser.make(self.network, config.train)

    def advance(self) -> dict[str, Any]:
        """One outer iteration; returns its mean losses, what became of the codes, and where the time went.

        Among the report's numbers: `epochs` (inner ones done), `map_validation` (of the held-out part, where there is
        one), `feed_wait_share` (of the seconds, spent waiting for images), on a GPU `gpu_memory_bytes` (the peak).
        """
        started, device = time.perf_counter(), self.worker.device
        self.loader.waited()  # what came before this step does not count
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        config, warming = self.config, self.done < self.warm_steps
        if self.done == self.warm_steps and self.warm_steps:
            self.optimiser = optimiser.make(self.network, config.train)
        views: Views = self._cached if warming or config.model.frozen else self._pixels
        epochs = config.warmup.epochs if warming else config.train.epochs
        if warming:
            rate = optimiser.set_same_rate(self.optimiser, config.warmup.lr)
        else:
            rate = optimiser.set_rate(self.optimiser, config.train, self.done - self.warm_steps)
        sample = self.draws.sample(self.done, config.train.samples)
        on_device = sample.to(device)
        rho = 1.0
        if config.adsh.similarity == "soft":
            rho = adsh.similarity_ratio(self.labels[on_device], self.labels)
        targets = adsh.targets(self.codes, self.labels, rho)
        sums: dict[str, float] = {}
        for epoch in range(epochs):
            generator = self.draws.generator(self.done, epoch)
            views.start_epoch()
            positives = self.draws.positives(sample, generator)
            outputs, sums = self._epoch(views, sample, positives, targets, generator, warming)
            if not np.isfinite(sums["loss"]):
                at = f"iteration {self.done + 1}, epoch {epoch + 1}"
                raise NonFiniteLoss(f"the loss became {sums['loss']} at {at}; a lower train.lr may help")
        if self.worker.rank == 0:
            self.codes = adsh.update_codes(
                self.codes, outputs, on_device, self.labels, config.adsh.gamma, config.adsh.sweeps, rho=rho
            )
        self._follow_rank_0()
        self.done += 1
        report = {"iteration": self.done, "phase": "warmup" if warming else "train", "epochs": epochs, **sums}
        report |= {"lr": rate, **self._describe_codes(outputs, on_device)}
        if len(self.held_out):
            report["map_validation"] = self._validate()
        if device.type == "cuda":
            report["gpu_memory_bytes"] = torch.cuda.max_memory_allocated(device)
        seconds = time.perf_counter() - started
        report |= {"seconds": seconds, "images_per_second": len(sample) * epochs / seconds}
        return report | {"feed_wait_share": min(1.0, self.loader.waited() / seconds)}

    def evaluate(self) -> dict[str, float]:
        """The metrics of `metric_ids`; `map_validation` where a part was held out."""
        test = self.worker.feed.test
        queries = self._encode(test)
        ties = {"map": "expected", "map_index": "index", "map_best_ties": "best", "map_worst_ties": "worst"}
        metrics = {name: self._map(queries, test.labels, tie) for name, tie in ties.items()}
        return metrics | ({"map_validation": self._validate()} if len(self.held_out) else {})

    def state_dict(self) -> dict[str, Any]:
        """Copies on the CPU, in plain dicts: `torch.load(weights_only=True)` reads them from a file on any machine."""
        return {
            "network": _copied(self.network.state_dict()),
            "optimiser": _copied(self.optimiser.state_dict()["state"]),
            "codes": self.codes.to("cpu", torch.int8),
            "done": self.done,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state, under this run's own config: rates, momentum, decay and weights of losses may be others.

        Raises:
            ValueError: the state is of another network or another database.
        """
        if state["codes"].shape != self.codes.shape:
            given, own = tuple(state["codes"].shape), tuple(self.codes.shape)
            raise ValueError(f"the state holds codes of shape {given} and this run's are {own}")
        self.network.load_state_dict(state["network"])
        optimiser.load(self.optimiser, _copied(state["optimiser"]))
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
        # Drawn in the batches of a single worker, whatever the number of workers: an image's view stays the same.
        counts = batch_sizes(len(sample), config.train.batch)
        drawn = torch.cat([views.draw(count, wanted, generator) for count in counts])
        sizes, share = batch_sizes(len(sample), config.train.batch, views.worker.world_size), views.worker.share
        for batch, of_batch in zip(order.split(sizes), drawn.split(sizes), strict=True):
            mine = share(batch)
            rows = sample[mine]
            seen = views.forward(rows, positives[mine], wanted, share(of_batch))
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
            # Gradients are averaged over workers, whose shares may differ by an image: this weighs images alike.
            (loss * (views.worker.world_size * len(mine) / len(batch))).backward()
            self.optimiser.step()
            outputs[mine.to(device)] = seen.anchor.detach()
            parts = (loss, hash_loss, quantisation, relation, seen.erased_fraction)
            totals += torch.stack([part.detach() for part in parts]) * len(rows)
        totals = views.worker.sum(totals) / len(sample)
        return views.worker.sum(outputs), dict(zip(names, totals.tolist(), strict=True))

    def _follow_rank_0(self) -> None:
        """Give every worker what gradients do not keep alike: codes, running statistics, a layer trained apart."""
        for tensor in (self.codes, *self.network.buffers(), *self.network.hash_layer.parameters()):
            self.worker.broadcast(tensor.detach())

    @torch.no_grad()
    def _encode(self, images: ImageSet) -> Tensor:
        """Signs of the network's outputs: (m, c), on the device."""
        self.network.eval()
        rows = torch.arange(len(images)).split(_EVALUATION_BATCH)
        outputs = torch.cat([self.network(self.loader.batch(images, part)).u for part in rows])
        return torch.where(outputs >= 0, 1.0, -1.0)

    def _validate(self) -> float:
        """mAP of the held-out part."""
        return self._map(self._encode(self.held_out), self.held_out.labels, "expected")

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


def build(config: Mapping[str, Any], seed: int, worker: Worker) -> RetrievalTask:
    """Make the task from a plain config, as it travels between processes."""
    return RetrievalTask(RetrievalConfig.model_validate(config), seed, worker)


def _copied(state: Any) -> Any:
    """A state whose tensors are copies on the CPU."""
    if isinstance(state, dict):
        return {key: _copied(value) for key, value in state.items()}
    return state.to("cpu", copy=True) if isinstance(state, Tensor) else state
