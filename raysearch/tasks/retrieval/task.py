"""Fine-grained retrieval by a network that hashes: FCAENet (arXiv 2110.04479) and the deep methods compared with it.

An outer iteration draws a sample of the database, trains the network on it for some epochs, and then lets the method
update what it knows of the database. FCAENet and ADSH update all codes bit by bit with the outputs of the last epoch
fixed. Queries are encoded by the signs of the network's outputs. Departures, each a field of the config: a warm-up of
the hash layer on cached features, a frozen backbone, and standardized features before the hash layer.

`shallow_task` has the methods that are fitted to features once.
"""

import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from raysearch.data.feed import ImageSet
from raysearch.models.hashing.encoder import signs
from raysearch.models.hashing.exchnet import ExchNet
from raysearch.studies.configs import RetrievalConfig
from raysearch.tasks import metric_definitions
from raysearch.tasks.base import Worker
from raysearch.tasks.common import (
    BestState,
    Loader,
    Prefetcher,
    StepMeter,
    check_batches,
    check_classes,
    check_finite,
    copied,
    exact_float32,
    hold_out,
    seed_step,
)
from raysearch.tasks.retrieval import evaluation, feature_cache, methods, recalibration, sampling, shallow_task
from raysearch.tasks.retrieval import network as networks
from raysearch.tasks.retrieval.encoding import ImageEncoder
from raysearch.tasks.retrieval.views import CachedViews, ExtraViews, PixelViews, Views

EVALUATION_BATCH = 256


class RetrievalTask:
    """A network that learns to hash; see the module.

    Args:
        config: the config of the run.
        seed: the seed of everything random.
        worker: the worker that the run is trained on.

    Raises:
        UserError: classes too few or too small, weights that do not fit, or batches too small for the workers.
    """

    def __init__(self, config: RetrievalConfig, seed: int, worker: Worker) -> None:
        self.config = config
        self.seed = seed
        self.worker = worker
        self.train, self.held_out = hold_out(worker.feed.train, config.data.validation)
        check_classes(self.train.labels)
        check_batches(min(config.train.batch, config.train.samples, len(self.train)), worker.world_size)
        self.evaluator = evaluation.RetrievalEvaluator(
            self.train, worker.feed.test, self.held_out, worker, metric_definitions.user_metrics(config)
        )
        self.metric_ids = metric_definitions.retrieval(config, "")
        self.metric_steps = self.evaluator.metric_steps
        self.sampler = sampling.RunSampler(seed, self.train.labels)
        network = networks.build_network(config, seed, classes=int(self.train.labels.max()) + 1)
        self.network = network.to(worker.device).to(memory_format=torch.channels_last)
        self.method = methods.build_method(config, self.sampler, worker, self.network)
        self._epochs = sampling.EpochSampler(config, self.sampler, self.method)
        self._prefetcher = Prefetcher(self.train, partial(self._epochs.rows, worker=worker))
        self.warm_steps = 0 if config.model.frozen else config.warmup.iterations
        self.steps = self.warm_steps + config.train.iterations
        self.done = 0
        self.loader = Loader(worker.device, worker.device_images, worker.gpu_share)
        self._image_encoder = ImageEncoder(self.loader, worker, config.train.precision)
        key = feature_cache.feature_key(config, seed, worker)
        if self.warm_steps and config.warmup.recalibrate:
            recalibration.recalibrate(self.network, self.train, worker, self.loader, key)
            key = recalibration.recalibrated_key(key)
        self._cached = CachedViews(self.network, self.train, config, worker, self.loader, key)
        self._pixels = PixelViews(self.network, self.train, config, seed, worker, self.loader)
        if self.warm_steps or config.model.frozen:
            self._start_from_features()
        self.optimizer = networks.build_optimizer(self.network, config.train)
        self._best = BestState()  # network and codes of the best iteration, with train.select=validation

    def advance(self) -> dict[str, Any]:
        """Train one outer iteration.

        Returns:
            The last epoch's mean losses, a description of the codes, and the keys of `StepMeter`. `epochs` is the
            number of inner epochs; `map_validation` is there where a part is held out.

        Raises:
            NonFiniteLoss: the loss became infinite or not a number.
        """
        meter = StepMeter(self.loader)
        config = self.config
        warming = self.done < self.warm_steps
        if self.done == self.warm_steps and self.warm_steps:
            self.optimizer = networks.build_optimizer(self.network, config.train)
        views = self._views(warming)
        if not config.model.frozen:
            self._prefetcher.request(max(self.done, self.warm_steps), self.steps)
        if warming:
            epochs = config.warmup.epochs
            rate = networks.set_same_rate(self.optimizer, config.warmup.lr)
        else:
            epochs = config.train.epochs
            rate = networks.set_rate(self.optimizer, config.train, self.done - self.warm_steps)
        sample = self.sampler.sample(self.done, config.train.samples)
        self.method.start_iteration(sample, self.done - self.warm_steps)
        losses: dict[str, float] = {}
        for epoch in range(epochs):
            views.start_epoch()
            self.method.start_epoch()
            with exact_float32(self.worker.device, config.train.precision):
                outputs, losses = self._epoch(views, epoch, sample)
            check_finite(losses["loss"], f"at iteration {self.done + 1}, epoch {epoch + 1}")
        if config.adsh.outputs == "fresh" and self.method.codes is not None:
            self._share_buffers()
            outputs = self.method.activate(views.encode(sample))
        (sample_on_device,) = self.loader.upload(sample)
        self.method.finish_iteration(sample_on_device, outputs)
        self._synchronize()
        self.done += 1
        report = {"iteration": self.done, "phase": "warmup" if warming else "train", "epochs": epochs, **losses}
        report |= {"lr": rate, **self._describe(sample_on_device, outputs, warming)}
        self._select(report)
        return report | meter.report("images", len(sample) * epochs)

    def evaluate(self) -> dict[str, Any]:
        """Return the metrics of `metric_ids`; `map_validation` where a part was held out."""
        last = copied(self.network.state_dict()) if self._best else None
        metrics = self.evaluator.evaluate(*self.judged())
        if last is not None:
            self.network.load_state_dict(last)
        return metrics

    def judged(self) -> tuple[evaluation.Encode, Tensor]:
        """Return what the metrics are computed from: the encoder of queries, and the database's codes in {-1, +1}.

        Where the config selects the best iteration, its network replaces the last one.

        Returns:
            The encoder, and codes (n, c).
        """
        if not self._best:
            return self._encode, self.codes
        self.network.load_state_dict(self._best["network"])
        return self._encode, self._best["codes"].to(self.worker.device, torch.float32)

    @property
    def codes(self) -> Tensor:
        """Codes of the database, (n, c) in {-1, +1}: the method's, or the network's where the method has none."""
        if self.method.codes is not None:
            return self.method.codes
        return self._network_codes(warming=0 < self.done <= self.warm_steps)

    def state_dict(self) -> dict[str, Any]:
        """Return copies on the CPU, in plain dicts that `torch.load(weights_only=True)` reads on any machine."""
        return {
            "network": copied(self.network.state_dict()),
            "optimiser": copied(self.optimizer.state_dict()["state"]),  # the key is part of the file format
            "method": self.method.state_dict(),
            "best": self._best.state_dict(),
            "done": self.done,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state, under this run's config: rates, momentum, decay and loss weights may differ.

        Raises:
            ValueError: the state is of another network or another database.
        """
        self.method.load_state_dict(state["method"])
        self.network.load_state_dict(state["network"])
        networks.load_optimizer_state(self.optimizer, copied(state["optimiser"]))
        self._best.load_state_dict(state["best"])
        self.done = state["done"]

    def _views(self, warming: bool) -> Views:
        return self._cached if warming or self.config.model.frozen else self._pixels

    def _epoch(self, views: Views, epoch: int, sample: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Train on the sample once.

        Returns:
            The outputs (r, c) that the losses were computed from, and the mean losses by name.
        """
        config = self.config
        device = self.worker.device
        worker = views.worker
        # With anchors alone, the warm-up is the same for every variant of SREM and ESRL.
        all_views = self.done >= self.warm_steps or config.warmup.views == "all"
        extra = ExtraViews(config.uses_positive and all_views, config.uses_erased and all_views)
        outputs = torch.zeros(len(sample), config.hash.bits, device=device)
        names: list[str] = []
        totals = torch.zeros(0, device=device)
        images = self._epochs.draw(sample, self.done, epoch, worker)
        with contextlib.closing(views.batches(images, extra, (self.done, epoch))) as batches:
            for number, (batch, step) in enumerate(zip(batches, images.steps, strict=True)):
                seed_step(self.seed, self.done, epoch, number, worker.rank, device=device)
                inputs = self.method.inputs(batch.rows, batch.inputs)
                batch_outputs = views.forward(batch, *inputs).activated(self.method.activate)
                losses = self.method.losses(batch_outputs, batch.rows)
                self.optimizer.zero_grad(set_to_none=True)
                # Gradients are averaged over workers, whose shares may differ by an image: this weighs images alike.
                (losses["loss"] * (worker.world_size * step.images / step.all_images)).backward()
                self.optimizer.step()
                outputs[batch.positions] = batch_outputs.anchor.detach()
                if not names:
                    names = list(losses)
                    totals = torch.zeros(len(names), device=device)
                totals += torch.stack([losses[name].detach() for name in names]) * step.images
        means = worker.sum(totals) / len(sample)
        return worker.sum(outputs), dict(zip(names, means.tolist(), strict=True))

    def _start_from_features(self) -> None:
        """Take the statistics of the standardization from the whole database, and use the warm-up's hash layer."""
        pooled = self._cached.anchors
        if isinstance(self.network, ExchNet):
            self.network.start_from_whole()
            pooled = self._local_features() if self.config.model.standardise else pooled
        self.network.hash_layer.fit_statistics(pooled)

    def _local_features(self) -> Tensor:
        """Return ExchNet's local features of the database, followed by the global ones: (n, (M + 1) C)."""
        self.network.eval()
        width = self.network.hash_layer.linear.in_features
        return self._image_encoder.vectors(
            _local_and_whole(self.network), width, self.train, torch.arange(len(self.train)), EVALUATION_BATCH
        )

    def _synchronize(self) -> None:
        """Give every worker rank 0's codes, running statistics and hash layer, which gradients do not keep alike."""
        codes = () if self.method.codes is None else (self.method.codes,)
        for tensor in (*codes, *self.network.hash_layer.parameters()):
            self.worker.broadcast(tensor.detach())
        self._share_buffers()

    def _share_buffers(self) -> None:
        """Give every worker rank 0's running statistics."""
        for buffer in self.network.buffers():
            self.worker.broadcast(buffer)

    def _encode(self, images: ImageSet) -> Tensor:
        """Return the signs of the network's outputs: (m, c), on the device. All workers must call this together."""
        return signs(self._image_encoder.outputs(self.network, images, torch.arange(len(images)), EVALUATION_BATCH))

    def _network_codes(self, warming: bool) -> Tensor:
        """Return the database's codes (n, c) by the network; this takes a pass over the database."""
        return signs(self._views(warming).encode(torch.arange(len(self.train))))

    def _describe(self, sample: Tensor, outputs: Tensor, warming: bool) -> dict[str, float]:
        """Describe the codes after an iteration, and evaluate the held-out part.

        Args:
            sample: (r,) rows that were trained on, on the device.
            outputs: (r, c) their outputs.
            warming: whether the iteration belongs to the warm-up.
        """
        codes = self.method.codes
        if codes is None:
            if not len(self.held_out):
                return {}  # nothing needs the codes, which would cost a pass
            codes = self._network_codes(warming)
        agreement = ((outputs >= 0) == (codes[sample] > 0)).float().mean()
        description = self.evaluator.describe(codes) | {"bit_agreement": float(agreement)}
        return description | self.evaluator.validate(self._encode, codes)

    def _select(self, report: Mapping[str, Any]) -> None:
        """Keep network and codes of the best iteration on the held-out part, where the config selects it."""
        value = report.get("map_validation")
        if self.config.train.select == "validation" and value is not None:
            self._best.offer(
                value,
                lambda: {"network": copied(self.network.state_dict()), "codes": self.codes.to("cpu", torch.int8)},
            )


def build(config: RetrievalConfig, seed: int, worker: Worker) -> RetrievalTask | shallow_task.ShallowHashingTask:
    """Return the task of the config's method; arguments and errors are those of `RetrievalTask`."""
    task = RetrievalTask if config.hashing_method.trained else shallow_task.ShallowHashingTask
    return task(config, seed, worker)


def _local_and_whole(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return a function from images to ExchNet's local features, followed by the global ones: (B, (M + 1) C)."""

    def _features(images: Tensor) -> Tensor:
        output = network(images)
        return torch.cat([output.local.flatten(1), output.whole], dim=1)

    return _features
