"""ExchNet-like training: ADSH's hash loss on parts that are kept apart, and exchanged among the images of a class.

See `models.hashing.exchnet` for the source and for what is a reading of it. Departure: exchanges begin after a share of
the iterations, since schedules differ in length. In a warm-up the global feature is trained alone.
"""

import torch
from torch import Tensor

from raysearch.models.hashing import exchnet
from raysearch.models.hashing.exchnet import ExchNet
from raysearch.studies.configs import RetrievalConfig
from raysearch.tasks.base import Worker
from raysearch.tasks.retrieval.methods.asymmetric import Asymmetric
from raysearch.tasks.retrieval.sampling import RunSampler
from raysearch.tasks.retrieval.views import Outputs


class Exchange(Asymmetric):
    """See the module; implements `Method`. The anchors are the network's, and saved with it."""

    parts: tuple[str, ...] = ("loss", "hash_loss", "quantisation", "spatial", "channel", "alignment")

    def __init__(self, config: RetrievalConfig, draws: RunSampler, worker: Worker, network: ExchNet) -> None:
        super().__init__(config, draws, worker)
        self._network, self._exchanging = network, False
        self._sums = torch.zeros_like(network.anchors)
        self._counts = torch.zeros(len(network.anchors), device=worker.device)

    def start(self, sample: Tensor, trained: int) -> None:
        super().start(sample, trained)
        # Anchors are of the iteration before.
        self._exchanging = trained >= max(1, self._config.exchnet.align_after * self._config.train.iterations)

    def start_epoch(self) -> None:
        self._sums.zero_()
        self._counts.zero_()

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        parts = self._config.exchnet.parts if self._exchanging else 0
        return torch.rand(count, parts, generator=generator)

    def inputs(self, rows: Tensor, drawn: Tensor) -> tuple[Tensor, ...]:
        device = self._labels.device
        return (self._labels[rows.to(device)], drawn.to(device)) if self._exchanging else ()

    def losses(self, seen: Outputs, rows: Tensor) -> dict[str, Tensor]:
        config, rows = self._config.exchnet, rows.to(self._labels.device)
        hash_loss, quantisation, adapted = self.adapted(seen, rows)
        spatial = channel = alignment = adapted.new_zeros(())
        if seen.whole is not None:  # not in a warm-up, which has no maps
            local, labels = seen.whole.local, self._labels[rows]
            spatial = exchnet.spatial_diversity(seen.whole.scores)
            channel = exchnet.channel_diversity(local, config.threshold)
            if config.alignment:
                alignment = exchnet.alignment(local, labels, self._network.anchors)
            sums, counts = exchnet.class_sums(local.detach(), labels, len(self._sums))
            self._sums += sums
            self._counts += counts
        weighted = config.spatial * spatial + config.channel * channel + config.alignment * alignment
        parts = (adapted + weighted, hash_loss, quantisation, spatial, channel, alignment)
        return dict(zip(self.parts, parts, strict=True))

    def finish(self, sample: Tensor, outputs: Tensor) -> None:
        super().finish(sample, outputs)
        self._network.update_anchors(self._worker.sum(self._sums), self._worker.sum(self._counts))
