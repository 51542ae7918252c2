"""The interface of a tracker, and what it is told of a cell."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Numbers = Mapping[str, float]  # name -> finite value

FINAL = "final/"  # prefix of the metrics of an ended cell, which a curve may be named like
_UNUSUAL = re.compile(r"[^\w.=+, -]")
_MAX_NAME = 80  # characters of a variant in the name of a folder


@dataclass(frozen=True)
class TrackedCell:
    """A cell, as a tracker shows it."""

    cell: str  # its hash, which names it for ever
    study: str
    variant: str
    seed: int
    config: Mapping[str, Any] = field(default_factory=dict)  # dotted path -> value

    @property
    def name(self) -> str:
        """The name that people see."""
        return f"{self.variant} seed {self.seed}"

    @property
    def folder(self) -> str:
        """A relative path for files of the cell: its variant, then its seed with the beginning of its hash.

        >>> TrackedCell("0123456789", "s", "model.backbone=timm:vit/b", 3).folder
        'model.backbone=timm_vit_b/seed-3-01234567'
        """
        variant = _UNUSUAL.sub("_", self.variant)[:_MAX_NAME].strip(". ") or "variant"
        return f"{variant}/seed-{self.seed}-{self.cell[:8]}"


@dataclass(frozen=True)
class Outcome:
    """How a cell ended, and later how its variant was judged."""

    status: str  # "finished", "failed" or "stopped"
    error: str | None = None
    metrics: Numbers = field(default_factory=dict)  # on the test split, and what the cell took
    history: Sequence[Numbers] = ()  # one entry per step, the first step first
    verdict: Mapping[str, Any] = field(default_factory=dict)  # on its variant; empty until the study is judged

    @property
    def final_metrics(self) -> dict[str, float]:
        """The metrics under names that no curve has."""
        return {f"{FINAL}{name}": value for name, value in self.metrics.items()}


class Tracker(Protocol):
    """One tool. It is made in a process of its own: it may print, start threads and set environment variables.

    A call may come again after a crash. It must then complete the run of the cell, not begin another.
    An exception ends the tracker, never the sweep.
    """

    def log_step(self, cell: TrackedCell, step: int, values: Numbers) -> None:
        """Log a step of a cell. Steps of a cell come in order, each once and without gaps; the first is 1."""

    def finish(self, cell: TrackedCell, outcome: Outcome) -> None:
        """Log how a cell ended, after its last step."""

    def judge(self, cell: TrackedCell, outcome: Outcome) -> None:
        """Log the verdict of a cell that has ended; called again when the verdict changes."""

    def close(self) -> None:
        """Write what is still in memory."""
