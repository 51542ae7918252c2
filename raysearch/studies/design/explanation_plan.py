"""The plan of an explanation: the configs between the reference of a search and its best config.

A config on the way has some of the changes. Settings that travel together are a single change.
"""

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from raysearch.studies.configs import RunConfig, flatten, overrides
from raysearch.studies.design.adaptive_seeds import Adaptive
from raysearch.studies.design.plan import REFERENCE, Cell, Device, StudyPlan, Variant, make_cell
from raysearch.studies.design.search_plan import BEST

CHOOSING_SEEDS = 3  # of each candidate, when the order of the changes is chosen
MOST_CROSSED = 4  # changes of a full design, which has 16 configs then


@dataclass(frozen=True)
class Change:
    """A change from the reference to the best config.

    Attributes:
        name: its settings, the leading one first.
        before: dotted path -> value in the reference.
        after: dotted path -> value in the best config.
    """

    name: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]


@dataclass(frozen=True)
class ExplainedGroup:
    """A group of a search, with the changes from its reference to its best config.

    Attributes:
        label: of the group, such as "hash.bits=24"; empty for a search without groups.
        reference: the config without any change.
        changes: in the order of the space.
        measured: gain of the best config, and standard deviation of its paired differences, as the search has judged
            it; None if it cannot be known. A plan with looks forecasts its cells from it.
    """

    label: str
    reference: RunConfig
    changes: tuple[Change, ...]
    measured: tuple[float, float] | None = None

    @property
    def names(self) -> list[str]:
        """Names of the changes."""
        return [change.name for change in self.changes]

    @property
    def crossed(self) -> bool:
        """Whether the changes are so few that all of their combinations run."""
        return len(self.changes) <= MOST_CROSSED

    def variant(self, made: Collection[str]) -> Variant:
        """Return the reference with some changes.

        Args:
            made: their names.

        Raises:
            UserError: the config does not take these values together.
        """
        name = name_config(self.names, made, self.label)
        settings = {
            path: value for change in self.changes if change.name in made for path, value in change.after.items()
        }
        plain = self.reference.model_dump(mode="json")
        config = overrides.resolve(self.reference.task, {**flatten(plain), **settings}, f"config '{name}'")
        return Variant(name=name, settings=settings, declared=settings, config=config)

    def combinations(self) -> list[tuple[str, ...]]:
        """Return all combinations of the changes, the smallest first."""
        names = self.names
        return [made for size in range(len(names) + 1) for made in itertools.combinations(names, size)]


@dataclass(frozen=True, kw_only=True)
class ExplanationPlan(StudyPlan):
    """What the cells of an explanation are made from. `seeds` are those that judge; no change was chosen by them.

    With looks, `seeds` are those of the last look, and `whole_seeds` those of the whole difference: a number of seeds
    that depended on results would bend it.
    """

    kind: ClassVar[Literal["explanation"]] = "explanation"

    search: str  # path or URI of the search's run
    question: str
    groups: tuple[ExplainedGroup, ...]
    choosing_seeds: tuple[int, ...]  # in which the order of the changes is chosen
    metrics: tuple[str, ...]  # of the search; the first chooses the order
    modes: tuple[str, ...]
    metric: str  # that judges
    mode: str
    margin: float | None = None  # smaller gains do not matter
    adaptive: Adaptive | None = None  # looks at which the comparisons are judged; None: once, with all seeds
    whole_seeds: tuple[int, ...] = ()  # of a plan with looks, for both ends of a path

    @property
    def definition(self) -> "ExplanationPlan":
        """The study that is planned: there is none but the plan."""
        return self

    @property
    def task(self) -> str:
        """Name of the task that the search trains."""
        return self.reference_config.task

    @property
    def reference_config(self) -> RunConfig:
        """The reference of the first group."""
        return self.groups[0].reference

    @property
    def most_cells(self) -> int:
        """Number of cells, if every config that is planned can be."""
        total = 0
        for group in self.groups:
            number = len(group.changes)
            chosen = number * (number + 1) // 2 if number > 1 else 0
            total += chosen * len(self.choosing_seeds) + 2 * number * len(self.seeds)
            if group.crossed:
                total += (2**number - 2 * number) * len(self.first_seeds)
        return total

    @property
    def first_seeds(self) -> tuple[int, ...]:
        """Seeds that every config has: those of the first look, or all of them."""
        return self.seeds if self.adaptive is None else self.seeds[: self.adaptive.looks[0]]

    def for_data(self, content_hash: str, device: Device | None = None) -> "ExplanationPlan":
        """Return the plan on another data set, on the same kind of device unless another is given."""
        return replace(self, data=content_hash, device=device or self.device)

    def summary(self) -> str:
        """Return the number of changes and cells."""
        return f"{sum(len(group.changes) for group in self.groups)} changes, at most {self.most_cells} cells"

    def cells(self, variants: Sequence[Variant], seeds: Sequence[int]) -> list[Cell]:
        """Return the cells of variants, seed by seed."""
        return [
            make_cell(variant, seed, self.data, self.workers, device=self.device)
            for seed in seeds
            for variant in variants
        ]


def name_config(names: Sequence[str], made: Collection[str], label: str = "") -> str:
    """Return the name of the reference with some changes.

    Args:
        names: of all changes, in their order.
        made: the names of those that the config has.
        label: of the group.

    >>> name_config(["a", "b", "c"], ["b"]), name_config(["a", "b", "c"], ["a", "c"], "hash.bits=24")
    ('reference with b', 'best without b (hash.bits=24)')
    >>> name_config(["a", "b"], []), name_config(["a", "b"], ["b", "a"])
    ('reference', 'best')
    """
    present = [name for name in names if name in made]
    missing = [name for name in names if name not in made]
    if not present:
        name = REFERENCE
    elif not missing:
        name = BEST
    elif len(present) <= len(missing):
        name = f"{REFERENCE} with {', '.join(present)}"
    else:
        name = f"{BEST} without {', '.join(missing)}"
    return f"{name} ({label})" if label else name
