"""ADSH and FCAENet: outputs are fitted to database codes that are variables of their own, updated bit by bit.

FCAENet, arXiv 2110.04479, equations 10 to 17; see `models.adsh` and `models.esrl` for the mathematics.
"""

from typing import Any

import torch
from torch import Tensor

from raysearch.models import adsh
from raysearch.models.esrl import esrl
from raysearch.studies.configs import RetrievalConfig
from raysearch.tasks.base import Worker
from raysearch.tasks.retrieval.methods.base import NoInputs
from raysearch.tasks.retrieval.sampling import RunSampler
from raysearch.tasks.retrieval.views import Outputs


class Asymmetric(NoInputs):
    """See the module; implements `Method`."""

    parts: tuple[str, ...] = ("loss", "hash_loss", "quantisation", "esrl", "erased_fraction")

    def __init__(self, config: RetrievalConfig, draws: RunSampler, worker: Worker) -> None:
        self._config, self._worker = config, worker
        self._labels = torch.from_numpy(draws.labels).to(worker.device)
        self.codes = draws.codes(config.hash.bits, config.adsh.start).to(worker.device)
        self._rho = 1.0
        self._targets: adsh.Targets | None = None

    def activate(self, z: Tensor) -> Tensor:
        return torch.tanh(z)

    def start(self, sample: Tensor, trained: int) -> None:
        self._rho = 1.0
        if self._config.adsh.similarity == "soft":
            self._rho = adsh.similarity_ratio(self._labels[sample.to(self._labels.device)], self._labels)
        self._targets = adsh.targets(self.codes, self._labels, self._rho)

    def order(self, sample: Tensor, generator: torch.Generator) -> Tensor:
        return torch.randperm(len(sample), generator=generator)

    def losses(self, seen: Outputs, rows: Tensor) -> dict[str, Tensor]:
        config, rows = self._config, rows.to(self._labels.device)
        hash_loss, quantisation, adapted = self.adapted(seen, rows)
        positive_weight = config.esrl.positive if seen.positive is not None else 0.0
        erased_weight = config.esrl.erased if seen.erased is not None else 0.0
        anchor, positive, erased = self._held_fixed(seen)
        relation = esrl(anchor, positive, erased, positive_weight, erased_weight)
        parts = (adapted + relation, hash_loss, quantisation, relation, seen.erased_fraction)
        return dict(zip(self.parts, parts, strict=True))

    def finish(self, sample: Tensor, outputs: Tensor) -> None:
        if self._worker.rank != 0:
            return  # one updates the codes, and all are given them
        config, sample = self._config.adsh, sample.to(self._labels.device)
        self.codes = adsh.update_codes(
            self.codes,
            outputs,
            sample,
            self._labels,
            config.gamma,
            config.sweeps,
            rho=self._rho,
            pull=config.pull,
            zero=config.zero,
        )

    def state_dict(self) -> dict[str, Any]:
        binary = bool((self.codes.abs() == 1).all())  # before the first update they may be normal numbers
        return {"codes": self.codes.to("cpu", torch.int8 if binary else torch.float32)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["codes"].shape != self.codes.shape:
            given, own = tuple(state["codes"].shape), tuple(self.codes.shape)
            raise ValueError(f"the state holds codes of shape {given} and this run's are {own}")
        self.codes = state["codes"].to(self.codes)

    def adapted(self, seen: Outputs, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Hash loss, quantisation loss and their weighted sum, of rows on the device."""
        assert self._targets is not None, "an iteration has to be started"
        config, labels = self._config, self._labels[rows]
        hash_loss = adsh.target_loss(seen.anchor, labels, self._targets)
        for other in seen.also_hashed(config.adsh.views):
            hash_loss = hash_loss + adsh.target_loss(other, labels, self._targets)
        quantisation = adsh.quantisation_loss(seen.anchor, self.codes[rows], len(self._labels))
        adapted = hash_loss + config.adsh.gamma * quantisation
        return hash_loss, quantisation, adapted * (12 / config.hash.bits) if config.adsh.bit_norm else adapted

    def _held_fixed(self, seen: Outputs) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Anchors, positives and erased views, those without their gradient that the config holds fixed."""
        anchor, others = seen.anchor, (seen.positive, seen.erased)
        if self._config.esrl.stop_gradient == "anchor":
            anchor = anchor.detach()
        if self._config.esrl.stop_gradient == "others":
            others = tuple(None if other is None else other.detach() for other in others)  # type: ignore[assignment]
        return anchor, *others
