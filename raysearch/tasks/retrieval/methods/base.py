"""The interface between a retrieval task and a trained hashing method.

Legend: `n` rows of the database, `r` sampled rows, `B` batch, `c` bits.
"""

from typing import Any, Protocol

import torch
from torch import Tensor

from raysearch.tasks.retrieval.views import Outputs


class Method(Protocol):
    """A trained hashing method: its losses, and what it knows of the database."""

    @property
    def codes(self) -> Tensor | None:
        """Codes of the database, (n, c) in {-1, +1}; None where the network encodes it."""

    def activate(self, z: Tensor) -> Tensor:
        """Activate the network's outputs (B, c), for losses and code updates."""

    def start_iteration(self, sample: Tensor, trained: int) -> None:
        """Begin an outer iteration.

        Args:
            sample: (r,) rows of the database, on the host.
            trained: number of iterations since the warm-up; negative in the warm-up.
        """

    def order(self, sample: Tensor, generator: torch.Generator) -> Tensor:
        """Return the order in which an epoch goes through the sample: a permutation of its positions, (r,).

        It follows from the arguments alone, so that images can be requested before the epoch begins.
        """

    def start_epoch(self) -> None:
        """Forget what the last epoch collected."""

    def draw_inputs(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw the random part of the network's inputs, alike on all workers: (count, k), one row per image."""

    def inputs(self, rows: Tensor, drawn: Tensor) -> tuple[Tensor, ...]:
        """Return the network's inputs besides the images.

        Args:
            rows: (B,) of the anchors, on the device.
            drawn: (B, k) their rows of `draw_inputs`, on the device.
        """

    def losses(self, outputs: Outputs, rows: Tensor) -> dict[str, Tensor]:
        """Return the losses of a batch, scalars by name; "loss" comes first and is minimized.

        Args:
            outputs: activated.
            rows: (B,) of the database, on the device.
        """

    def finish_iteration(self, sample: Tensor, outputs: Tensor) -> None:
        """End an outer iteration; every worker calls it.

        Args:
            sample: (r,) rows of the database, on the device.
            outputs: (r, c) of the last epoch, activated.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return what the method keeps between iterations."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state.

        Raises:
            ValueError: the state is of another database.
        """


class ImageInputs:
    """The parts of `Method` for methods whose network takes images alone, and that collect nothing in an epoch."""

    def start_epoch(self) -> None:
        """Do nothing."""

    def draw_inputs(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw nothing: (count, 0)."""
        return torch.zeros(count, 0)

    def inputs(self, rows: Tensor, drawn: Tensor) -> tuple[Tensor, ...]:
        """Return no further inputs."""
        return ()
