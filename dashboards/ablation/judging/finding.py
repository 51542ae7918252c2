"""What a study has found, in one sentence: decided differences with their intervals, then what is open or missing.

A sentence of a plan that is not complete begins with that, and calls nothing better or worse without "so far". A
sentence of an adaptive study names its looks.
"""

from collections.abc import Iterable, Sequence

from dashboards.ablation.judging import rule_words
from dashboards.ablation.variant import Variant, levels
from dashboards.ablation.view import View
from dashboards.html import verdicts
from dashboards.html.formats import count, interval, joined, listed, metric, metric_name, seeds, signed


def finding(run: View) -> str:
    """Return what the study has found, without a full stop."""
    return f"{_start(run)}{_part_of_study(run)}{_holes(run)}{_saved(run)}"


def half_widths(variants: Iterable[Variant]) -> list[float]:
    """Return half the widths of the variants' intervals. Effects smaller than these go unseen."""
    return [
        (variant.compared["delta_high"] - variant.compared["delta_low"]) / 2
        for variant in variants
        if variant.compared["delta_low"] is not None
    ]


def _start(run: View) -> str:
    if not any(cell for cell in (run.planned, run.rows)):
        return "No answer: the study has no variant and no cell"
    if not run.status("finished"):
        errors = [str(row["error"]) for row in run.rows if row.get("error")]
        return "No answer: no cell has finished" + (f"; the first error is: {errors[0]}" if errors else "")
    if not run.reference.values:
        return f"No answer: {_reference(run)} has no finished cell to compare with"
    if all(variant.compared["delta_low"] is None for variant in run.variants):
        return _no_interval(run)
    if run.is_provisional:
        return _provisional(run)
    return _decided(run) or (_nothing_at_looks(run) if run.study.looks else _nothing(run))


def _decided(run: View) -> str:
    """Return the decided differences; empty if there are none."""
    reference = _reference(run)
    name = metric_name(run.metric)
    better = _ranked(run, "better")
    worse = _ranked(run, "worse")[::-1]
    worse_text = listed([_with_difference(variant) for variant in worse])
    if better:
        text = f"{_label(better[0])} beats {reference}: {_measured(run, better[0])}"
        if better[1:]:
            text += f"; also better: {listed([_with_difference(variant) for variant in better[1:]])}"
        if worse:
            text += f"; worse: {worse_text}"
        return text + _within(run) + _undecided(run)
    if worse and run.study.design == "leave_one_out":
        return f"These parts matter: {worse_text} {name} against {reference}{_within(run)}{_undecided(run)}"
    if worse:
        return f"No variant beats {reference}; worse: {worse_text} {name}{_within(run)}{_undecided(run)}"
    return ""


def _nothing(run: View) -> str:
    compared = [variant for variant in run.variants if variant.verdict == "undecided"]
    return (
        "No variant differs significantly from the reference (5 % level, Holm); "
        f"{_largest(run, compared)}; "
        f"with {count(_largest_of(compared).compared['seeds'], 'seed')} the widest interval reaches "
        f"{_plus_minus(max(half_widths(compared)))}, so a smaller effect would go unseen"
    )


def _provisional(run: View) -> str:
    """Return what a plan shows before it is complete, without a verdict."""
    parts = ["No verdict before the plan is complete"]
    for verdict in ("better", "worse"):
        leading = _ranked(run, verdicts.provisional(verdict))
        if leading:
            differences = [_with_difference(variant) for variant in leading[:: 1 if verdict == "better" else -1]]
            parts.append(f"{verdict} so far: {listed(differences)} {metric_name(run.metric)}")
    if len(parts) == 1:
        compared = [variant for variant in run.variants if variant.verdict == "undecided"]
        return f"{parts[0]}; so far no difference is significant, and {_largest(run, compared)}"
    return "; ".join(parts) + _undecided(run)


def _nothing_at_looks(run: View) -> str:
    """Return what an adaptive study shows before or without a decided difference."""
    within = [variant for variant in run.variants if variant.verdict == verdicts.WITHIN]
    undecided = [variant for variant in run.variants if variant.verdict == "undecided"]
    if within:
        names = listed([_with_difference(variant) for variant in within])
        text = f"No difference larger than {rule_words.margin_text(run.study)} {metric_name(run.metric)}: {names}"
        return text + _undecided(run)
    reached = run.reached_look
    if not run.judgement.open_names:
        text = f"No variant differs significantly from the reference at the last look ({_level(run)})"
        widest = _plus_minus(max(half_widths(undecided)))
        return (
            f"{text}; {_largest(run, undecided)}; the widest interval reaches {widest}, so a smaller effect may exist"
        )
    following = f"the next has {run.study.looks[reached]} seeds"
    return f"Nothing is decided at {rule_words.look_text(run, reached)}; {following}; {_largest(run, undecided)}"


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


def _within(run: View) -> str:
    within = [variant for variant in run.variants if variant.verdict == verdicts.WITHIN]
    if not within:
        return ""
    labels = listed([_label(variant) for variant in within])
    return f"; no difference larger than {rule_words.margin_text(run.study)}: {labels}"


def _undecided(run: View) -> str:
    undecided = [variant for variant in run.variants if variant.verdict == "undecided"]
    if not undecided:
        return ""
    widths = half_widths(undecided)
    texts = dict.fromkeys(_plus_minus(width) for width in (min(widths), max(widths)))
    labels = listed([_label(variant) for variant in undecided], most=3)
    return f"; undecided{_at_look(run)}, with intervals of {' to '.join(texts)}: {labels}"


def _at_look(run: View) -> str:
    """Return at which look variants are undecided, and whether another follows; empty for fixed seeds."""
    if not run.study.looks:
        return ""
    if not run.judgement.open_names:
        return " at the last look"
    reached = run.reached_look
    return f" at {rule_words.look_text(run, reached)}, the next has {run.study.looks[reached]} seeds"


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


def _saved(run: View) -> str:
    """Return how many cells the looks have saved; empty for fixed seeds, and before anything was saved."""
    saved = run.cells_saved
    if not saved:
        return ""
    whole = run.study.looks[-1] * len(run.variants)
    when = " so far" if run.judgement.open_names else ""
    return f"; {saved:,} of {count(whole, 'cell')} saved{when} ({100 * saved / whole:.0f} %)"


def _reference(run: View) -> str:
    within = run.study.within
    detail = levels(run.reference, within) if run.study.design != "leave_one_out" else "everything on"
    name = f"the reference of its {' and '.join(within)}" if within else "the reference"
    return f"{name} ({detail})" if detail else name


def _ranked(run: View, verdict: str) -> list[Variant]:
    """Return the variants of a verdict, the best first."""
    sign = 1 if run.mode == "max" else -1
    variants = [variant for variant in run.variants if variant.verdict == verdict]
    return sorted(variants, key=lambda variant: -sign * variant.compared["delta"])


def _largest(run: View, variants: Sequence[Variant]) -> str:
    variant = _largest_of(variants)
    return f"the largest difference is {_label(variant)}: {_difference(variant)} {metric_name(run.metric)}"


def _largest_of(variants: Sequence[Variant]) -> Variant:
    return max(variants, key=lambda variant: abs(variant.compared["delta"]))


def _difference(variant: Variant) -> str:
    row = variant.compared
    return f"{signed(row['delta'])} {interval(row['delta_low'], row['delta_high'], sign=True)}".rstrip()


def _measured(run: View, variant: Variant) -> str:
    """Return a difference with its unit; of an adaptive study also its seeds and its look."""
    text = f"{_difference(variant)} {metric_name(run.metric)}"
    if not run.study.looks:
        return text
    look = rule_words.look_text(run, variant.compared["look"])
    return f"{text} ({count(variant.compared['seeds'], 'seed')}, {look})"


def _label(variant: Variant) -> str:
    """Return a variant's label with "&" between its settings, so that commas separate variants."""
    return joined(variant.label, " & ")


def _with_difference(variant: Variant) -> str:
    return f"{_label(variant)} {_difference(variant)}"


def _level(run: View) -> str:
    return f"5 % level over {count(len(run.study.looks), 'look')}, Holm"


def _plus_minus(width: float) -> str:
    return f"\N{PLUS-MINUS SIGN}{metric(width)}"
