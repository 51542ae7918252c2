"""A change of an explained path: its step, its absence from the best config, and its Shapley value."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dashboards.html import verdicts
from raysearch.studies.analysis import change_path
from raysearch.studies.analysis.raced_path import RacedPair

Row = Mapping[str, Any]


@dataclass(frozen=True)
class ShapleyValue:
    """A gain, averaged over all orders of the changes, with its interval over seeds."""

    mean: float
    low: float | None
    high: float | None
    seeds: int


@dataclass(frozen=True)
class ExplainedChange:
    """A change of the path.

    Attributes:
        group: label of its group; empty if the search has no groups.
        position: its place in the path, counted from 1.
        name: its settings.
        before: dotted path -> value in the reference.
        after: dotted path -> value in the best config.
        step: its gain as a step of the path, a row of `change_path.judge`.
        left_out: its gain at the end of the path: the best config against the one without it.
        raced_step: the looks at the step; None for a fixed number of seeds, and where no look can judge it.
        raced_left_out: the looks at its absence, alike.
        shapley: None where not all combinations of the changes have run.
    """

    group: str
    position: int
    name: str
    before: Row
    after: Row
    step: Row
    left_out: Row
    raced_step: RacedPair | None
    raced_left_out: RacedPair | None
    shapley: ShapleyValue | None

    @property
    def verdict(self) -> str:
        """What is claimed of the change: by its step, or else by its absence.

        "mixed" if one is better and the other worse: its gain depends on the other changes.
        """
        found = [self.step["verdict"], self.left_out["verdict"]]
        directions = {verdict.removesuffix(" so far") for verdict in found if verdicts.is_significant(verdict)}
        if len(directions) > 1:
            return "mixed"
        if directions:
            return next(verdict for verdict in found if verdicts.is_significant(verdict))
        return change_path.WITHIN if found == [change_path.WITHIN] * 2 else self.step["verdict"]


@dataclass(frozen=True)
class ExplainedPath:
    """The path of a group.

    Attributes:
        group: its label.
        changes: in the order of the path.
        whole: the best config against the reference, without a correction: the search has judged it. With looks, on a
            number of seeds that was fixed before.
        reference_mean: the mean of the reference on the seeds of `whole`; None before a cell has finished.
        best_mean: that of the best config.
        missing: names of changes that the path has not taken yet.
    """

    group: str
    changes: tuple[ExplainedChange, ...]
    whole: Row
    reference_mean: float | None
    best_mean: float | None
    missing: tuple[str, ...]
