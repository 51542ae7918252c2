"""The looks of an adaptive study: numbers of seeds after which it is judged, and the margin of a difference."""

import itertools
import math
from collections.abc import Sequence

from raysearch.core import UserError

FEWEST_SEEDS = 3  # of a look: with fewer seeds a paired difference has no interval


def check_looks(looks: object) -> tuple[int, ...]:
    """Return the looks of an adaptive study as a tuple.

    Args:
        looks: numbers of seeds, such as (3, 5, 8, 12, 20).

    Raises:
        UserError: no whole numbers, a first look under three seeds, or looks that do not rise.

    >>> check_looks([3, 5, 4])
    Traceback (most recent call last):
    raysearch.core.errors.UserError: looks must rise, but 4 follows 5 in 3, 5, 4; list each once, in order
    """
    if not isinstance(looks, Sequence) or isinstance(looks, str) or not looks:
        raise UserError(f"looks are numbers of seeds, such as 3, 5, 8, not {looks!r}")
    for seeds in looks:
        if isinstance(seeds, bool) or not isinstance(seeds, int):
            raise UserError(f"a look is a whole number of seeds, not {seeds!r}; list looks such as 3, 5, 8")
    listed = ", ".join(map(str, looks))
    if looks[0] < FEWEST_SEEDS:
        raise UserError(
            f"the first look has {looks[0]} in {listed}: an interval needs {FEWEST_SEEDS} seeds; start at "
            f"{FEWEST_SEEDS} or more"
        )
    for earlier, later in itertools.pairwise(looks):
        if later <= earlier:
            raise UserError(f"looks must rise, but {later} follows {earlier} in {listed}; list each once, in order")
    return tuple(looks)


def check_margin(margin: object) -> float | None:
    """Return the margin inside which a difference does not matter; None for no margin.

    Args:
        margin: in units of the metric.

    Raises:
        UserError: no number, or one that is not above zero and finite.

    >>> check_margin(0)
    Traceback (most recent call last):
    raysearch.core.errors.UserError: margin is a difference of the metric above 0, not 0; leave it out for none
    """
    if margin is None:
        return None
    is_number = isinstance(margin, int | float) and not isinstance(margin, bool)
    if not (is_number and margin > 0 and math.isfinite(margin)):  # type: ignore[operator, arg-type]
        raise UserError(f"margin is a difference of the metric above 0, not {margin!r}; leave it out for none")
    return float(margin)  # type: ignore[arg-type]
