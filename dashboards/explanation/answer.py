"""The answer of an explanation, a sentence per path: which changes earn the gain, and which do nothing."""

from collections.abc import Sequence

from dashboards.explanation.change import ExplainedChange, ExplainedPath
from dashboards.explanation.view import ExplanationView
from dashboards.html import formats
from dashboards.html.formats import interval, listed, metric_name, signed
from raysearch.studies.analysis.change_path import WITHIN


def answer_sentences(run: ExplanationView) -> list[str]:
    """Return one sentence per path, then warnings."""
    if not run.paths:
        return ["No answer: the run does not record what it explains."]
    sentences = []
    for path in run.paths:
        text = _of_path(run, path)
        sentences.append(f"{path.group}: {text[0].lower()}{text[1:]}" if len(run.paths) > 1 else text)
    if run.study.looked:
        sentences.append(
            f"Warning: the seeds were raised after a look at {listed([str(count) for count in run.study.looked])} of "
            "them, so the levels do not hold."
        )
    return [*sentences, *([f"Warning: {run.devices_note}."] if run.devices_note else [])]


def describe_change(change: ExplainedChange) -> str:
    """Return what a change sets, with the value before it."""
    return ", ".join(
        f"{path} {_level(change.before.get(path))} \N{RIGHTWARDS ARROW} {_level(value)}"
        for path, value in change.after.items()
    )


def _level(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else formats.level(value)


def _of_path(run: ExplanationView, path: ExplainedPath) -> str:
    if path.missing:
        return f"No answer yet: the path has taken {len(path.changes)} of its changes; it lacks {listed(path.missing)}."
    if run.raced and run.reached_look == 0:
        return f"No answer yet: the first look, at {run.study.looks[0]} seeds, has not ended."
    row = path.whole
    if row["delta"] is None:
        return "No answer yet: no seed has finished with both the best config and the reference."
    name = metric_name(run.metric)
    whole = f"{signed(row['delta'])} {interval(row['delta_low'], row['delta_high'], sign=True)}".rstrip()
    by_verdict: dict[str, list[ExplainedChange]] = {}
    for change in path.changes:
        by_verdict.setdefault(change.verdict.removesuffix(" so far"), []).append(change)
    parts = []
    if "better" in by_verdict:
        verb = "earns" if len(by_verdict["better"]) == 1 else "earn"
        parts.append(f"{_with_gains(by_verdict['better'])} {verb} the gain of {whole} {name}")
    else:
        parts.append(f"No change can be shown to earn a part of the difference of {whole} {name}")
    if "worse" in by_verdict:
        verb = "costs" if len(by_verdict["worse"]) == 1 else "cost"
        parts.append(f"{_with_gains(by_verdict['worse'])} {verb} some of it")
    if "mixed" in by_verdict:
        parts.append(f"the gain of {_names(by_verdict['mixed'])} depends on the other changes")
    if WITHIN in by_verdict:
        verb = "changes" if len(by_verdict[WITHIN]) == 1 else "change"
        parts.append(f"{_names(by_verdict[WITHIN])} {verb} it by less than the margin of {run.study.margin:g}")
    open_changes = [change for verdict in ("undecided", "no interval") for change in by_verdict.get(verdict, [])]
    if open_changes and len(by_verdict) > 1:
        seeds = formats.count(max(change.step["seeds"] for change in open_changes), "seed")
        parts.append(
            f"{_names(open_changes)} {'does' if len(open_changes) == 1 else 'do'} nothing that {seeds} can show"
        )
    if "no result" in by_verdict:
        verb = "has" if len(by_verdict["no result"]) == 1 else "have"
        parts.append(f"{_names(by_verdict['no result'])} {verb} no result")
    text = "; ".join(parts)
    return f"{text}{_open_end(run)}."


def _open_end(run: ExplanationView) -> str:
    """Return what is still to come. A verdict of a look stays, whatever follows."""
    if run.is_complete:
        return ""
    if not run.study.looks:
        return "; there is no verdict before all planned cells have ended"
    waiting = sum(pair.is_open for pair in run.raced)
    if not waiting:
        return "; not all planned cells have ended"
    verb = "goes" if waiting == 1 else "go"
    return f"; {formats.count(waiting, 'comparison')} {verb} on to {run.study.looks[run.reached_look]} seeds"


def _names(changes: Sequence[ExplainedChange]) -> str:
    return listed([change.name for change in changes], most=8)


def _with_gains(changes: Sequence[ExplainedChange]) -> str:
    """Return changes with the gains that decide them."""
    texts = []
    for change in changes:
        row = change.step if change.step["verdict"].startswith(("better", "worse")) else change.left_out
        bounds = interval(row["delta_low"], row["delta_high"], sign=True)
        texts.append(f"{change.name} ({signed(row['delta'])} {bounds})")
    return listed(texts, most=8)
