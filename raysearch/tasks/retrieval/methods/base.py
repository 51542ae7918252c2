"""What a retrieval task and a trained hashing method know of each other.

Legend: `n` rows of the database, `r` sampled rows, `B` batch, `c` bits.
"""

from typing import Any, Protocol

import torch
from torch import Tensor

from raysearch.tasks.retrieval.views import Outputs


class Method(Protocol):
    parts: tuple[str, ...]  # of a batch's losses, "loss" first

    @property
    def codes(self) -> Tensor | None:
        """Of the database: (n, c) in {-1, +1}; None where the network encodes it."""

    def activate(self, z: Tensor) -> Tensor:
        """Outputs of the network before the activation, (B, c), to those that losses and updates see."""

    def start(self, sample: Tensor, trained: int) -> None:
        """An outer iteration begins.

        Args:
            sample: (r,) rows of the database.
            trained: iterations after the warm-up that went before; negative in the warm-up.
        """

    def order(self, sample: Tensor, generator: torch.Generator) -> Tensor:
        """In which order an epoch goes through the sample: a permutation of its positions, (r,).

        It follows from the arguments alone, so that images can be sent for before the epoch begins.
        """

    def start_epoch(self) -> None:
        """Forget what an epoch gathers."""

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """What is random in the network's inputs of `count` images, for all workers alike: (B, k), a row an image."""

    def inputs(self, rows: Tensor, drawn: Tensor) -> tuple[Tensor, ...]:
        """What the network is given besides the anchors `rows` (B,); `drawn` (B, k) are their rows of `draw`."""

    def losses(self, seen: Outputs, rows: Tensor) -> dict[str, Tensor]:
        """The losses of a batch, scalars by the names of `parts`; the gradient flows from "loss".

        Args:
            seen: activated outputs.
            rows: (B,) of the database.
        """

    def finish(self, sample: Tensor, outputs: Tensor) -> None:
        """An outer iteration ends; `outputs` (r, c) are those of its last epoch, activated. All workers call it."""

    def state_dict(self) -> dict[str, Any]:
        """What the method keeps from iteration to iteration."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state. Raises ValueError where it is another database's."""


class NoInputs:
    """For methods that gather nothing, and whose network is given images alone: those parts of `Method`."""

    def start_epoch(self) -> None: ...

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.zeros(count, 0)

    def inputs(self, rows: Tensor, drawn: Tensor) -> tuple[Tensor, ...]:
        return ()
