"""Which variants a page, a figure or a terminal shows of a study with more of them than anyone reads."""

import itertools

from dashboards.ablation.view import Variant, View


def shown(run: View, most: int) -> list[Variant]:
    """All variants, or of more than `most` the reference and those that say most, in the plan's order.

    What was decided comes before what was not, and larger differences before smaller ones; those above the reference
    and those below it take turns, so that neither side hides the other.
    """
    if len(run.variants) <= most:
        return list(run.variants)
    others = [one for one in run.variants if not one.is_reference]
    decided = [one for one in others if one.verdict in ("better", "worse")]
    open_ = [one for one in others if one.verdict in ("undecided", "no interval")]
    rest = [one for one in others if one.verdict == "no result"]
    kept = {one.name for one in [run.reference, *_in_turn(decided), *_in_turn(open_), *rest][:most]}
    return [one for one in run.variants if one.name in kept]


def _in_turn(variants: list[Variant]) -> list[Variant]:
    """The largest difference above the reference, the largest below it, the next above it, and so on."""
    ranked = sorted(variants, key=lambda one: -abs(one.compared["delta"] or 0.0))
    above = [one for one in ranked if (one.compared["delta"] or 0.0) > 0]
    below = [one for one in ranked if (one.compared["delta"] or 0.0) <= 0]
    return [one for pair in itertools.zip_longest(above, below) for one in pair if one is not None]


def note(run: View, most: int) -> str:
    """What `shown` leaves out, in a sentence; empty when it leaves out nothing.

    It says where the rest stands, since a number that is not shown must not be lost.
    """
    left = len(run.variants) - most
    if left <= 0:
        return ""
    return (
        f"Of {len(run.variants):,} variants these are the reference and the {most - 1} with the largest differences, "
        f"decided ones first; {left:,} more stand in tables/variants.csv."
    )
