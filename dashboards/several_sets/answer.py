"""The answer of a study on several data sets: one sentence per set, and warnings."""

from dashboards.ablation.judging import answer, rule_words
from dashboards.ablation.variant import Variant
from dashboards.ablation.view import View
from dashboards.html import verdicts
from dashboards.html.formats import count, interval, joined, listed, signed
from dashboards.several_sets.view import SetsView

_MOST_NAMED = 3  # variants of a verdict
_WORDS = {
    "better": "better than the reference",
    "better so far": "better so far",
    verdicts.WITHIN: "within the margin",
    "worse": "worse",
    "worse so far": "worse so far",
    "undecided": "undecided",
    "no interval": "without an interval",
    "no result": "without a result",
}
_MEASURED = ("better", "better so far", "worse", "worse so far")


def sentences(run: SetsView) -> list[str]:
    """Return a sentence per data set, then warnings."""
    start = ["No verdict before the plan is complete."] if run.is_provisional else []
    warned = [*rule_words.warnings(run), run.devices_note]
    for name, view in run.on_set.items():
        warned += [f"{name}: {warning}" for warning in answer.collapse_warnings(view)]
    return [
        *start,
        *(f"{name}: {_on_set(run, name, view)}." for name, view in run.on_set.items()),
        *(f"Warning: {warning}." for warning in warned if warning),
    ]


def _on_set(run: SetsView, name: str, view: View) -> str:
    if name in run.left_out:
        return f"could not be opened, {run.left_out[name].rstrip('.')}"
    if not view.status("finished"):
        errors = [str(row["error"]) for row in view.rows if row.get("error")]
        return "no cell has finished" + (f", the first error is {errors[0].rstrip('.')}" if errors else "")
    sign = 1 if run.mode == "max" else -1
    parts = []
    for verdict, words in _WORDS.items():
        variants = [variant for variant in view.variants if variant.verdict == verdict]
        if not variants:
            continue
        ranked = sorted(variants, key=lambda variant: -sign * (variant.compared["delta"] or 0.0))
        if verdict.startswith("worse"):
            ranked = ranked[::-1]
        parts.append(f"{words}: {listed([_named(variant) for variant in ranked], most=_MOST_NAMED)}")
    holes = {"failed": view.status("failed"), "not run": view.missing}
    counts = [f"{number} {kind}" for kind, number in holes.items() if number]
    return "; ".join(parts or ["nothing to compare"]) + (
        f" ({', '.join(counts)} of {count(view.planned, 'cell')})" if counts else ""
    )


def _named(variant: Variant) -> str:
    label = joined(variant.label, " & ")
    if variant.verdict not in _MEASURED:
        return label
    row = variant.compared
    return f"{label} {signed(row['delta'])} {interval(row['delta_low'], row['delta_high'], sign=True)}".rstrip()
