"""The answer to a study's question in one sentence, with intervals; it says so if nothing was decided.

Warnings follow about variants that did not learn: at chance level, one code for all images, worse than the warm-up.
"""

from collections.abc import Callable, Iterable
from typing import Any

from dashboards.ablation.variant import Variant, levels
from dashboards.ablation.view import View
from dashboards.html import verdicts
from dashboards.html.formats import count, interval, joined, listed, metric, metric_name, seeds, signed
from dashboards.run_data import has_chance, history, is_number, mean, near_chance
from raysearch.runs import config_section

_TIE_SPREAD = 0.5  # of mAP between the best and the worst order of ties: the codes hardly tell images apart
_WARM_UP_LOSS = 0.05  # of mAP since the warm-up, with every seed: more than the noise of a small validation part
_MOST_HISTORIES = 3  # seeds of a variant whose histories are read: a large run has half a million steps
_MOST = 3  # variants named in a warning


def sentence(run: View) -> str:
    """Return the answer to the study's question, and warnings: other devices, and variants that did not learn."""
    warned = [f"Warning: {text}." for text in [run.devices_note, *collapse_warnings(run)] if text]
    return " ".join([f"{_finding(run)}{_part_of_study(run)}{_holes(run)}.", *warned])


def half_widths(variants: Iterable[Variant]) -> list[float]:
    """Return half the widths of the variants' intervals. Effects smaller than these go unseen."""
    return [
        (variant.compared["delta_high"] - variant.compared["delta_low"]) / 2
        for variant in variants
        if variant.compared["delta_low"] is not None
    ]


def _finding(run: View) -> str:
    if not any(cell for cell in (run.planned, run.rows)):
        return "No answer: the study has no variant and no cell"
    if not run.status("finished"):
        errors = [str(row["error"]) for row in run.rows if row.get("error")]
        return "No answer: no cell has finished" + (f"; the first error is: {errors[0]}" if errors else "")
    reference = _reference(run)
    name = metric_name(run.metric)
    if not run.reference.values:
        return f"No answer: {reference} has no finished cell to compare with"
    if all(variant.compared["delta_low"] is None for variant in run.variants):
        return _no_interval(run)
    better = _ranked(run, "better")
    worse = _ranked(run, "worse")[::-1]
    worse_text = listed([_with_difference(variant) for variant in worse])
    if better:
        text = f"{_label(better[0])} beats {reference}: {_difference(better[0])} {name}"
        if better[1:]:
            text += f"; also better: {listed([_with_difference(variant) for variant in better[1:]])}"
        if worse:
            text += f"; worse: {worse_text}"
        return text + _undecided(run)
    if worse and run.study.design == "leave_one_out":
        return f"These parts matter: {worse_text} {name} against {reference}{_undecided(run)}"
    if worse:
        return f"No variant beats {reference}; worse: {worse_text} {name}{_undecided(run)}"
    compared = [variant for variant in run.variants if variant.verdict == "undecided"]
    largest = max(compared, key=lambda variant: abs(variant.compared["delta"]))
    return (
        "No variant differs significantly from the reference (5 % level, Holm); "
        f"the largest difference is {_label(largest)}: {_difference(largest)} {name}; "
        f"with {count(largest.compared['seeds'], 'seed')} the widest interval reaches "
        f"\N{PLUS-MINUS SIGN}{metric(max(half_widths(compared)))}, so a smaller effect would go unseen"
    )


def _no_interval(run: View) -> str:
    sign = 1 if run.mode == "max" else -1
    measured = (variant for variant in run.variants if variant.values)
    best = max(measured, key=lambda variant: sign * variant.compared["mean"])
    best_name = _reference(run) if best.is_reference else _label(best)
    rank = "highest" if sign > 0 else "lowest"
    reached = f"the {rank} {metric_name(run.metric)} so far is {metric(best.compared['mean'])}, reached by {best_name}"
    if len(run.variants) == 1:
        return f"Nothing to compare: the run has one variant, and a difference needs two; {reached}"
    reasons = [reason for reason in run.refusals if not reason.startswith("no seed in common")]
    return f"No answer yet: {', '.join(reasons) or _no_common_seed(run)}; {reached}"


def _no_common_seed(run: View) -> str:
    """Return which seeds the reference and the variants have finished, if they have none in common."""
    others = {seed for variant in run.variants if not variant.is_reference for seed in variant.values}
    if not others:
        return "only the reference has finished cells"
    return f"no seed in common: {seeds(run.reference.values)} of the reference, {seeds(others)} of the others"


def _undecided(run: View) -> str:
    undecided = [variant for variant in run.variants if variant.verdict == "undecided"]
    if not undecided:
        return ""
    labels = [_label(variant) for variant in undecided]
    widths = half_widths(undecided)
    texts = dict.fromkeys(f"\N{PLUS-MINUS SIGN}{metric(width)}" for width in (min(widths), max(widths)))
    return f"; undecided, with intervals of {' to '.join(texts)}: {listed(labels, most=3)}"


def _part_of_study(run: View) -> str:
    """Return what part of its study the run is, if `--only` selected one; the p-values are corrected over all of it."""
    return f"; {run.family_note}, over all of which p is corrected" if run.family_note else ""


def _holes(run: View) -> str:
    counts = {"failed": run.status("failed"), "stopped": run.status("stopped"), "not run": run.missing}
    parts = [f"{number} {kind}" for kind, number in counts.items() if number]
    empty = [_label(variant) for variant in run.variants if not variant.values and run.reference.values]
    text = f"; no finished cell: {listed(empty, most=3)}" if empty else ""
    refused = [variant for variant in run.variants if variant.verdict == "no interval"]
    if refused and any(variant.compared["delta_low"] is not None for variant in run.variants):
        reasons = ", ".join(dict.fromkeys(variant.compared["refused"] for variant in refused))
        text += f"; no interval ({reasons}): {listed([_label(variant) for variant in refused], most=3)}"
    return text + (f" ({', '.join(parts)} of {count(run.planned, 'cell')})" if parts else "")


def _reference(run: View) -> str:
    detail = levels(run.reference) if run.study.design != "leave_one_out" else "everything on"
    return f"the reference ({detail})" if detail else "the reference"


def _ranked(run: View, verdict: str) -> list[Variant]:
    """Return the variants of a verdict, the best first."""
    sign = 1 if run.mode == "max" else -1
    variants = [variant for variant in run.variants if variant.verdict == verdict]
    return sorted(variants, key=lambda variant: -sign * variant.compared["delta"])


def _difference(variant: Variant) -> str:
    row = variant.compared
    return f"{signed(row['delta'])} {interval(row['delta_low'], row['delta_high'], sign=True)}"


def _label(variant: Variant) -> str:
    """Return a variant's label with "&" between its settings, so that commas separate variants."""
    return joined(variant.label, " & ")


def _with_difference(variant: Variant) -> str:
    return f"{_label(variant)} {_difference(variant)}"


def collapse_warnings(run: View) -> list[str]:
    """Return sentences about variants whose numbers come from a network that did not learn; none if all did."""
    return [*at_chance(run), *_of(run, _code_warning), *_of(run, _tie_warning), *_worse_than_warm_up(run)]


def at_chance(run: View) -> list[str]:
    """Return a sentence about the variants that score no more than a random guess."""
    if not has_chance(run.metric):
        return []
    by_chance: dict[float, list[str]] = {}
    for variant in run.variants:
        chance = variant_chance(run, variant)
        if chance is not None and near_chance(variant.compared["mean"], chance):
            by_chance.setdefault(chance, []).append(_named(variant, metric(variant.compared["mean"])))
    return [
        f"{listed(names, _MOST)}: {metric_name(run.metric)} at chance level ({metric(chance)})"
        for chance, names in by_chance.items()
    ]


def variant_chance(run: View, variant: Variant) -> float | None:
    """Return what a random guess scores under a variant's config; None if that is not recorded.

    The record of the study has the reference's chance, from the class counts. The ways of its episodes may be a factor.
    """
    ways = config_section(variant.config, "episodes").get("ways")
    if isinstance(ways, int) and ways > 1:
        return 1 / ways
    return run.study.chance


def _worse_than_warm_up(run: View) -> Iterable[str]:
    return _of(run, _warm_up_warning) if len(run.variants) <= verdicts.ROWS_IN_PAGE else ()


def _of(run: View, describe: Callable[[Variant], tuple[str, str] | None]) -> Iterable[str]:
    """Yield a sentence per kind of warning, with the variants it is about."""
    named: dict[str, list[str]] = {}
    for variant in run.variants:
        described = describe(variant)
        if described is not None:
            text, detail = described
            named.setdefault(text, []).append(_named(variant, detail))
    return [f"{listed(names, _MOST)}: {text}" for text, names in named.items()]


def _code_warning(variant: Variant) -> tuple[str, str] | None:
    classes, per_class = (_mean(variant, name) for name in ("class_codes", "codes_per_class"))
    if classes is None or per_class is None or classes > 1 or per_class > 1:
        return None
    return "all images have the same code", ""


def _tie_warning(variant: Variant) -> tuple[str, str] | None:
    worst, best = (_mean(variant, name) for name in ("map_worst_ties", "map_best_ties"))
    if worst is None or best is None or best - worst < _TIE_SPREAD:
        return None
    return "most images have the same code, so the order of ties decides the mAP", f"{metric(worst)} to {metric(best)}"


def _warm_up_warning(variant: Variant) -> tuple[str, str] | None:
    losses = []
    for steps in (history(row["history"]) for row in variant.finished[:_MOST_HISTORIES] if row.get("history")):
        last = {step.get("phase"): step["map_validation"] for step in steps if _is_number(step.get("map_validation"))}
        if "warmup" in last and "train" in last:
            losses.append(last["warmup"] - last["train"])
    lost = mean(losses)
    if lost is None or lost <= _WARM_UP_LOSS or min(losses) <= 0:
        return None
    return "mAP on the validation part fell below that of the warm-up", f"by {metric(lost)}"


def _mean(variant: Variant, name: str) -> float | None:
    return mean(row[name] for row in variant.finished if _is_number(row.get(name)))


def _is_number(value: Any) -> bool:
    """Return whether a value is a finite number; a run from elsewhere may hold anything."""
    return isinstance(value, int | float) and is_number(value)


def _named(variant: Variant, detail: str) -> str:
    label = "the reference" if variant.is_reference else joined(variant.label, " & ")
    return f"{label} ({detail})" if detail else label
