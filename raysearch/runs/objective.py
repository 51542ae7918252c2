"""What checkpoints and schedulers choose by. Apart from both, since a mailbox knows of it and needs no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Objective:
    """By which figure of a step's report the best checkpoint is chosen."""

    metric: str
    mode: str  # "max" | "min"

    def better(self, value: float, than: float | None) -> bool:
        return than is None or (value > than if self.mode == "max" else value < than)
