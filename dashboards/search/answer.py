"""The answer of a search in a sentence a group: whether the best config beats the reference on fresh seeds."""

from typing import Any

from dashboards.html import formats
from dashboards.html.formats import count, interval, metric, metric_name, signed
from dashboards.search.final_evaluation import Judged
from dashboards.search.view import Config, SearchView
from raysearch.studies.analysis import statistics


def sentences(run: SearchView) -> list[str]:
    """What was found, a sentence a group, and then what it cost."""
    if not run.configs:
        return ["No answer: no config has been tried yet."]
    judged = {one.group: one for one in run.judged}
    found = [_of_group(run, group, judged.get(group)) for group in run.groups]
    if len(found) > 1:
        found = [f"{group}: {words[0].lower()}{words[1:]}" for group, words in zip(run.groups, found, strict=True)]
    return [*found, tried(run)]


def saved(run: SearchView) -> float | None:
    """The share of the epochs that early stopping spared; None where nobody counted."""
    epochs = run.study.get("epochs") or {}
    ran, full = epochs.get("run"), epochs.get("full")
    return 1 - ran / full if isinstance(ran, int | float) and full else None


def tried(run: SearchView) -> str:
    """How many configs were tried and what became of them."""
    kinds = {"stopped": "stopped early", "failed": "failed", "unfinished": "unfinished"}
    words = [f"{run.count(kind):,} {name}" for kind, name in kinds.items() if run.count(kind)]
    asked = (run.study.get("budget") or 0) * len(run.groups)
    number = f"{len(run.configs):,} of {count(asked, 'config')}" if asked > len(run.configs) else ""
    text = f"Tried: {number or count(len(run.configs), 'config')}" + (f" ({', '.join(words)})" if words else "")
    share = saved(run)
    return text + (f"; early stopping saved {100 * share:.0f} % of the epochs." if share and share > 0.005 else ".")


def settings(one: Config) -> str:
    """
    >>> settings(Config("1: x", 1, "", {"train.lr": 0.00123456, "srem.regions": 33}, "finished", {}, []))
    'train.lr=0.001235, srem.regions=33'
    """
    return ", ".join(f"{path}={setting(value)}" for path, value in one.settings.items())


def setting(value: Any) -> str:
    """A level with the digits that a person reads."""
    return f"{value:.4g}" if isinstance(value, float) else formats.level(value)


def _of_group(run: SearchView, group: str, judged: Judged | None) -> str:
    best = run.best(group)
    if best is None:
        return "No answer: no config has finished."
    front = run.fronts[group]
    among = ""
    if len(run.metrics) > 1 and len(front) > 1:
        names = " and ".join(metric_name(name) for name in run.metrics)
        among = f" It is one of {len(front)} on the Pareto front of {names}."
    return f"{_verdict(run, best, judged)}.{among}"


def _verdict(run: SearchView, best: Config, judged: Judged | None) -> str:
    where = f"The best config ({settings(best)})" if best.settings else f"The best config ({best.name})"
    if judged is None:
        first = run.metrics[0]
        return (
            f"{where} reaches {metric(best.values[first])} {metric_name(first)} with the seeds that chose it; "
            "it was not judged against the reference on fresh seeds, so this is no claim"
        )
    row = judged.best
    number = f"{signed(row['delta'])} {interval(row['delta_low'], row['delta_high'], sign=True)}".rstrip()
    number += f" {metric_name(judged.metric)} on {count(judged.seeds, 'fresh seed')}"
    if judged.verdict == "better":
        return f"{where} beats the reference by {number}"
    if judged.verdict == "worse":
        return f"{where} is decided worse than the reference: {number}"
    if judged.verdict == "undecided":
        return f"{where} cannot be told from the reference: {number}, undecided"
    if judged.seeds == 0:
        return f"{where} has not been judged yet: no fresh seed has finished with it and with the reference"
    return f"{where} is not decided yet: {number} ({statistics.refusal(judged.seeds)})"
