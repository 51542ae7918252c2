"""The answer of a search, one sentence per group: whether the best config beats the reference on fresh seeds."""

from typing import Any

from dashboards.html import formats
from dashboards.html.formats import count, interval, listed, metric, metric_name, signed
from dashboards.run_data import has_chance, near_chance
from dashboards.search import final_evaluation, tried_configs, view


def answer_sentences(run: view.SearchView) -> list[str]:
    """Return one sentence per group, then warnings, and then one sentence about the tried configs."""
    if not run.configs:
        return ["No answer: no config has been tried yet."]
    evaluations = {evaluation.group: evaluation for evaluation in run.evaluations}
    answers = [_group_answer(run, group, evaluations.get(group)) for group in run.groups]
    if len(answers) > 1:
        answers = [f"{group}: {text[0].lower()}{text[1:]}" for group, text in zip(run.groups, answers, strict=True)]
    warnings = [f"Warning: {note}." for note in run.devices_notes]
    return [*answers, *warnings, *chance_sentences(run), tried_sentence(run)]


def chance_sentences(run: view.SearchView) -> list[str]:
    """Return a warning per group whose reference or best config scores no more than a random guess."""
    warnings = []
    for evaluation in run.evaluations:
        rows = {"the reference": evaluation.reference, "the best config": evaluation.best}
        low = [name for name, row in rows.items() if near_chance(row["mean"], run.study.chance)]
        if low and has_chance(evaluation.metric):
            place = f" of {evaluation.group}" if evaluation.group else ""
            name = metric_name(evaluation.metric)
            warnings.append(f"Warning: {name} of {listed(low)}{place} at chance level ({metric(run.study.chance)}).")
    return warnings


def saved_share(run: view.SearchView) -> float | None:
    """Return the share of the epochs that early stopping saved; None if the study does not record epochs."""
    ran = run.study.epochs.run
    full = run.study.epochs.full
    return 1 - ran / full if ran is not None and full else None


def tried_sentence(run: view.SearchView) -> str:
    """Return how many configs were tried, and how many of them did not finish."""
    kinds = {"stopped": "stopped early", "failed": "failed", "unfinished": "unfinished"}
    counts = [f"{run.count(status):,} {name}" for status, name in kinds.items() if run.count(status)]
    planned = (run.study.budget or 0) * len(run.groups)
    number = count(len(run.configs), "config")
    if planned > len(run.configs):
        number = f"{len(run.configs):,} of {count(planned, 'config')}"
    text = f"Tried: {number}" + (f" ({', '.join(counts)})" if counts else "")
    share = saved_share(run)
    return text + (f"; early stopping saved {100 * share:.0f} % of the epochs." if share and share > 0.005 else ".")


def settings_text(config: tried_configs.TriedConfig) -> str:
    """Return a config's settings on one line.

    >>> settings = {"train.lr": 0.00123456, "srem.regions": 33}
    >>> settings_text(tried_configs.TriedConfig("1: x", 1, "", settings, "finished", {}, []))
    'train.lr=0.001235, srem.regions=33'
    """
    return ", ".join(f"{path}={setting_text(level)}" for path, level in config.settings.items())


def setting_text(level: Any) -> str:
    """Return a level, rounded to four digits if it is a float."""
    return f"{level:.4g}" if isinstance(level, float) else formats.level(level)


def _group_answer(run: view.SearchView, group: str, evaluation: final_evaluation.FinalEvaluation | None) -> str:
    best = run.best(group)
    if best is None:
        return "No answer: no config has finished."
    front = run.fronts[group]
    front_text = ""
    if len(run.metrics) > 1 and len(front) > 1:
        names = " and ".join(metric_name(name) for name in run.metrics)
        front_text = f" It is one of {len(front)} configs on the Pareto front of {names}."
    return f"{_verdict(run, best, evaluation)}.{front_text}"


def _verdict(
    run: view.SearchView, best: tried_configs.TriedConfig, evaluation: final_evaluation.FinalEvaluation | None
) -> str:
    subject = f"The best config ({settings_text(best) or best.name})"
    if evaluation is None:
        first = run.metrics[0]
        return (
            f"{subject} reaches {metric(best.values[first])} {metric_name(first)} on the seeds that chose it; "
            "there is no final evaluation on fresh seeds, so no claim can be made"
        )
    row = evaluation.best
    difference = f"{signed(row['delta'])} {interval(row['delta_low'], row['delta_high'], sign=True)}".rstrip()
    difference += f" {metric_name(evaluation.metric)} on {count(evaluation.seeds, 'fresh seed')}"
    if evaluation.verdict == "better":
        return f"{subject} beats the reference by {difference}"
    if evaluation.verdict == "worse":
        return f"{subject} is significantly worse than the reference: {difference}"
    if not evaluation.is_complete and row["delta_low"] is not None:
        so_far = evaluation.verdict.removesuffix(" so far")
        return f"{subject} is {so_far} so far: {difference}; there is no verdict before all fresh seeds have ended"
    if evaluation.verdict == "undecided":
        return f"{subject} does not differ significantly from the reference: {difference}"
    if evaluation.seeds == 0:
        return f"{subject} has no final evaluation yet: no fresh seed has finished with both it and the reference"
    return f"{subject} is not decided yet: {difference} ({evaluation.best['refused']})"
