"""The parts of a comparison's page: the runs, in what they differ, their differences, means and cost."""

from collections.abc import Callable
from typing import Any

from dashboards.ablation.glossary import metric as metric_in_words
from dashboards.ablation.header import caution, data
from dashboards.ablation.provenance import pairs
from dashboards.ablation.view import View
from dashboards.comparison import figures
from dashboards.comparison.answer import sentence
from dashboards.comparison.tables import IN_PAGE, ranked, test_of, verdict
from dashboards.comparison.view import Comparison
from dashboards.html import formats
from dashboards.html.embed import embed
from dashboards.html.markup import Markup, join, name, number, rows, section, tag

_TERMS = {
    "Which variants": "A variant of a later run is held against the variant of its name in the first run, and against "
    "the one with the same config where that has another name. In what their configs differ stands beside them.",
    "Paired": "Where three seeds or more are common, the difference is taken seed by seed and averaged, with Student's "
    "t interval at 95 %: what a seed does to both alike cancels out.",
    "Welch": "With fewer common seeds the cells are two samples: the difference of their means with Welch's interval "
    "at 95 %, which lets each run scatter in its own way. It is wider than a paired one.",
    "p (Holm)": "Of the two-sided test, corrected by Holm over all differences of this page that have one.",
    "Same cells": "Both runs hold one result: config, data, seed and version of the code are the same. "
    "Nothing is tested.",
    "Failed, stopped, not run": "Cells without a number. They are counted and never replaced.",
}


def opening(shown: Comparison) -> Markup:
    """The page's header."""
    questions = dict.fromkeys(str(run.study.get("question") or "") for run in shown.runs.values())
    one = shown.one
    facts: list[tuple[str, Any]] = [("Metric", join(*(tag("code", each, " ") for each in shown.ids())))]
    facts += [("Data", data(one.study.data)), ("Runs", formats.listed(list(shown.runs)))]
    finding, mark, rest = sentence(shown).partition("; ")
    lead = tag("strong", name(finding + ("." if mark else "")))
    answer = join(lead, " " if rest else "", name(rest[:1].upper() + rest[1:]))
    return tag(
        "header",
        tag("p", "raysearch \N{MIDDLE DOT} comparison", class_="brand"),
        tag("h1", next(iter(questions)) if len(questions) == 1 and "" not in questions else _title(shown)),
        tag("section", tag("h2", "Answer"), tag("p", answer), class_="answer", aria_label="Answer"),
        next((caution(run.study) for run in shown.runs.values() if run.study.get("profile") == "laptop"), None),
        tag("dl", *(tag("div", tag("dt", term), tag("dd", fact)) for term, fact in facts), class_="facts"),
    )


def _title(shown: Comparison) -> str:
    return f"{formats.listed(list(shown.runs))} side by side"


def runs(shown: Comparison) -> Markup:
    """What each run asked and what became of its cells."""
    header = ["Run", "Question", "Study", "Seeds", "Cells finished", "All cells", "On GPUs"]
    body = []
    for called, run in shown.runs.items():
        cells = {row["cell"]: row for row in run.rows}.values()
        gpu = sum(row.get("gpu_seconds") or 0.0 for row in cells)
        row: list[Any] = [name(called), tag("td", run.study.get("question") or "", class_="wide")]
        row += [run.study.get("study") or "", formats.seeds({row["seed"] for row in run.rows}), _finished(run)]
        row += [number(formats.seconds(sum(row.get("seconds") or 0.0 for row in cells)))]
        body.append([*row, number(formats.seconds(gpu) if gpu else "")])
    return section("runs", "Runs", rows(header, body))


def between(shown: Comparison) -> Markup:
    """What differs between the runs and need not be the same: code, machine, seeds, settings."""
    facts: dict[str, Callable[[View], str]] = {
        "Study": lambda run: str(run.study.get("study") or ""),
        "Question": lambda run: str(run.study.get("question") or ""),
        "Profile": lambda run: str(run.study.get("profile") or ""),
        "Design": lambda run: str(run.study.get("design") or run.study.get("sampler") or ""),
        "Seeds": lambda run: formats.seeds({row["seed"] for row in run.rows}),
        "Code version": lambda run: formats.listed(
            sorted({str(row["code_version"]) for row in run.rows if row.get("code_version") is not None})
        ),
        "Versions": lambda run: pairs(run.study.get("versions")),
        "Hardware": lambda run: pairs(run.study.get("hardware")),
        "Set on the command line": lambda run: pairs(run.study.settings.get("overrides")),
        "Command": lambda run: str(run.study.get("command") or ""),
        "Data read from": lambda run: str(run.study.data.path or ""),
    }
    body = []
    for fact, of in facts.items():
        told = [of(run) for run in shown.runs.values()]
        if len(set(told)) > 1:
            body.append([fact, *(tag("td", words or formats.NONE, class_="wide") for words in told)])
    alike = "Task, metric, data and protocol of the evaluation are the same in all runs; other runs are not compared."
    if not body:
        return section("between", "What differs between the runs", tag("p", f"Nothing that was recorded. {alike}"))
    table = rows(["", *map(name, shown.runs)], body, alike)
    return section("between", "What differs between the runs", table)


def differences(shown: Comparison) -> Markup:
    """Every variant of a later run beside the first run's."""
    metric, several = formats.metric_name(shown.one.metric), len(shown.runs) > 2
    header: list[Any] = ["Variant", *["Run"] * several, metric, join(f"{metric}, ", name(shown.first)), "Difference"]
    header += ["p (Holm)", "Verdict", "By", "Config differs in"]
    body = []
    for one in ranked(shown, IN_PAGE):
        found = one.difference
        row: list[Any] = [name(one.label), *[name(one.run)] * several]
        row += [number(formats.metric(side.compared["mean"])) for side in (one.own, one.other)]
        bounds = formats.interval(found.low, found.high, sign=True)
        row += [number("" if found.delta is None else formats.signed(found.delta), bounds)]
        row += [number("" if found.p is None else formats.p_value(found.p_holm))]
        row += [tag("td", tag("span", verdict(one), class_=f"verdict {one.verdict.replace(' ', '-')}"))]
        test, _, under = test_of(one).partition(", ")
        row += [number(test, under)]
        body.append([*row, tag("td", _changes(one.changes), class_="wide")])
    if not body:
        words = "No variant of the first run has its name or its config in another run."
        return section("differences", "Differences between runs", tag("p", words))
    note = f"Each variant less what {shown.first} has. In brackets: 95 % intervals."
    if len(shown.matches) > IN_PAGE:
        note += f" The {IN_PAGE} largest of {len(shown.matches):,}; all stand in tables/differences.csv."
    figure = figures.differences(shown)
    caption = "Open circles are undecided; diamonds have too few seeds for an interval; a bar is the same cells."
    said = formats.listed([f"{one.label} {verdict(one)}" for one in ranked(shown, 20)], most=20)
    drawn = embed(figure, "plot-differences", caption, f"Differences between runs: {said}") if figure else None
    return section("differences", "Differences between runs", rows(header, body, note), drawn)


def means(shown: Comparison) -> Markup:
    """Every variant's mean in every run."""
    tables = [{one.name: one for one in run.variants} for run in shown.runs.values()]
    labels = {one.name: one.label for run in shown.runs.values() for one in run.variants}
    body = []
    for variant in figures.rows_of_means(shown)[:IN_PAGE]:
        row: list[Any] = [name(labels[variant])]
        for table in tables:
            if variant not in table:
                row.append(number("", "not in this run"))
                continue
            found = table[variant].compared
            seeds = formats.count(found["seeds"], "seed")
            holes = table[variant].holes
            words = f"{formats.interval(found['ci_low'], found['ci_high'])} {seeds}".strip()
            row.append(number(formats.metric(found["mean"]), words + (f", {holes} without a result" if holes else "")))
        body.append(row)
    note = "Means over seeds; in brackets their 95 % intervals, which say how far seeds scatter."
    if len(shown.names) > IN_PAGE:
        note += f" The first {IN_PAGE} of {len(shown.names):,} variants; all stand in tables/means.csv."
    figure = figures.means(shown)
    caption = "A mark a run, with the interval of its mean. Whether runs differ is told by the differences above."
    drawn = embed(figure, "plot-means", caption, "Means of every run, as in the table") if figure else None
    return section("means", "Means", rows(["Variant", *map(name, shown.runs)], body, note), drawn)


def cost(shown: Comparison) -> Markup | None:
    """Seconds of a cell of the variants that runs have in common."""
    body = []
    for one in ranked(shown, IN_PAGE):
        own, other = one.own.seconds, one.other.seconds
        if own is not None and other is not None:
            row: list[Any] = [
                name(one.label),
                name(one.run),
                number(formats.seconds(own)),
                number(formats.seconds(other)),
            ]
            body.append([*row, number(f"{own / other:.2f}" if other else "")])
    if not body:
        return None
    header = ["Variant", "Run", "Time a cell", join("Time a cell, ", name(shown.first)), "Ratio"]
    note = "Means over finished cells, on whatever machine each ran: see what differs between the runs."
    return section("cost", "Cost", rows(header, body, note))


def definitions(shown: Comparison) -> Markup:
    """How the numbers of the page are computed."""
    terms = {formats.metric_name(shown.one.metric): metric_in_words(shown.one), **_TERMS}
    words = (tag("div", tag("dt", term), tag("dd", text)) for term, text in terms.items())
    return section("definitions", "How the numbers are computed", tag("dl", *words, class_="listing"))


def _finished(run: View) -> Markup:
    kinds = {"failed": run.status("failed"), "stopped": run.status("stopped"), "not run": run.missing}
    holes = [f"{number:,} {kind}" for kind, number in kinds.items() if number]
    return number(f"{run.status('finished'):,} of {run.planned:,}", ", ".join(holes))


def _changes(changes: list[str]) -> str | Markup:
    """A few in full; many, as of another profile, behind a line."""
    if len(changes) <= 4:
        return "; ".join(changes) or "nothing"
    return tag("details", tag("summary", formats.count(len(changes), "setting")), "; ".join(changes))
