"""The answer to a study's question in one sentence, with its interval; honest where nothing was decided."""

import statistics

import pyarrow as pa

from dashboards.ablation.view import Variant, View, levels, view
from dashboards.html.formats import count, interval, joined, listed, metric, metric_name, signed
from raysearch.runs.study_record import StudyRecord


def answer(study: StudyRecord, table: pa.Table) -> str:
    """One sentence that answers the study's question.

    Args:
        study: what `study.json` holds.
        table: what `results.load` returns.
    """
    return sentence(view(study, table))


def sentence(run: View) -> str:
    """The answer of a run that has been read."""
    return f"{_finding(run)}{_holes(run)}."


def half_width(run: View) -> float | None:
    """Half the width of the median interval of a difference: effects below it go unseen."""
    widths = [
        (one.compared["delta_high"] - one.compared["delta_low"]) / 2
        for one in run.variants
        if one.compared["delta_low"] is not None
    ]
    return statistics.median(widths) if widths else None


def _finding(run: View) -> str:
    if not run.status("finished"):
        return "No answer: no cell has finished"
    reference, name = _reference(run), metric_name(run.metric)
    if not run.reference.values:
        return f"No answer: {reference} has no finished cell to compare with"
    with_interval = [one for one in run.variants if one.compared["delta_low"] is not None]
    if not with_interval:
        return _no_interval(run)
    better = _ranked(run, "better")
    worse = _ranked(run, "worse")[::-1]
    undecided = [one for one in run.variants if one.verdict == "undecided"]
    if better:
        text = f"{_label(better[0])} beats {reference}: {_difference(better[0])} {name}"
        if better[1:]:
            text += f"; also decided better: {listed([_short(one) for one in better[1:]])}"
        if worse:
            text += f"; decided worse: {listed([_short(one) for one in worse])}"
        return text + _rest(run, undecided)
    if worse and run.study.design == "leave_one_out":
        text = f"What matters: {listed([_short(one) for one in worse])} {name} against {reference}"
        return text + _rest(run, undecided)
    if worse:
        text = f"Nothing beats {reference}; decided worse: {listed([_short(one) for one in worse])} {name}"
        return text + _rest(run, undecided)
    largest = max(undecided, key=lambda one: abs(one.compared["delta"]))
    return (
        f"Nothing was decided: no variant can be told from {reference}; the largest difference is {_label(largest)} "
        f"with {_difference(largest)} {name}, and with {count(largest.compared['seeds'], 'seed')} an interval reaches "
        f"\N{PLUS-MINUS SIGN}{metric(half_width(run))}, so a smaller effect would not have been seen"
    )


def _no_interval(run: View) -> str:
    sign = 1 if run.mode == "max" else -1
    best = max((one for one in run.variants if one.values), key=lambda one: sign * one.compared["mean"])
    where = _reference(run) if best.is_reference else _label(best)
    rank, name = "highest" if sign > 0 else "lowest", metric_name(run.metric)
    return (
        f"No answer yet: {', '.join(run.refusals) or 'no seed in common'}; "
        f"the {rank} {name} so far is {metric(best.compared['mean'])}, of {where}"
    )


def _rest(run: View, undecided: list[Variant]) -> str:
    if not undecided:
        return ""
    names = listed([_label(one) for one in undecided], most=3)
    return f"; undecided, with intervals of about \N{PLUS-MINUS SIGN}{metric(half_width(run))}: {names}"


def _holes(run: View) -> str:
    kinds = {"failed": run.status("failed"), "stopped": run.status("stopped"), "not run": run.missing}
    words = [f"{number} {kind}" for kind, number in kinds.items() if number]
    empty = [_label(one) for one in run.variants if not one.values and run.reference.values]
    text = f"; no finished cell: {listed(empty, most=3)}" if empty else ""
    return text + (f" ({', '.join(words)} of {count(run.planned, 'cell')})" if words else "")


def _reference(run: View) -> str:
    detail = levels(run.reference) if run.study.design != "leave_one_out" else "everything on"
    return f"the reference ({detail})" if detail else "the reference"


def _ranked(run: View, verdict: str) -> list[Variant]:
    """The variants of a verdict, the best first."""
    sign = 1 if run.mode == "max" else -1
    found = [one for one in run.variants if one.verdict == verdict]
    return sorted(found, key=lambda one: -sign * one.compared["delta"])


def _difference(one: Variant) -> str:
    row = one.compared
    return f"{signed(row['delta'])} {interval(row['delta_low'], row['delta_high'], sign=True)}"


def _label(one: Variant) -> str:
    """Several settings of one variant, held together within a list of variants."""
    return joined(one.label, " & ")


def _short(one: Variant) -> str:
    return f"{_label(one)} {_difference(one)}"
