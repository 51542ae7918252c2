"""ExchNet-like training: ADSH's hash loss on parts that are kept apart, and exchanged among the images of a class.

See `models.hashing.exchnet` for the source and for what is a reading of it. Departure: exchanges begin after a share of
the iterations, since schedules differ in length. In a warm-up the global feature is trained alone.
"""

import torch
from torch import Tensor

from raysearch.models.backbones import Backbone
from raysearch.models.hashing import exchnet
from raysearch.models.hashing.exchnet import ExchNet
from raysearch.studies.configs import RetrievalConfig
from raysearch.tasks.base import Worker
from raysearch.tasks.retrieval.methods.asymmetric import AsymmetricMethod
from raysearch.tasks.retrieval.network import Network
from raysearch.tasks.retrieval.sampling import RunSampler
from raysearch.tasks.retrieval.views import Outputs


def build_exchnet(config: RetrievalConfig, backbone: Backbone, classes: int) -> ExchNet:
    """Return the network.

    Args:
        config: the config of the run.
        backbone: the backbone that it is built on.
        classes: K, labels from 0 to K - 1.
    """
    section = config.exchnet
    return ExchNet(
        backbone,
        config.hash.bits,
        section.parts,
        config.model.standardise,
        classes=classes,
        probability=section.exchange,
    )


class ExchNetMethod(AsymmetricMethod):
    """See the module; implements `Method`. The anchors are the network's, and are saved with it."""

    def __init__(self, config: RetrievalConfig, sampler: RunSampler, worker: Worker, network: Network) -> None:
        super().__init__(config, sampler, worker, network)
        assert isinstance(network, ExchNet)
        self._network = network
        self._exchanges = False
        self._sums = torch.zeros_like(network.anchors)
        self._counts = torch.zeros(len(network.anchors), device=worker.device)

    def start_iteration(self, sample: Tensor, trained: int) -> None:
        """Begin an iteration, with exchanges after the configured share of all iterations."""
        super().start_iteration(sample, trained)
        # The first iteration has no anchors to exchange with: they are means over the iteration before.
        self._exchanges = trained >= max(1, self._config.exchnet.align_after * self._config.train.iterations)

    def start_epoch(self) -> None:
        """Reset the sums of the anchors, which are means over the last epoch."""
        self._sums.zero_()
        self._counts.zero_()

    def draw_inputs(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw a uniform number per image and part, once exchanges have begun."""
        parts = self._config.exchnet.parts if self._exchanges else 0
        return torch.rand(count, parts, generator=generator)

    def inputs(self, rows: Tensor, drawn: Tensor) -> tuple[Tensor, ...]:
        """Return labels and random numbers, once exchanges have begun."""
        return (self._labels[rows], drawn) if self._exchanges else ()

    def losses(self, outputs: Outputs, rows: Tensor) -> dict[str, Tensor]:
        """Return ADSH's losses and the terms that keep the parts apart; collect the sums of the anchors."""
        section = self._config.exchnet
        hash_loss, quantization, weighted = self.hash_losses(outputs, rows)
        spatial = channel = alignment = weighted.new_zeros(())
        if outputs.whole is not None:  # a warm-up has no maps
            local = outputs.whole.local
            labels = self._labels[rows]
            spatial = exchnet.spatial_diversity(outputs.whole.scores)
            channel = exchnet.channel_diversity(local, section.threshold)
            if section.alignment:
                alignment = exchnet.alignment(local, labels, self._network.anchors)
            sums, counts = exchnet.class_sums(local.detach(), labels, len(self._sums))
            self._sums += sums
            self._counts += counts
        extra = section.spatial * spatial + section.channel * channel + section.alignment * alignment
        return {
            "loss": weighted + extra,
            "hash_loss": hash_loss,
            "quantisation": quantization,  # a key of results
            "spatial": spatial,
            "channel": channel,
            "alignment": alignment,
        }

    def finish_iteration(self, sample: Tensor, outputs: Tensor) -> None:
        """Update codes and anchors."""
        super().finish_iteration(sample, outputs)
        self._network.update_anchors(self._worker.sum(self._sums), self._worker.sum(self._counts))
