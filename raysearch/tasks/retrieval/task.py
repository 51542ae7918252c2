"""Fine-grained retrieval by a network that hashes: FCAENet in training, arXiv 2110.04479, and what it is compared with.

An outer iteration draws a sample of the database, trains the network on it for some epochs, and then lets the method
update what it knows of the database: FCAENet and ADSH update all codes bit by bit with the outputs of the last epoch
fixed. Queries are the signs of the network's outputs. Departures, each a field of the config: a warm-up of the hash
layer on cached features, a trunk that stays frozen, features standardised before the hash layer.

Methods that are fitted to features in one go are in `fitted`.
"""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raysearch.data.feed import ImageSet
from raysearch.models.hashing.exchnet import ExchNet
from raysearch.studies.configs import RetrievalConfig
from raysearch.tasks.base import NonFiniteLoss, Worker
from raysearch.tasks.common.loader import Loader, Prefetcher
from raysearch.tasks.common.training import copied
from raysearch.tasks.retrieval import feature_cache, methods, optimizer
from raysearch.tasks.retrieval import network as retrieval_network
from raysearch.tasks.retrieval.epoch_sampler import EpochSampler
from raysearch.tasks.retrieval.evaluation import Encode, RetrievalEvaluator, signs
from raysearch.tasks.retrieval.holdout import batch_sizes, check_batches, check_classes, hold_out
from raysearch.tasks.retrieval.sampling import RunSampler
from raysearch.tasks.retrieval.shallow_task import ShallowHashingTask
from raysearch.tasks.retrieval.views import CachedViews, PixelViews, Views, Wanted

EVALUATION_BATCH = 256


class RetrievalTask:
    """See the module; implements `Task`.

    Args:
        config: of the run.
        seed: of everything random.
        worker: what it runs on.

    Raises:
        UserError: classes too few or too small, weights that do not fit, batches too small for the workers.
    """

    metric_ids = RetrievalEvaluator.metric_ids

    def __init__(self, config: RetrievalConfig, seed: int, worker: Worker) -> None:
        self.config, self.seed, self.worker = config, seed, worker
        self.train, self.held_out = hold_out(worker.feed.train, config.data.validation)
        check_classes(self.train.labels)
        check_batches(min(config.train.batch, config.train.samples, len(self.train)), worker.world_size)
        self.judge = RetrievalEvaluator(self.train, worker.feed.test, self.held_out)
        self.draws = RunSampler(seed, self.train.labels)
        network = retrieval_network.build_network(config, seed, classes=int(self.train.labels.max()) + 1)
        self.network = network.to(worker.device).to(memory_format=torch.channels_last)
        self.method = methods.build(config, self.draws, worker, self.network)
        self._epochs = EpochSampler(config, self.draws, self.method)
        self._ahead = Prefetcher(self.train, lambda iteration: self._epochs.rows(iteration, worker))
        warm = 0 if config.model.frozen else config.warmup.iterations
        self.warm_steps, self.steps, self.done = warm, warm + config.train.iterations, 0
        self.loader = Loader(worker.device)
        cache_key = feature_cache.key(config, seed, worker)
        self._cached = CachedViews(self.network, self.train, config, worker, self.loader, cache_key)
        self._pixels = PixelViews(worker.wrap(self.network), self.train, config, seed, worker, self.loader)
        if warm or config.model.frozen:
            self._start_from_features()
        self.optimiser = optimizer.build_optimizer(self.network, config.train)
        self._best: dict[str, Any] = {}  # with train.select=validation: the value, the network and codes that gave it

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
            self.optimiser = optimizer.build_optimizer(self.network, config.train)
        views = self._views(warming)
        if not config.model.frozen:
            self._ahead.request(max(self.done, self.warm_steps), self.steps)
        epochs = config.warmup.epochs if warming else config.train.epochs
        if warming:
            rate = optimizer.set_same_rate(self.optimiser, config.warmup.lr)
        else:
            rate = optimizer.set_rate(self.optimiser, config.train, self.done - self.warm_steps)
        sample = self.draws.sample(self.done, config.train.samples)
        self.method.start(sample, self.done - self.warm_steps)
        sums: dict[str, float] = {}
        for epoch in range(epochs):
            views.start_epoch()
            self.method.start_epoch()
            outputs, sums = self._epoch(views, epoch, sample)
            if not np.isfinite(sums["loss"]):
                at = f"iteration {self.done + 1}, epoch {epoch + 1}"
                raise NonFiniteLoss(f"the loss became {sums['loss']} at {at}; a lower train.lr may help")
        if config.adsh.outputs == "fresh" and self.method.codes is not None:
            outputs = self.method.activate(views.encode(sample))
        self.method.finish(sample, outputs)
        self._follow_rank_0()
        self.done += 1
        report = {"iteration": self.done, "phase": "warmup" if warming else "train", "epochs": epochs, **sums}
        report |= {"lr": rate, **self._describe(sample, outputs, warming)}
        self._select(report)
        if device.type == "cuda":
            report["gpu_memory_bytes"] = torch.cuda.max_memory_allocated(device)
        seconds = time.perf_counter() - started
        report |= {"seconds": seconds, "images_per_second": len(sample) * epochs / seconds}
        return report | {"feed_wait_share": min(1.0, self.loader.waited() / seconds)}

    def evaluate(self) -> dict[str, Any]:
        """The metrics of `metric_ids`; `map_validation` where a part was held out."""
        last = copied(self.network.state_dict()) if self._best else None
        metrics = self.judge.evaluate(*self.judged())
        if last is not None:
            self.network.load_state_dict(last)
        return metrics

    def judged(self) -> tuple[Encode, Tensor]:
        """What the metrics are of: the encoder of queries, and the database's codes (n, c) in {-1, +1}.

        Where the config keeps the best iteration, its network takes the place of the last one's.
        """
        if not self._best:
            return self._encode, self.codes
        self.network.load_state_dict(self._best["network"])
        return self._encode, self._best["codes"].to(self.worker.device, torch.float32)

    @property
    def codes(self) -> Tensor:
        """Of the database: (n, c) in {-1, +1}; where the method keeps none, the network's."""
        if self.method.codes is not None:
            return self.method.codes
        return signs(self._views(warming=0 < self.done <= self.warm_steps).encode(torch.arange(len(self.train))))

    def state_dict(self) -> dict[str, Any]:
        """Copies on the CPU, in plain dicts: `torch.load(weights_only=True)` reads them from a file on any machine."""
        return {
            "network": copied(self.network.state_dict()),
            "optimiser": copied(self.optimiser.state_dict()["state"]),
            "method": self.method.state_dict(),
            "best": self._best,
            "done": self.done,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state, under this run's own config: rates, momentum, decay and weights of losses may be others.

        Raises:
            ValueError: the state is of another network or another database.
        """
        self.method.load_state_dict(state["method"])
        self.network.load_state_dict(state["network"])
        optimizer.load(self.optimiser, copied(state["optimiser"]))
        self._best, self.done = state["best"], state["done"]

    def _views(self, warming: bool) -> Views:
        return self._cached if warming or self.config.model.frozen else self._pixels

    def _epoch(self, views: Views, epoch: int, sample: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Train on the sample once; returns the outputs (r, c) it saw and mean losses."""
        config, device, warming = self.config, self.worker.device, self.done < self.warm_steps
        outputs = torch.zeros(len(sample), config.hash.bits, device=device)
        totals = torch.zeros(len(self.method.parts), device=device)
        # Without SREM and ESRL in the warm-up it is the same for every variant.
        wanted = Wanted(config.uses_positive and not warming, config.uses_erased and not warming)
        positives, order, generator = self._epochs.draw(sample, self.done, epoch)
        exchanged = self.method.draw(len(sample), generator)
        sizes, share = batch_sizes(len(sample), config.train.batch, views.worker.world_size), views.worker.share
        for batch, of_inputs in zip(order.split(sizes), exchanged.split(sizes), strict=True):
            mine = share(batch)
            rows = sample[mine]
            inputs = self.method.inputs(rows, share(of_inputs))
            seen = views.forward(rows, positives[mine], wanted, (self.done, epoch), inputs)
            seen = seen.activated(self.method.activate)
            parts = self.method.losses(seen, rows)
            self.optimiser.zero_grad(set_to_none=True)
            # Gradients are averaged over workers, whose shares may differ by an image: this weighs images alike.
            (parts["loss"] * (views.worker.world_size * len(mine) / len(batch))).backward()
            self.optimiser.step()
            outputs[mine.to(device)] = seen.anchor.detach()
            totals += torch.stack([parts[name].detach() for name in self.method.parts]) * len(rows)
        totals = views.worker.sum(totals) / len(sample)
        return views.worker.sum(outputs), dict(zip(self.method.parts, totals.tolist(), strict=True))

    def _start_from_features(self) -> None:
        """Take the standardisation's statistics from the whole database, and let the warm-up's hash layer count."""
        pooled = self._cached.anchors
        if isinstance(self.network, ExchNet):
            self.network.start_from_whole()
            pooled = self._local_features() if self.config.model.standardise else pooled
        self.network.hash_layer.fit_statistics(pooled)

    @torch.no_grad()
    def _local_features(self) -> Tensor:
        """Of the database, with the global ones behind them: (n, (M + 1) C)."""
        self.network.eval()
        self.train.prefetch(torch.arange(len(self.train)))
        seen = [
            self.network(self.loader.batch(self.train, rows))
            for rows in torch.arange(len(self.train)).split(EVALUATION_BATCH)
        ]
        return torch.cat([torch.cat([part.local.flatten(1), part.whole], dim=1) for part in seen])

    def _follow_rank_0(self) -> None:
        """Give every worker what gradients do not keep alike: codes, running statistics, a layer trained apart."""
        codes = () if self.method.codes is None else (self.method.codes,)
        for tensor in (*codes, *self.network.buffers(), *self.network.hash_layer.parameters()):
            self.worker.broadcast(tensor.detach())

    @torch.no_grad()
    def _encode(self, images: ImageSet) -> Tensor:
        """Signs of the network's outputs: (m, c), on the device."""
        self.network.eval()
        images.prefetch(torch.arange(len(images)))
        rows = torch.arange(len(images)).split(EVALUATION_BATCH)
        return signs(torch.cat([self.network(self.loader.batch(images, part)).z for part in rows]))

    def _describe(self, sample: Tensor, outputs: Tensor, warming: bool) -> dict[str, float]:
        """What the codes look like after an iteration, and the held-out part's figure."""
        codes = self.method.codes
        if codes is None:
            # Encoding the database takes a pass over it: only where its codes are asked for.
            if not len(self.held_out):
                return {}
            codes = signs(self._views(warming).encode(torch.arange(len(self.train))))
        agreement = ((outputs >= 0) == (codes[sample.to(codes.device)] > 0)).float().mean()
        described = self.judge.describe(codes) | {"bit_agreement": float(agreement)}
        return described | self.judge.validate(self._encode, codes)

    def _select(self, report: Mapping[str, Any]) -> None:
        """Keep the network and codes of the best iteration on the held-out part, where the config says so."""
        value = report.get("map_validation")
        if self.config.train.select == "last" or value is None:
            return
        if not self._best or value > self._best["value"]:
            codes = self.codes.to("cpu", torch.int8)
            self._best = {"value": value, "network": copied(self.network.state_dict()), "codes": codes}


def build(config: RetrievalConfig, seed: int, worker: Worker) -> RetrievalTask | ShallowHashingTask:
    """Return the task of the config's method; arguments and errors are those of `RetrievalTask`."""
    kind = RetrievalTask if config.hashing_method.trained else ShallowHashingTask
    return kind(config, seed, worker)
