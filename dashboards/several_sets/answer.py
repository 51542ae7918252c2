"""The answer of a study on several data sets: one sentence per set, and warnings."""

from collections.abc import Mapping, Sequence

from dashboards.ablation.judging import answer, rule_words
from dashboards.ablation.variant import Variant
from dashboards.ablation.view import View
from dashboards.html import verdicts
from dashboards.html.formats import count, interval, joined, listed, signed
from dashboards.several_sets import places
from dashboards.several_sets.places import Levels
from dashboards.several_sets.view import SetsView

_MOST_METHODS = 3  # of a verdict
_MOST_LEVELS = 3  # of a method
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


def sentences(run: SetsView) -> list[str]:
    """Return a sentence per data set, then warnings."""
    return [*preface(run), *(f"{name}: {text}" for name, text in on_each_set(run).items()), *warnings(run)]


def preface(run: SetsView) -> list[str]:
    """Return the sentence before the answer, if there is no verdict yet."""
    return ["No verdict before the plan is complete."] if run.is_provisional else []


def on_each_set(run: SetsView) -> dict[str, str]:
    """Return data set -> the answer on it."""
    return {name: f"{_on_set(run, name, view)}." for name, view in run.on_set.items()}


def warnings(run: SetsView) -> list[str]:
    """Return the warnings about the study and its data sets, as sentences."""
    texts = [*rule_words.warnings(run), run.devices_note]
    for name, view in run.on_set.items():
        texts += [f"{name}: {text}" for text in answer.collapse_warnings(view)]
    return [f"Warning: {text}." for text in texts if text]


def _on_set(run: SetsView, name: str, view: View) -> str:
    if name in run.left_out:
        return f"could not be opened, {run.left_out[name].rstrip('.')}"
    if not view.status("finished"):
        errors = [str(row["error"]) for row in view.rows if row.get("error")]
        return "no cell has finished" + (f", the first error is {errors[0].rstrip('.')}" if errors else "")
    methods: dict[str, dict[Levels, Variant]] = {}
    for method, levels, variant in places.placed(view):
        methods.setdefault(method, {})[levels] = variant
    parts = []
    for verdict, words in _WORDS.items():
        names = _with_verdict(methods, verdict)
        if names:
            parts.append(f"{words}: {listed(names, most=_MOST_METHODS)}")
    holes = {"failed": view.status("failed"), "not run": view.missing}
    counts = [f"{number} {kind}" for kind, number in holes.items() if number]
    return "; ".join(parts or ["nothing to compare"]) + (
        f" ({', '.join(counts)} of {count(view.planned, 'cell')})" if counts else ""
    )


def _with_verdict(methods: Mapping[str, Mapping[Levels, Variant]], verdict: str) -> list[str]:
    """Return the methods with a verdict in some column, the largest difference first."""
    ranked: list[tuple[float, str]] = []
    for name, row in methods.items():
        columns = {levels: variant for levels, variant in row.items() if variant.verdict == verdict}
        if columns:
            largest = max(columns.values(), key=_distance)
            text = f"{joined(name, ' & ')}{_where(list(columns), len(row))}{_difference(largest, len(columns))}"
            ranked.append((_distance(largest), text))
    return [text for _, text in sorted(ranked, key=lambda entry: -entry[0])]


def _distance(variant: Variant) -> float:
    return abs(variant.compared["delta"] or 0.0)


def _where(columns: Sequence[Levels], count_of_all: int) -> str:
    """Return the columns of a data set in which a method has a verdict; empty if the set has a single column."""
    if count_of_all == 1:
        return ""
    if len(columns) == count_of_all:
        return " in every column"
    if len(columns) > _MOST_LEVELS:
        return f" in {len(columns)} of {count_of_all} columns"
    return f" at {listed([places.levels_title(levels) for levels in columns])}"


def _difference(largest: Variant, columns: int) -> str:
    """Return the largest difference of a method over some columns; empty if it is not decided."""
    if not verdicts.is_significant(largest.verdict):
        return ""
    row = largest.compared
    text = f"{signed(row['delta'])} {interval(row['delta_low'], row['delta_high'], sign=True)}".rstrip()
    return f" ({'up to ' if columns > 1 else ''}{text})"
