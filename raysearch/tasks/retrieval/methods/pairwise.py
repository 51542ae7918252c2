"""Methods that learn from similar and dissimilar pairs: DPSH, DSH, HashNet, and the losses of extensions.

The network encodes queries and database alike. See `models.hashing.dpsh`, `dsh` and `hashnet` for sources and losses.
Departures: optimizer, rates and number of steps are the task's, the same for all methods; HashNet pairs a batch with
itself instead of a second batch. Under several workers pairs are formed within a worker's share of a batch.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from raysearch.models.hashing import dpsh, dsh, hashnet
from raysearch.studies.configs import RetrievalConfig
from raysearch.tasks.base import Worker
from raysearch.tasks.retrieval.methods.base import ImageInputs
from raysearch.tasks.retrieval.network import Network
from raysearch.tasks.retrieval.sampling import RunSampler
from raysearch.tasks.retrieval.views import Outputs


class PairwiseMethod(ImageInputs):
    """A method whose loss sees the outputs and labels of one batch; implements `Method`.

    Args:
        config: the config of the run.
        sampler: the sampler of the run.
        worker: the worker that the run is trained on.
        network: the network that is trained.
    """

    codes = None

    def __init__(self, config: RetrievalConfig, sampler: RunSampler, worker: Worker, network: Network) -> None:
        self._config = config
        self._sampler = sampler
        self._labels = torch.from_numpy(sampler.labels).to(worker.device)
        self._steps = 0

    @abstractmethod
    def batch_loss(self, u: Tensor, labels: Tensor, rows: Tensor) -> Tensor | Mapping[str, Tensor]:
        """Return the loss of a batch, or named parts whose sum is minimized.

        Args:
            u: (B, c) activated outputs.
            labels: (B,) int64.
            rows: (B,) of the database, on the device.
        """

    def activate(self, z: Tensor) -> Tensor:
        """Return the outputs as they are: they are linear."""
        return z

    def start_iteration(self, sample: Tensor, trained: int) -> None:
        """Do nothing: there are no codes to prepare for."""

    def order(self, sample: Tensor, generator: torch.Generator) -> Tensor:
        """Return an order with groups of images of a class, by the config's `pairs.per_class`."""
        return self._sampler.grouped(sample, self._config.pairs.per_class, generator)

    def losses(self, outputs: Outputs, rows: Tensor) -> dict[str, Tensor]:
        """Return the loss of a batch, and its parts if it has any.

        Raises:
            ValueError: a part is named "loss".
        """
        self._steps += 1
        loss = self.batch_loss(outputs.anchor, self._labels[rows], rows)
        if isinstance(loss, Tensor):
            return {"loss": loss}
        if "loss" in loss:
            raise ValueError("a part of a loss must not be named 'loss', which is the sum of the parts")
        return {"loss": torch.stack(list(loss.values())).sum(), **loss}

    def finish_iteration(self, sample: Tensor, outputs: Tensor) -> None:
        """Do nothing: there are no codes to update."""

    def state_dict(self) -> dict[str, Any]:
        """Return the number of steps."""
        return {"steps": self._steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a number of steps."""
        self._steps = state["steps"]


class DpshMethod(PairwiseMethod):
    """DPSH: pairs of a batch with the latest outputs of all images. Outputs that are not yet known are zeros."""

    def __init__(self, config: RetrievalConfig, sampler: RunSampler, worker: Worker, network: Network) -> None:
        super().__init__(config, sampler, worker, network)
        self._bank = torch.zeros(len(sampler.labels), config.hash.bits, device=worker.device)

    def batch_loss(self, u: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        """Store the batch's outputs in the bank, and return the loss of its pairs with all images of the database."""
        self._bank[rows] = u.detach()
        return dpsh.loss(u, labels, self._bank, self._labels, self._config.dpsh.eta)

    def finish_iteration(self, sample: Tensor, outputs: Tensor) -> None:
        """Store the outputs that other workers computed, too."""
        self._bank[sample] = outputs

    def state_dict(self) -> dict[str, Any]:
        """Return the number of steps and the bank."""
        return {**super().state_dict(), "bank": self._bank.to("cpu", copy=True)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a bank.

        Raises:
            ValueError: a bank of another number of images or bits.
        """
        super().load_state_dict(state)
        if state["bank"].shape != self._bank.shape:
            raise ValueError(
                f"the state holds outputs of shape {tuple(state['bank'].shape)}; "
                f"this run needs {tuple(self._bank.shape)}"
            )
        self._bank.copy_(state["bank"])


class DshMethod(PairwiseMethod):
    """DSH: a contrastive loss on linear outputs."""

    def batch_loss(self, u: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        """Return the contrastive loss of the batch's pairs; the margin grows with the number of bits."""
        section = self._config.dsh
        return dsh.loss(u, labels, section.margin * self._config.hash.bits, section.alpha)


class HashNetMethod(PairwiseMethod):
    """HashNet: a weighted likelihood of pairs, with a tanh that sharpens as training goes on."""

    def activate(self, z: Tensor) -> Tensor:
        """Return tanh(beta z), with beta of the current step."""
        section = self._config.hashnet
        return torch.tanh(hashnet.scale(self._steps, section.growth, section.every) * z)

    def batch_loss(self, u: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        """Return the weighted likelihood loss of the batch's pairs; `alpha` is divided by the number of bits."""
        return hashnet.loss(u, labels, alpha=self._config.hashnet.alpha / self._config.hash.bits)


class ExtensionLoss(PairwiseMethod):
    """The loss that an extension registered for `hash.method`, on linear outputs."""

    def batch_loss(self, u: Tensor, labels: Tensor, rows: Tensor) -> Tensor | Mapping[str, Tensor]:
        """Return the extension's loss, called as `loss(u, labels, section)`; the section is None without a config."""
        method = self._config.hashing_method
        assert method.loss is not None
        loss: Tensor | Mapping[str, Tensor] = method.loss(u, labels, getattr(self._config, method.name, None))
        return loss
