"""Few-shot recognition in training: HelixFormer (arXiv 2207.00784), LWFM-SPM (arXiv 2411.06363), and what they beat.

An epoch is a number of episodes of the base classes, some of them a step; after it the network is judged by episodes of
the validation classes, and at the end, as it was in its best epoch, by those of the test classes, which choose nothing.
Episodes are fixed by seed and index: every variant trains on, and is judged by, the same ones.

Departures: an epoch has as many episodes as the config says, not as many steps as the base classes have batches, so the
ordinary batch of LWFM-SPM is drawn anew each step, with replacement; and a gradient that is not a number is not set to
zero, but shows in the loss, which ends the run.
"""

import json
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from raysearch.core.errors import UserError
from raysearch.data.episodes import Episodes
from raysearch.data.feed import ImageSet
from raysearch.models.fewshot import EpisodeOutput, EpisodicNetwork, Layout
from raysearch.models.lwfm_loss import Classified, lwfm_loss
from raysearch.studies.configs import FewshotConfig
from raysearch.tasks.base import NonFiniteLoss, Worker
from raysearch.tasks.common.loader import Loader, Prefetcher
from raysearch.tasks.common.training import copied
from raysearch.tasks.fewshot import evaluation, optimizer
from raysearch.tasks.fewshot import network as fewshot_network
from raysearch.tasks.fewshot.episode_sampler import EpisodeSampler, EpisodeStep
from raysearch.tasks.fewshot.views import EpisodeViews


class FewshotTask:
    """See the module; implements `Task`.

    Args:
        config: of the run.
        seed: of everything random in training.
        worker: what it runs on.

    Raises:
        UserError: too few classes for an episode, or a step whose episodes or ordinary images do not divide among the
            workers.
    """

    def __init__(self, config: FewshotConfig, seed: int, worker: Worker) -> None:
        self.config, self.seed, self.worker = config, seed, worker
        feed, asked = worker.feed, config.episodes
        assert feed.val is not None, "few-shot recognition takes class-disjoint splits"
        self.metric_ids = metric_ids(config, feed.split)
        _check_shares(config, worker.world_size)
        self._train = _episodes(feed.train, "train", config, seed)
        self._val = _episodes(feed.val, "validation", config, asked.seed)
        self._test = _episodes(feed.test, "test", config, asked.seed)
        self._base, names = np.unique(feed.train.labels, return_inverse=True)
        self._names = torch.from_numpy(names)
        network = fewshot_network.build_network(config, seed, len(self._base), worker.start)
        self.network = network.to(worker.device).to(memory_format=torch.channels_last)
        self.optimiser = optimizer.build_optimizer(self.network, config.train)
        self._wrapped = worker.wrap(self.network) if self.optimiser else self.network
        self.loader = Loader(worker.device)
        self._views = EpisodeViews(self.network, feed.train, config, seed, worker, self.loader)
        self.steps, self.done = max(1, config.train.epochs), 0
        self._steps = EpisodeSampler(config, seed, self._train, len(feed.train))
        self._ahead = Prefetcher(feed.train, lambda epoch: self._steps.rows(epoch, worker))
        self._best: dict[str, Any] = {}  # with train.select=validation: the value and the network that gave it

    def advance(self) -> dict[str, Any]:
        """One epoch; returns its mean losses, the accuracy on both sides, and where the time went."""
        started, config, device = time.perf_counter(), self.config.train, self.worker.device
        self.loader.waited()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        rate = {"lr": optimizer.set_rate(self.optimiser, config, self.done)} if self.optimiser else {}
        episodes = config.episodes if self.optimiser else 0
        if self.optimiser and not self.config.model.frozen:
            self._ahead.request(self.done, self.steps)
        sums: dict[str, float] = {}
        for step in self._steps.steps(self.done) if self.optimiser else ():
            for name, value in self._step(step).items():
                sums[name] = sums.get(name, 0.0) + len(step.support) * value
        means = {name: value / episodes for name, value in sums.items()}
        if not np.isfinite(means.get("loss", 0.0)):
            raise NonFiniteLoss(f"the loss became {means['loss']} in epoch {self.done + 1}; a lower train.lr may help")
        for buffer in self.network.buffers():  # rank 0's running statistics
            self.worker.broadcast(buffer)
        trained = time.perf_counter() - started
        self.done += 1
        report = {"iteration": self.done, "phase": "train", "epochs": int(bool(episodes)), **means, **rate}
        assert self.worker.feed.val is not None
        report["accuracy_validation"] = self._judge(self.worker.feed.val, self._val, self.config.episodes.validation)[0]
        self._select(report)
        if device.type == "cuda":
            report["gpu_memory_bytes"] = torch.cuda.max_memory_allocated(device)
        seconds = time.perf_counter() - started
        report |= {"seconds": seconds, "episodes_per_second": episodes / trained}
        return report | {"feed_wait_share": min(1.0, self.loader.waited() / seconds)}

    def evaluate(self) -> dict[str, Any]:
        """`accuracy` over the test episodes, its half width, the single episodes as JSON; `accuracy_validation`."""
        last = copied(self.network.state_dict())
        _, drawn = self.judged()
        asked, feed = self.config.episodes, self.worker.feed
        assert feed.val is not None
        mean, half, each = self._judge(feed.test, drawn, asked.test)
        validation = self._judge(feed.val, self._val, asked.validation)[0]
        self.network.load_state_dict(last)
        queries = asked.ways * asked.queries
        right = json.dumps(np.rint(each * queries).astype(int).tolist(), separators=(",", ":"))
        figures = {"accuracy": mean, "accuracy_ci": half, "accuracy_validation": validation}
        return figures | {"right_by_episode": right}

    def judged(self) -> tuple[EpisodicNetwork, Episodes]:
        """What the figures of the test classes are of: the network and the episodes.

        Where the config keeps the best epoch, its network takes the place of the last one's.
        """
        if self._best:
            self.network.load_state_dict(self._best["network"])
        return self.network, self._test

    def state_dict(self) -> dict[str, Any]:
        """Copies on the CPU, in plain dicts: `torch.load(weights_only=True)` reads them from a file on any machine."""
        return {
            "network": copied(self.network.state_dict()),
            "optimiser": copied(self.optimiser.state_dict()["state"]) if self.optimiser else {},
            "best": self._best,
            "done": self.done,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state, under this run's own config."""
        self.network.load_state_dict(state["network"])
        if self.optimiser:
            groups = self.optimiser.state_dict()["param_groups"]
            self.optimiser.load_state_dict({"state": copied(state["optimiser"]), "param_groups": groups})
        self._best, self.done = state["best"], state["done"]

    def _step(self, step: EpisodeStep) -> dict[str, float]:
        """Train on a step's episodes, of which this worker takes its share."""
        config, worker = self.config, self.worker
        number, support, query, ordinary = step
        self.network.train()
        inputs = self._views.load_episodes(support.flatten(1), query.flatten(1), number)
        batch = self._views.load_batch(ordinary, number) if config.auxiliary else None
        mine = worker.share(query.flatten(1))
        layout = Layout(len(mine), support.shape[1], support.shape[2], mine.shape[1])
        with evaluation.autocast(worker.device, config.train.precision):
            answer = self._wrapped(inputs, layout, batch)
        losses = self._losses(answer, mine, worker.share(ordinary))
        assert self.optimiser is not None
        self.optimiser.zero_grad(set_to_none=True)
        losses["loss"].backward()
        if config.train.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.train.clip)
        self.optimiser.step()
        named = torch.arange(layout.ways).repeat_interleave(layout.queries // layout.ways).to(worker.device)
        losses["accuracy_train"] = (answer.logits.argmax(-1) == named).float().mean()
        means = worker.sum(torch.stack([one.detach().float() for one in losses.values()])) / worker.world_size
        return dict(zip(losses, means.tolist(), strict=True))

    def _losses(self, answer: EpisodeOutput, queries: Tensor, ordinary: Tensor) -> dict[str, Tensor]:
        """The episode's cross-entropy, and with LWFM-SPM's auxiliary ones their weighted sum.

        Args:
            answer: of the network.
            queries: (E, N) rows of the base images.
            ordinary: (B,) rows of the ordinary batch.
        """
        device, (episodes, count, ways) = self.worker.device, answer.logits.shape
        names = torch.arange(ways, device=device).repeat_interleave(count // ways).expand(episodes, -1)
        if answer.query is None or answer.batch is None:
            return {"loss": functional.cross_entropy(answer.logits.flatten(0, 1), names.flatten())}
        base = self._names.to(device)
        terms = lwfm_loss(
            Classified(answer.logits, names),
            Classified(answer.query, base[queries.to(device)]),
            Classified(answer.batch, base[ordinary.to(device)]),
            self.config.lwfm.episode_weight,
        )
        parts = {"loss_episode": terms.episode, "loss_query": terms.queries, "loss_batch": terms.batch}
        return {"loss": terms.loss, **parts}

    def _judge(self, images: ImageSet, drawn: Episodes, count: int) -> tuple[float, float, np.ndarray]:
        """Mean, half width and single values of the accuracy over episodes."""
        how = self.config.train.precision
        each = evaluation.accuracies(self.network, images, drawn, count, self.worker, self.loader, how)
        return *evaluation.mean_and_half_width(each), each

    def _select(self, report: Mapping[str, Any]) -> None:
        """Keep the network of the first best epoch on the validation classes, where the config says so."""
        value = report["accuracy_validation"]
        if self.config.train.select == "validation" and (not self._best or value > self._best["value"]):
            self._best = {"value": value, "network": copied(self.network.state_dict())}


def metric_ids(config: FewshotConfig, split: str) -> dict[str, str]:
    asked = config.episodes
    name = f"accuracy@{asked.ways}-way-{asked.shots}-shot-{asked.queries}-query"
    return {
        "accuracy": f"{name}/{asked.test}-episodes-of-seed-{asked.seed}/{split}/test",
        "accuracy_ci": f"half-width-of-{name}/{asked.test}-episodes-of-seed-{asked.seed}/{split}/test",
        "accuracy_validation": f"{name}/{asked.validation}-episodes-of-seed-{asked.seed}/{split}/validation",
    }


def _check_shares(config: FewshotConfig, workers: int) -> None:
    """Raise a UserError where a worker would have fewer episodes, or ordinary images, of a step than another."""
    train = config.train
    if not train.epochs:
        return
    last = train.episodes % train.batch
    if train.batch % workers:
        raise UserError(f"train.batch={train.batch} episodes do not divide among {workers} workers")
    if last % workers:
        raise UserError(
            f"train.episodes={train.episodes} leave {last} for the last step of an epoch, which do not divide among "
            f"{workers} workers; set a multiple of train.batch={train.batch}"
        )
    if config.auxiliary and config.lwfm.aux_batch % workers:
        raise UserError(f"lwfm.aux_batch={config.lwfm.aux_batch} images do not divide among {workers} workers")


def _episodes(images: ImageSet, part: str, config: FewshotConfig, seed: int) -> Episodes:
    asked = config.episodes
    classes = len(np.unique(images.labels))
    if classes < asked.ways:
        raise UserError(f"episodes.ways={asked.ways}: the split has {classes} {part} classes; set fewer ways")
    return Episodes(images.labels, asked.ways, asked.shots, asked.queries, seed)


def build(config: FewshotConfig, seed: int, worker: Worker) -> FewshotTask:
    """Return the task of a config."""
    return FewshotTask(config, seed, worker)
