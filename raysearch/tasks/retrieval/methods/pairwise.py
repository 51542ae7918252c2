"""DPSH, DSH and HashNet: the network learns from pairs alike and unlike, and encodes queries and database alike.

See `models.hashing.dpsh`, `dsh` and `hashnet` for sources and losses. Departures: the optimiser, its rates and the
number of steps are the task's, the same for all methods; HashNet's two batches are one against itself. Under several
workers pairs are formed within a worker's share of a batch.
"""

from typing import Any

import torch
from torch import Tensor

from raysearch.models.hashing import dpsh, dsh, hashnet
from raysearch.studies.configs import RetrievalConfig
from raysearch.tasks.base import Worker
from raysearch.tasks.retrieval.methods.base import NoInputs
from raysearch.tasks.retrieval.sampling import RunSampler
from raysearch.tasks.retrieval.views import Outputs


class Pairwise(NoInputs):
    """See the module; implements `Method`."""

    parts: tuple[str, ...] = ("loss",)
    codes = None

    def __init__(self, config: RetrievalConfig, draws: RunSampler, worker: Worker) -> None:
        self._config, self._draws, self._steps = config, draws, 0
        self._labels = torch.from_numpy(draws.labels).to(worker.device)
        # DPSH pairs a batch with the latest outputs of all images. Zeros, before there are any, push nothing.
        wanted = config.hash.method == "dpsh"
        self._bank = torch.zeros(len(draws.labels), config.hash.bits, device=worker.device) if wanted else None

    def activate(self, z: Tensor) -> Tensor:
        if self._config.hash.method != "hashnet":
            return z
        return torch.tanh(hashnet.scale(self._steps, self._config.hashnet.growth, self._config.hashnet.every) * z)

    def start(self, sample: Tensor, trained: int) -> None: ...

    def order(self, sample: Tensor, generator: torch.Generator) -> Tensor:
        return self._draws.grouped(sample, self._config.pairs.per_class, generator)

    def losses(self, seen: Outputs, rows: Tensor) -> dict[str, Tensor]:
        config, rows = self._config, rows.to(self._labels.device)
        u, labels, bits = seen.anchor, self._labels[rows], self._config.hash.bits
        self._steps += 1
        if self._bank is not None:
            self._bank[rows] = u.detach()
            return {"loss": dpsh.loss(u, labels, self._bank, self._labels, config.dpsh.eta)}
        if config.hash.method == "dsh":
            return {"loss": dsh.loss(u, labels, config.dsh.margin * bits, config.dsh.alpha)}
        return {"loss": hashnet.loss(u, labels, alpha=config.hashnet.alpha / bits)}

    def finish(self, sample: Tensor, outputs: Tensor) -> None:
        if self._bank is not None:  # what other workers saw too
            self._bank[sample.to(self._bank.device)] = outputs

    def state_dict(self) -> dict[str, Any]:
        bank = {} if self._bank is None else {"bank": self._bank.to("cpu", copy=True)}
        return {"steps": self._steps, **bank}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._steps = state["steps"]
        if self._bank is None:
            return
        if state["bank"].shape != self._bank.shape:
            given, own = tuple(state["bank"].shape), tuple(self._bank.shape)
            raise ValueError(f"the state holds outputs of shape {given} and this run's are {own}")
        self._bank.copy_(state["bank"])
