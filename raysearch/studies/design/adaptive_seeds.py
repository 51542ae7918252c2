"""`Adaptive`: seeds where they are needed. A study is judged at planned looks, and only open questions get more."""

from collections.abc import Sequence
from dataclasses import dataclass

from raysearch.core import Problems
from raysearch.studies.configs import looks as look_checks
from raysearch.studies.configs import seed_list
from raysearch.studies.configs.plain_values import plain_list, to_plain
from raysearch.studies.design import study_values

LOOKS = (3, 5, 8, 12, 20)  # each look has about 1.6 times the seeds of the one before


@dataclass(frozen=True)
class Adaptive:
    """Run more seeds only where the comparison is undecided. Levels are corrected for the looks.

    Seeds are counted from 0. See `docs/adaptive_seeds.md` for the rule.

    Args:
        looks: numbers of seeds at which the study is judged. They cannot change after the start.
        margin: a difference of the metric that does not matter. A variant whose interval is inside ±margin ends. None:
            such variants run to the last look.

    Raises:
        UserError: looks that do not rise, a first look under three seeds, or a margin that is not above zero.

    >>> Adaptive(looks=(3, 5, 8)).most_seeds
    8
    """

    looks: Sequence[int] = LOOKS
    margin: float | None = None

    def __post_init__(self) -> None:
        problems = Problems()
        looks: tuple[int, ...] = LOOKS
        margin = None
        with problems.caught():
            looks = look_checks.check_looks(plain_list(self.looks, "looks"))
            seed_list(looks[-1])
        with problems.caught():
            margin = look_checks.check_margin(to_plain(self.margin, "margin"))
        study_values.set_fields(self, looks=looks, margin=margin)
        study_values.report(problems)

    @property
    def most_seeds(self) -> int:
        """Number of seeds of a variant that is undecided at the last look."""
        return self.looks[-1]
