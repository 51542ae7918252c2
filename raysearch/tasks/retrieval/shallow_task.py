"""Retrieval by codes that are fitted to the features of an untrained trunk in one go: LSH, SH, ITQ and SDH.

One step extracts the pooled features of the database, fits an encoder (`models.hashing`) and encodes the database;
queries go through trunk and encoder.
"""

import time
from typing import Any

import torch
from torch import Tensor

from raysearch.core.errors import UserError
from raysearch.data.feed import ImageSet
from raysearch.models import hashing
from raysearch.models.fcaenet import pool
from raysearch.studies.configs import RetrievalConfig
from raysearch.tasks.base import Worker
from raysearch.tasks.common.loader import Loader
from raysearch.tasks.retrieval import feature_cache
from raysearch.tasks.retrieval import network as retrieval_network
from raysearch.tasks.retrieval.evaluation import Encode, RetrievalEvaluator
from raysearch.tasks.retrieval.holdout import check_classes, hold_out
from raysearch.tasks.retrieval.views import CachedViews

BATCH = 128


class ShallowHashingTask:
    """See the module; implements `Task`. Arguments and errors as those of `RetrievalTask`."""

    metric_ids = RetrievalEvaluator.metric_ids
    steps = 1

    def __init__(self, config: RetrievalConfig, seed: int, worker: Worker) -> None:
        self.config, self.seed, self.worker, self.done = config, seed, worker, 0
        self.train, self.held_out = hold_out(worker.feed.train, config.data.validation)
        check_classes(self.train.labels)
        self.judge = RetrievalEvaluator(self.train, worker.feed.test, self.held_out)
        network = retrieval_network.build_network(config, seed, classes=0)  # its hash layer stays unused
        self.network = network.to(worker.device).to(memory_format=torch.channels_last).eval()
        self.loader = Loader(worker.device)
        self._views = CachedViews(
            self.network, self.train, config, worker, self.loader, feature_cache.key(config, seed, worker)
        )
        self.encoder: hashing.Encoder | None = None
        self.codes = torch.empty(0, config.hash.bits, device=worker.device)

    def advance(self) -> dict[str, Any]:
        """The only step; its report holds no loss."""
        started = time.perf_counter()
        self.loader.waited()
        labels = torch.from_numpy(self.train.labels).to(self.worker.device)
        table, method = self._views.anchors, self.config.hash.method
        try:
            self.encoder = hashing.fit(method, table, labels, self.config.hash.bits, self.seed, **self._options())
        except ValueError as error:
            raise UserError(f"hash.method={method}: {error}") from None
        self.codes, self.done = self.encoder(table), 1
        report = {"iteration": 1, "phase": "train", "epochs": 0, **self.judge.describe(self.codes)}
        report |= self.judge.validate(self._encode, self.codes)
        seconds = time.perf_counter() - started
        report |= {"seconds": seconds, "images_per_second": len(self.train) / seconds}
        return report | {"feed_wait_share": min(1.0, self.loader.waited() / seconds)}

    def evaluate(self) -> dict[str, Any]:
        """The metrics of `metric_ids`; `map_validation` where a part was held out."""
        return self.judge.evaluate(*self.judged())

    def judged(self) -> tuple[Encode, Tensor]:
        """The encoder of queries, and the database's codes (n, c) in {-1, +1}."""
        return self._encode, self.codes

    def state_dict(self) -> dict[str, Any]:
        """Copies on the CPU; without the trunk, which is as it came."""
        encoder = {} if self.encoder is None else self.encoder.state_dict()
        return {
            "encoder": {name: tensor.to("cpu", copy=True) for name, tensor in encoder.items()},
            "codes": self.codes.to("cpu", torch.int8),
            "done": self.done,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state. Raises ValueError where it is another method's."""
        if state["encoder"]:
            self.encoder = hashing.restore(self.config.hash.method, state["encoder"]).to(self.worker.device)
        self.codes = state["codes"].to(self.codes)
        self.done = state["done"]

    def _options(self) -> dict[str, Any]:
        options = {"itq": self.config.itq, "sdh": self.config.sdh}.get(self.config.hash.method)
        return options.model_dump() if options else {}

    @torch.no_grad()
    def _encode(self, images: ImageSet) -> Tensor:
        assert self.encoder is not None, "nothing is fitted yet"
        images.prefetch(torch.arange(len(images)))
        rows = torch.arange(len(images)).split(BATCH)
        parts = [pool(self.network.trunk(self.loader.batch(images, part))) for part in rows]
        return self.encoder(torch.cat(parts))
