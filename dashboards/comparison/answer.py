"""The answer of a comparison in one sentence: significant differences first, and otherwise the largest one."""

from collections.abc import Iterable

from dashboards.comparison.view import SAME_CELLS, Comparison, Match
from dashboards.html import verdicts
from dashboards.html.formats import count, interval, listed, metric_name, signed


def answer_sentence(comparison: Comparison) -> str:
    """Return the answer of a comparison, and a warning if its cells ran on different kinds of devices.

    Decided differences come first. If there are none, the largest difference shows how large an effect may be hidden.
    """
    warned = [*comparison.rule_notes, *([comparison.devices_note] if comparison.devices_note else [])]
    return " ".join([_finding(comparison), *(f"Warning: {text}." for text in warned)])


def _finding(comparison: Comparison) -> str:
    matches = comparison.matches
    first = comparison.first_name
    if not matches:
        empty = [name for name, run in comparison.runs.items() if not run.planned]
        if empty:
            return f"Nothing to compare: {listed(empty)} has no cell."
        others = [variant.label for run in list(comparison.runs.values())[1:] for variant in run.variants]
        return (
            f"Nothing to compare: no variant of {first} has its name or its config in another run; {first} has "
            f"{_named(variant.label for variant in comparison.first_run.variants)}, the others have {_named(others)}."
        )
    unfinished = [name for name, run in comparison.runs.items() if not run.status("finished")]
    if unfinished:
        return f"Nothing to compare: no cell has finished in {listed(unfinished)}."
    tested = [match for match in matches if match.difference.low is not None]
    same = [match for match in matches if match.verdict == SAME_CELLS]
    decided = [match for match in tested if verdicts.is_significant(match.verdict)]
    decided.sort(key=lambda match: -abs(match.difference.delta or 0.0))
    rest = _rest(len(tested) - len(decided), len(matches) - len(tested) - len(same), len(same))
    metric = metric_name(comparison.first_run.metric)
    if decided:
        parts = []
        for verdict in dict.fromkeys(match.verdict for match in sorted(decided, key=lambda match: match.verdict)):
            members = [_difference(comparison, match) for match in decided if match.verdict == verdict]
            words = f"significantly {verdict} than in {first}"
            if comparison.is_provisional:
                words = f"{verdict}, against {first}"
            parts.append(f"{words}: {listed(members, most=4)} {metric}")
        text = "; ".join(parts)
        return f"{text[:1].upper()}{text[1:]}{rest}."
    if tested:
        largest = max(tested, key=lambda match: abs(match.difference.delta or 0.0))
        so_far = " so far" if comparison.is_provisional else ""
        return f"No significant difference{so_far}; the largest is {_difference(comparison, largest)} {metric}{rest}."
    if same:
        missing = _rest(0, len(matches) - len(same), 0)
        return f"No difference: the variants that the runs share have the same cells{missing}."
    return f"No answer yet: no difference has an interval, which needs three seeds in both runs{rest}."


def _named(labels: Iterable[str]) -> str:
    """Return the names of variants, each in quotes and once."""
    return listed([f"'{label}'" for label in dict.fromkeys(labels)], most=3)


def _difference(comparison: Comparison, match: Match) -> str:
    run = f" in {match.run}" if len(comparison.runs) > 2 else ""
    difference = match.difference
    bounds = interval(difference.low, difference.high, sign=True)
    return f"{match.label}{run} {signed(difference.delta)} {bounds}"


def _rest(undecided: int, without: int, same: int) -> str:
    counts = [f"{count(undecided, 'difference')} undecided"] if undecided else []
    counts += [f"{count(without, 'difference')} without an interval"] if without else []
    counts += [f"{count(same, 'variant')} with the same cells in both"] if same else []
    return f"; {listed(counts)}" if counts else ""
