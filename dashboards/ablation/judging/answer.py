"""The answer to a study's question in one sentence, and warnings.

Some warnings are about looks that the levels do not account for. Others are about variants that did not learn: at
chance level, one code for all images, worse than the warm-up.
"""

from collections.abc import Callable, Iterable
from typing import Any

from dashboards.ablation.judging import finding, rule_words
from dashboards.ablation.variant import Variant
from dashboards.ablation.view import View
from dashboards.html import verdicts
from dashboards.html.formats import joined, listed, metric, metric_name
from dashboards.run_data import has_chance, history, is_number, mean, near_chance
from raysearch.runs import config_section

_TIE_SPREAD = 0.5  # of mAP between the best and the worst order of ties: the codes hardly tell images apart
_WARM_UP_LOSS = 0.05  # of mAP since the warm-up, with every seed: more than the noise of a small validation part
_MOST_HISTORIES = 3  # seeds of a variant whose histories are read: a large run has half a million steps
_MOST = 3  # variants named in a warning


def sentence(run: View) -> str:
    """Return the answer to the study's question, and warnings: uncorrected looks, other devices, nothing learned."""
    warned = [*rule_words.warnings(run), run.devices_note, *collapse_warnings(run)]
    return " ".join([f"{finding.finding(run)}.", *(f"Warning: {text}." for text in warned if text)])


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
