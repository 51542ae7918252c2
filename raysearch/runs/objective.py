"""The metric that checkpoints and schedulers choose by. It needs no torch, which a trial's mailbox does not import."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Objective:
    """The metric of a step's report by which the best checkpoint is chosen.

    Args:
        metric: its key in the report.
        mode: "max" or "min".
    """

    metric: str
    mode: str

    def is_better(self, value: float, than: float | None) -> bool:
        """Return whether a value beats another; any value beats None."""
        return than is None or (value > than if self.mode == "max" else value < than)
