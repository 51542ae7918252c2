"""Few-shot recognition in training: HelixFormer (arXiv 2207.00784), LWFM-SPM (arXiv 2411.06363), and their baselines.

An epoch is a number of episodes of the base classes, a few per step. After each epoch the network is evaluated on
episodes of the validation classes. At the end, the network of the best epoch is evaluated on episodes of the test
classes, which choose nothing. Seed and index determine an episode, so all variants see the same ones.

Departures: an epoch has as many episodes as the config sets, not as many steps as the base classes have batches. So the
ordinary batch of LWFM-SPM is drawn anew in each step, with replacement. A gradient that is not a number is not set to
zero: it shows in the loss, which ends the run.
"""

import json
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from raysearch.core import UserError
from raysearch.data.episodes import Episodes
from raysearch.data.feed import ImageSet
from raysearch.models.fewshot import EpisodeOutput, EpisodicNetwork
from raysearch.models.lwfm_loss import Classified, lwfm_loss
from raysearch.studies.configs import FewshotConfig
from raysearch.tasks import metric_definitions
from raysearch.tasks.base import Worker
from raysearch.tasks.common import (
    BestState,
    Loader,
    Prefetcher,
    StepMeter,
    autocast,
    check_finite,
    copied,
    exact_float32,
    seed_step,
)
from raysearch.tasks.fewshot import evaluation
from raysearch.tasks.fewshot.network import build_network, build_optimizer, set_rate
from raysearch.tasks.fewshot.views import EpisodeSampler, EpisodeViews, StepInputs


class FewshotTask:
    """Few-shot recognition in training; see the module. Implements `Task`.

    Args:
        config: the config of the run.
        seed: the seed of everything random in training.
        worker: the worker that it runs on.

    Raises:
        UserError: too few classes for an episode, or a step whose episodes or ordinary images do not divide among the
            workers.
    """

    def __init__(self, config: FewshotConfig, seed: int, worker: Worker) -> None:
        self.config = config
        self.seed = seed
        self.worker = worker
        feed = worker.feed
        assert feed.val is not None, "few-shot recognition takes class-disjoint splits"
        self.metric_ids = metric_definitions.fewshot(config, feed.split)
        config.check_workers(worker.world_size)
        self._train_episodes = _episodes(feed.train, "train", config, seed)
        self._val_episodes = _episodes(feed.val, "validation", config, config.episodes.seed)
        self._test_episodes = _episodes(feed.test, "test", config, config.episodes.seed)
        network = build_network(config, seed, len(np.unique(feed.train.labels)), worker.start)
        self.network = network.to(worker.device).to(memory_format=torch.channels_last)
        self.optimizer = build_optimizer(self.network, config.train)
        self._wrapped = worker.wrap(self.network) if self.optimizer else self.network
        self.loader = Loader(worker.device, worker.device_images, worker.gpu_share)
        ways = torch.arange(config.episodes.ways).repeat_interleave(config.episodes.queries)
        (self._true_ways,) = self.loader.upload(ways)  # (N,)
        trained = self.optimizer is not None and not config.model.frozen
        self._stores = evaluation.MapStores(self.network, worker, self.loader, config, trained)
        self._views = EpisodeViews(self._stores, feed.train, config, seed, worker, self.loader)
        self.steps = max(1, config.train.epochs)
        self.done = 0
        self._sampler = EpisodeSampler(config, seed, self._train_episodes, len(feed.train))
        # Not of `self`: with a cycle, an ended task would stay in memory until Python collects garbage.
        self._prefetcher = Prefetcher(feed.train, partial(self._sampler.rows, worker=worker))
        self._best = BestState()  # with train.select=validation

    def advance(self) -> dict[str, Any]:
        """Train for one epoch, and evaluate on the validation classes.

        Returns:
            Mean losses, the accuracy on both sides, and the keys of `StepMeter.report`.

        Raises:
            NonFiniteLoss: the loss became infinite or not a number.
        """
        meter = StepMeter(self.loader)
        config = self.config.train
        rate = {"lr": set_rate(self.optimizer, config, self.done)} if self.optimizer else {}
        episodes = config.episodes if self.optimizer else 0
        if self.optimizer and not self.config.model.frozen:
            self._prefetcher.request(self.done, self.steps)
        with exact_float32(self.worker.device, config.precision):
            means = self._train_epoch() if self.optimizer else {}
        check_finite(means.get("loss", 0.0), f"in epoch {self.done + 1}")
        for buffer in self.network.buffers():  # rank 0's running statistics
            self.worker.broadcast(buffer)
        training_seconds = meter.seconds
        self.done += 1
        accuracy, _, _ = self._evaluate("val", self._val_episodes, self.config.episodes.validation)
        if config.select == "validation":
            self._best.offer(accuracy, lambda: {"network": copied(self.network.state_dict())})
        return {
            "iteration": self.done,
            "phase": "train",
            "epochs": int(bool(episodes)),
            **means,
            **rate,
            "accuracy_validation": accuracy,
            **meter.report("episodes", episodes, training_seconds),
        }

    def evaluate(self) -> dict[str, Any]:
        """Evaluate on the test episodes.

        Returns:
            `accuracy` and half the width of its interval, `accuracy_validation`, and as JSON the number of correct
            queries in each test episode.
        """
        last = copied(self.network.state_dict())
        _, drawn = self.judged()
        config = self.config.episodes
        mean, half_width, by_episode = self._evaluate("test", drawn, config.test)
        validation, _, _ = self._evaluate("val", self._val_episodes, config.validation)
        self.network.load_state_dict(last)
        correct = np.rint(by_episode * config.ways * config.queries).astype(int).tolist()
        return {
            "accuracy": mean,
            "accuracy_ci": half_width,
            "accuracy_validation": validation,
            "right_by_episode": json.dumps(correct, separators=(",", ":")),
        }

    def judged(self) -> tuple[EpisodicNetwork, Episodes]:
        """Return the network and the episodes of the test metrics.

        Where the config keeps the best epoch, its network replaces the last one's.
        """
        if self._best:
            self.network.load_state_dict(self._best["network"])
        return self.network, self._test_episodes

    def state_dict(self) -> dict[str, Any]:
        """Return copies on the CPU, in plain dicts: `torch.load(weights_only=True)` reads them on any machine."""
        return {
            "network": copied(self.network.state_dict()),
            "optimiser": copied(self.optimizer.state_dict()["state"]) if self.optimizer else {},
            "best": self._best.state_dict(),
            "done": self.done,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state, under this run's own config."""
        self.network.load_state_dict(state["network"])
        self._stores.clear()
        if self.optimizer:
            groups = self.optimizer.state_dict()["param_groups"]
            self.optimizer.load_state_dict({"state": copied(state["optimiser"]), "param_groups": groups})
        self._best.load_state_dict(state["best"])
        self.done = state["done"]

    def _train_epoch(self) -> dict[str, float]:
        """Train for one epoch; return the means over its episodes and all workers."""
        steps = list(self._sampler.steps(self.done))
        self.network.train()
        names, means = zip(*[self._step(inputs) for inputs in self._views.load(steps)], strict=True)
        sums = dict.fromkeys(names[0], 0.0)
        # Read once per epoch: each read makes the host wait for the device.
        for step, values in zip(steps, torch.stack(means).tolist(), strict=True):
            for name, value in zip(sums, values, strict=True):
                sums[name] += len(step.support) * value
        return {name: value / self.config.train.episodes for name, value in sums.items()}

    def _step(self, inputs: StepInputs) -> tuple[list[str], Tensor]:
        """Train on this worker's share of a step's episodes.

        Returns:
            The names of the losses and of the accuracy, and their means over all workers, on the device.
        """
        config = self.config
        worker = self.worker
        seed_step(self.seed, self.done, inputs.step.number, worker.rank, device=worker.device)
        with autocast(worker.device, config.train.precision):
            output = self._wrapped(inputs.images, inputs.layout, inputs.batch)
        losses = self._losses(output, inputs)
        assert self.optimizer is not None
        self.optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()
        if config.train.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.train.clip)
        self.optimizer.step()
        losses["accuracy_train"] = (output.logits.argmax(-1) == self._true_ways).float().mean()
        means = worker.sum(torch.stack([loss.detach().float() for loss in losses.values()])) / worker.world_size
        return list(losses), means

    def _losses(self, output: EpisodeOutput, inputs: StepInputs) -> dict[str, Tensor]:
        """Return the episode's cross-entropy, or with LWFM-SPM's auxiliary losses their weighted sum and its terms.

        Args:
            output: the output of the network.
            inputs: what it was called with.
        """
        true_ways = self._true_ways.expand(len(output.logits), -1)
        if output.query is None or output.batch is None:
            return {"loss": functional.cross_entropy(output.logits.flatten(0, 1), true_ways.flatten())}
        terms = lwfm_loss(
            Classified(output.logits, true_ways),
            Classified(output.query, inputs.query_classes),
            Classified(output.batch, inputs.batch_classes),
            self.config.lwfm.episode_weight,
        )
        parts = {"loss_episode": terms.episode, "loss_query": terms.queries, "loss_batch": terms.batch}
        return {"loss": terms.loss, **parts}

    def _evaluate(self, part: evaluation.Part, drawn: Episodes, count: int) -> tuple[float, float, np.ndarray]:
        """Return mean, half width and the single values (count,) of the accuracy over episodes of a split."""
        images: ImageSet = getattr(self.worker.feed, part)
        precision = self.config.train.precision
        with exact_float32(self.worker.device, precision):
            store = self._stores.store(part)
            by_episode = evaluation.accuracies(
                self.network, images, drawn, count, self.worker, self.loader, precision, store
            )
        return *evaluation.mean_and_half_width(by_episode), by_episode


def _episodes(images: ImageSet, part: str, config: FewshotConfig, seed: int) -> Episodes:
    episodes = config.episodes
    classes = len(np.unique(images.labels))
    if classes < episodes.ways:
        raise UserError(f"episodes.ways={episodes.ways}: the split has {classes} {part} classes; set fewer ways")
    return Episodes(images.labels, episodes.ways, episodes.shots, episodes.queries, seed)
