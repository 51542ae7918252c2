"""The tables of a comparison outside its page: CSV for machines, Markdown and LaTeX for papers, and the terminal's."""

import io
from typing import Any

from rich.table import Table
from rich.text import Text

from dashboards.comparison.view import Comparison, Match
from dashboards.html import csv_file, formats
from dashboards.html.table import markdown_text, tex
from dashboards.html.verdicts import MARKS

_VERDICTS = {"better": "decided better", "worse": "decided worse"}
IN_PAGE, IN_FILE, IN_TERMINAL = 100, 200, 40  # rows that can still be read


def files(shown: Comparison) -> dict[str, str]:
    """All of them, by name."""
    found = {"means.csv": means_csv(shown), "differences.csv": differences_csv(shown)}
    return found | {"differences.md": as_markdown(shown), "differences.tex": as_latex(shown)}


def means_csv(shown: Comparison) -> str:
    """Every number in full: a row a variant of a run."""
    out = io.StringIO()
    writer = csv_file.writer(out)
    numbers = ["seeds", "mean", "ci_low", "ci_high", "failed", "stopped"]
    writer.writerow(["run", "study", "variant", "metric", "metric_ids", *numbers, "missing", "seconds"])
    for name, run in shown.runs.items():
        for one in run.variants:
            row = [name, run.study.get("study", ""), one.name, run.metric, " ".join(shown.ids())]
            writer.writerow([*row, *(one.compared[key] for key in numbers), one.missing, one.seconds])
    return out.getvalue()


def differences_csv(shown: Comparison) -> str:
    """Every difference from the first run in full."""
    out = io.StringIO()
    writer = csv_file.writer(out)
    header = ["run", "variant", "against_run", "against_variant", "config_differs", "test", "seeds", "seeds_against"]
    writer.writerow([*header, "delta", "delta_low", "delta_high", "p", "p_holm", "decided", "verdict"])
    for one in shown.matches:
        found = one.difference
        row = [one.run, one.own.name, shown.first, one.other.name, "; ".join(one.changes), found.test, *found.seeds]
        row += [found.delta, found.low, found.high, found.p, found.p_holm]
        writer.writerow([*row, csv_file.plain(found.decided), one.verdict])
    return out.getvalue()


def as_markdown(shown: Comparison) -> str:
    """A GitHub table, a row a difference."""
    header = _header(shown)
    lines = ["| " + " | ".join(map(markdown_text, header)) + " |", "|---|---" + "|---:" * (len(header) - 3) + "|---|"]
    for one in ranked(shown, IN_FILE):
        *words, test = cells(one)
        words = [markdown_text(one.label), markdown_text(one.run), *words, test]
        lines.append("| " + " | ".join(words) + " |")
    return "\n".join(lines) + f"\n\n{markdown_text(note(shown, IN_FILE))}\n"


def as_latex(shown: Comparison) -> str:
    """A booktabs table, a row a difference; decided ones are bold and carry an arrow."""
    header = _header(shown)
    lines = [f"% {' '.join(note(shown, IN_FILE).split())}", r"\begin{tabular}{ll" + "r" * (len(header) - 3) + "l}"]
    lines += [r"\toprule", " & ".join(map(tex, header)) + r" \\", r"\midrule"]
    for one in ranked(shown, IN_FILE):
        *words, test = cells(one)
        lines.append(" & ".join([tex(one.label), tex(one.run), *map(tex_number, words), tex(test)]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def terminal(shown: Comparison) -> Table:
    """The differences for the terminal."""
    out = Table(title=Text(", ".join(shown.ids())), title_justify="left", header_style="bold", title_style="dim")
    for name in ("variant", "run"):
        out.add_column(name, overflow="fold")
    for name in ("mean", shown.first, "difference", "95 %", "", "by"):
        justify: Any = "left" if name in ("", "by") else "right"
        out.add_column(Text(name), justify=justify, no_wrap=True)
    for one in ranked(shown, IN_TERMINAL):
        found = one.difference
        words = [one.label, one.run, *(formats.metric(side.compared["mean"]) for side in (one.own, one.other))]
        words += ["" if found.delta is None else formats.signed(found.delta)]
        words += [formats.interval(found.low, found.high, sign=True), verdict(one), test_of(one)]
        style = {"better": "bold green", "worse": "red", "no result": "dim"}.get(one.verdict, "")
        out.add_row(*map(Text, words), style=style)
    if left := len(shown.matches) - IN_TERMINAL:
        out.caption = f"... and {left:,} more in tables/differences.csv" if left > 0 else None
        out.caption_justify = "left"
    return out


def ranked(shown: Comparison, most: int) -> list[Match]:
    """All differences, or of more than `most` the decided and the largest, in the plan's order."""
    if len(shown.matches) <= most:
        return list(shown.matches)
    order = sorted(enumerate(shown.matches), key=lambda entry: _rank(entry[1]))
    return [one for _, one in sorted(order[:most], key=lambda entry: entry[0])]


def _rank(one: Match) -> tuple[bool, float]:
    return not one.difference.decided, -abs(one.difference.delta or 0.0)


def verdict(one: Match) -> str:
    """What is known of a difference, in words and a shape."""
    return f"{MARKS.get(one.verdict, '')} {_VERDICTS.get(one.verdict, one.verdict)}".strip()


def test_of(one: Match) -> str:
    """By which test a difference was judged, and over how many seeds; why there is none."""
    found = one.difference
    if one.verdict == "same cells":
        return f"one result, {formats.count(found.seeds[0], 'cell')}"
    if found.test == "paired":
        return f"paired, {formats.count(found.seeds[0], 'seed')}"
    if found.test == "Welch":
        return f"Welch, {found.seeds[0]} and {found.seeds[1]} seeds"
    return f"{found.seeds[0]} and {found.seeds[1]} seeds: an interval needs three"


def cells(one: Match) -> list[str]:
    """The numbers of a row: both means, the difference, its p, and the test."""
    found = one.difference
    arrow = {"better": " ↑", "worse": " ↓"}.get(one.verdict, "")
    half = "" if found.low is None or found.high is None else f" ± {formats.metric((found.high - found.low) / 2)}"
    delta = "" if found.delta is None else formats.signed(found.delta) + half
    words = [formats.metric(side.compared["mean"]) for side in (one.own, one.other)]
    words += [f"**{delta}**{arrow}" if arrow else delta, "" if found.p is None else formats.p_value(found.p_holm)]
    return [*words, test_of(one)]


def note(shown: Comparison, most: int) -> str:
    """What the numbers are, and what is left out."""
    words = [f"{', '.join(shown.ids())}; differences from {shown.first}; mean ± half the 95 % interval"]
    words += ["↑ decided better, ↓ decided worse: p corrected by Holm over all differences here is at most 0.05"]
    if len(shown.matches) > most:
        words.append(f"{most} of {len(shown.matches):,} differences; all stand in tables/differences.csv")
    return "; ".join(words)


def _header(shown: Comparison) -> list[str]:
    metric = formats.metric_name(shown.one.metric)
    return ["variant", "run", metric, f"{metric}, {shown.first}", "difference", "p (Holm)", "by"]


def tex_number(word: str) -> str:
    """A number of a Markdown cell as LaTeX sets it."""
    if word.startswith("**"):
        number, arrow = word.removeprefix("**").split("**")
        sign = r"\uparrow" if "↑" in arrow else r"\downarrow"
        return rf"$\mathbf{{{_math(number)}}}\,{sign}$"
    if word == formats.NONE:
        return "--"
    return f"${_math(word)}$" if word else ""


def _math(word: str) -> str:
    return word.replace(formats.MINUS, "-").replace("±", r"\pm")
