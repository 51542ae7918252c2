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
from raysearch.tasks.retrieval.methods.base import ImageInputs
from raysearch.tasks.retrieval.network import Network
from raysearch.tasks.retrieval.sampling import RunSampler
from raysearch.tasks.retrieval.views import Outputs


class AsymmetricMethod(ImageInputs):
    """ADSH, with ESRL on further views; implements `Method`.

    Args:
        config: the config of the run.
        sampler: the sampler of the run.
        worker: the worker that the run is trained on.
        network: the network that is trained.
    """

    def __init__(self, config: RetrievalConfig, sampler: RunSampler, worker: Worker, network: Network) -> None:
        self._config = config
        self._worker = worker
        self._host_labels = torch.from_numpy(sampler.labels)
        self._labels = self._host_labels.to(worker.device)
        self._classes = int(sampler.labels.max()) + 1
        self.codes = sampler.codes(config.hash.bits, config.adsh.start).to(worker.device)
        self._rho = 1.0
        self._targets: adsh.Targets | None = None

    def activate(self, z: Tensor) -> Tensor:
        """Return tanh of the outputs, equation 2."""
        return torch.tanh(z)

    def start_iteration(self, sample: Tensor, trained: int) -> None:
        """Compute the targets of the hash loss from the codes, which stay fixed in the iteration."""
        self._rho = 1.0
        if self._config.adsh.similarity == "soft":
            self._rho = adsh.similarity_ratio(self._host_labels[sample], self._host_labels)
        self._targets = adsh.targets(self.codes, self._labels, self._rho, self._classes)

    def order(self, sample: Tensor, generator: torch.Generator) -> Tensor:
        """Return a random order."""
        return torch.randperm(len(sample), generator=generator)

    def losses(self, outputs: Outputs, rows: Tensor) -> dict[str, Tensor]:
        """Return the hash and quantization losses, ESRL, and the erased share for the report."""
        hash_loss, quantization, weighted = self.hash_losses(outputs, rows)
        section = self._config.esrl
        positive_weight = section.positive if outputs.positive is not None else 0.0
        erased_weight = section.erased if outputs.erased is not None else 0.0
        anchor, positive, erased = self._stop_gradients(outputs)
        relation = esrl(anchor, positive, erased, positive_weight, erased_weight)
        return {
            "loss": weighted + relation,
            "hash_loss": hash_loss,
            "quantisation": quantization,  # a key of results
            "esrl": relation,
            "erased_fraction": outputs.erased_fraction,
        }

    def finish_iteration(self, sample: Tensor, outputs: Tensor) -> None:
        """Update the codes bit by bit, equations 16 and 17."""
        if self._worker.rank != 0:
            return  # rank 0 updates the codes and sends them to all
        section = self._config.adsh
        self.codes = adsh.update_codes(
            self.codes,
            outputs,
            sample,
            self._labels,
            section.gamma,
            section.sweeps,
            rho=self._rho,
            pull=section.pull,
            zero=section.zero,
            classes=self._classes,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the codes, as bytes where they are binary."""
        binary = bool((self.codes.abs() == 1).all())  # before the first update they may be normal numbers
        return {"codes": self.codes.to("cpu", torch.int8 if binary else torch.float32)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from codes.

        Raises:
            ValueError: codes of another number of images or bits.
        """
        if state["codes"].shape != self.codes.shape:
            raise ValueError(
                f"the state holds codes of shape {tuple(state['codes'].shape)}; "
                f"this run needs {tuple(self.codes.shape)}"
            )
        self.codes = state["codes"].to(self.codes)

    def hash_losses(self, outputs: Outputs, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return hash loss, quantization loss and their weighted sum.

        Args:
            outputs: activated.
            rows: (B,) of the database, on the device.
        """
        assert self._targets is not None, "an iteration has to be started"
        section = self._config.adsh
        labels = self._labels[rows]
        hash_loss = adsh.target_loss(outputs.anchor, labels, self._targets)
        for view in outputs.also_hashed(section.views):
            hash_loss = hash_loss + adsh.target_loss(view, labels, self._targets)
        quantization = adsh.quantization_loss(outputs.anchor, self.codes[rows], len(self._labels))
        weighted = hash_loss + section.gamma * quantization
        if section.bit_norm:
            weighted = weighted * (12 / self._config.hash.bits)
        return hash_loss, quantization, weighted

    def _stop_gradients(self, outputs: Outputs) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return anchors, positives and erased views, without gradient where the config stops it."""
        anchor = outputs.anchor
        positive = outputs.positive
        erased = outputs.erased
        stopped = self._config.esrl.stop_gradient
        if stopped == "anchor":
            anchor = anchor.detach()
        if stopped == "others":
            positive = None if positive is None else positive.detach()
            erased = None if erased is None else erased.detach()
        return anchor, positive, erased
