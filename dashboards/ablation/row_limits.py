"""The variants that a page, a figure or a terminal shows of a study with more of them than anyone reads."""

import itertools

from dashboards.ablation.variant import Variant
from dashboards.ablation.view import View
from dashboards.html import verdicts


def shown(run: View, limit: int) -> list[Variant]:
    """Return all variants, or the reference and the most informative ones up to a limit, in the plan's order.

    Decided variants come first, and larger differences before smaller ones. Variants above and below the reference
    alternate, so that neither side hides the other.
    """
    if len(run.variants) <= limit:
        return list(run.variants)
    others = [variant for variant in run.variants if not variant.is_reference]
    decided = [variant for variant in others if verdicts.is_significant(variant.verdict)]
    rest = [variant for variant in others if variant.verdict == "no result"]
    undecided = [
        variant for variant in others if variant.verdict != "no result" and not verdicts.is_significant(variant.verdict)
    ]
    selected = {
        variant.name for variant in [run.reference, *_alternating(decided), *_alternating(undecided), *rest][:limit]
    }
    return [variant for variant in run.variants if variant.name in selected]


def _alternating(variants: list[Variant]) -> list[Variant]:
    """Return the largest difference above the reference, the largest below it, the next above it, and so on."""
    ranked = sorted(variants, key=lambda variant: -abs(variant.compared["delta"] or 0.0))
    above = [variant for variant in ranked if (variant.compared["delta"] or 0.0) > 0]
    below = [variant for variant in ranked if (variant.compared["delta"] or 0.0) <= 0]
    return [variant for pair in itertools.zip_longest(above, below) for variant in pair if variant is not None]


def note(run: View, limit: int) -> str:
    """Return a sentence about the variants that `shown` leaves out, and where to find them; empty if there are none."""
    omitted = len(run.variants) - limit
    if omitted <= 0:
        return ""
    return (
        f"Of {len(run.variants):,} variants these are the reference and the {limit - 1} with the largest differences, "
        f"decided ones first; {omitted:,} more are in tables/variants.csv."
    )
