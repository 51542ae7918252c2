"""Retrieval by codes that are fitted once to the features of an untrained backbone: LSH, SH, ITQ and SDH.

One step extracts the pooled features of the database, fits an encoder (`models.hashing`) and encodes the database.
Queries go through backbone and encoder.
"""

from functools import partial
from typing import Any

import torch

from raysearch.core import UserError
from raysearch.data.feed import ImageSet
from raysearch.models import hashing
from raysearch.models.fcaenet import pool
from raysearch.studies.configs import RetrievalConfig
from raysearch.tasks import metric_definitions
from raysearch.tasks.base import Worker
from raysearch.tasks.common import Loader, StepMeter, check_classes, hold_out
from raysearch.tasks.retrieval import evaluation, feature_cache, views
from raysearch.tasks.retrieval.encoding import ImageEncoder
from raysearch.tasks.retrieval.network import Network, build_network

BATCH = 128


class ShallowHashingTask:
    """A fitted method as a task of one step; see the module.

    Args:
        config: the config of the run.
        seed: the seed of everything random.
        worker: the worker that the run uses.

    Raises:
        UserError: classes too few or too small, or weights that do not fit.
    """

    steps = 1

    def __init__(self, config: RetrievalConfig, seed: int, worker: Worker) -> None:
        self.config = config
        self.seed = seed
        self.worker = worker
        self.done = 0
        self.train, self.held_out = hold_out(worker.feed.train, config.data.validation)
        check_classes(self.train.labels)
        self.evaluator = evaluation.RetrievalEvaluator(
            self.train, worker.feed.test, self.held_out, worker, metric_definitions.user_metrics(config)
        )
        self.metric_ids = metric_definitions.retrieval(config, "")
        self.metric_steps = self.evaluator.metric_steps
        network = build_network(config, seed, classes=0)  # its hash layer stays unused
        self.network = network.to(worker.device).to(memory_format=torch.channels_last).eval()
        self.loader = Loader(worker.device, worker.device_images, worker.gpu_share)
        self._image_encoder = ImageEncoder(self.loader, worker, config.train.precision)
        key = feature_cache.feature_key(config, seed, worker)
        self._views = views.CachedViews(self.network, self.train, config, worker, self.loader, key)
        self.encoder: hashing.Encoder | None = None
        self.codes = torch.empty(0, config.hash.bits, device=worker.device)

    def advance(self) -> dict[str, Any]:
        """Fit the encoder, and return the report of this only step; it holds no loss.

        Raises:
            UserError: the method cannot learn from these features.
        """
        meter = StepMeter(self.loader)
        labels = torch.from_numpy(self.train.labels).to(self.worker.device)
        features = self._views.anchors
        method = self.config.hash.method
        try:
            self.encoder = hashing.fit(method, features, labels, self.config.hash.bits, self.seed, **self._options())
        except ValueError as error:
            raise UserError(f"hash.method={method}: {error}") from None
        self.codes = self._share(self.encoder(features))
        self.done = 1
        report = {"iteration": 1, "phase": "train", "epochs": 0, **self.evaluator.describe(self.codes)}
        report |= self.evaluator.validate(self._encode, self.codes)
        return report | meter.report("images", len(self.train))

    def evaluate(self) -> dict[str, Any]:
        """Return the metrics of `metric_ids`; `map_validation` where a part was held out."""
        return self.evaluator.evaluate(*self.judged())

    def judged(self) -> tuple[evaluation.Encode, torch.Tensor]:
        """Return the encoder of queries, and the database's codes (n, c) in {-1, +1}."""
        return self._encode, self.codes

    def state_dict(self) -> dict[str, Any]:
        """Return copies on the CPU; without the backbone, which is untrained."""
        encoder = {} if self.encoder is None else self.encoder.state_dict()
        return {
            "encoder": {name: tensor.to("cpu", copy=True) for name, tensor in encoder.items()},
            "codes": self.codes.to("cpu", torch.int8),
            "done": self.done,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state.

        Raises:
            ValueError: the state is of another method.
        """
        if state["encoder"]:
            self.encoder = hashing.restore(self.config.hash.method, state["encoder"]).to(self.worker.device)
        self.codes = state["codes"].to(self.codes)
        self.done = state["done"]

    def _options(self) -> dict[str, Any]:
        """Return the settings of the method's own sections."""
        options: dict[str, Any] = {}
        for section in self.config.hashing_method.sections:
            options |= getattr(self.config, section).model_dump()
        return options

    @torch.no_grad()
    def _encode(self, images: ImageSet) -> torch.Tensor:
        assert self.encoder is not None, "nothing is fitted yet"
        channels = self.network.hash_layer.linear.in_features
        rows = torch.arange(len(images))
        vectors = self._image_encoder.vectors(partial(_pooled, self.network), channels, images, rows, BATCH)
        return self._share(self.encoder(vectors))

    def _share(self, codes: torch.Tensor) -> torch.Tensor:
        """Return rank 0's codes: each worker fits an encoder, and GPUs may round differently."""
        return self.worker.broadcast(codes.contiguous())


def _pooled(network: Network, images: torch.Tensor) -> torch.Tensor:
    """Return the pooled features (B, C) of images."""
    return pool(network.feature_map(images))
