"""The table of variants outside the page: CSV for machines, LaTeX and Markdown for papers, and the terminal's."""

import io
import re
from dataclasses import astuple, dataclass

import pyarrow as pa
from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from dashboards.ablation import cost
from dashboards.ablation.view import Variant, View, view
from dashboards.html import csv_file, formats
from dashboards.html.terminal import Fitting
from dashboards.run_data import protocol, row_limits
from dashboards.search import tables
from dashboards.search.view import search_view
from raysearch.runs.study_record import StudyRecord

_LONGEST = 40  # columns of a name on one line of the terminal
MARKS = {"better": "\N{BLACK UP-POINTING TRIANGLE}", "worse": "\N{BLACK DOWN-POINTING TRIANGLE}"}
_NUMBERS = ("mean", "ci_low", "ci_high", "delta", "delta_low", "delta_high", "p", "p_holm", "decided")
_WORDS = ("same protocol",)  # columns of words among those of numbers
_TEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "\n": " ",
    **{sign: f"\\{sign}" for sign in "{}$&#_%"},
}


def as_csv(run: View) -> str:
    """Every number in full: a row a variant."""
    out = io.StringIO()
    declared = [f"{factor} (declared)" for factor in run.factors]
    header = ["study", "variant", *run.factors, *declared, "metric", "metric_id", "verdict", "seeds", *_NUMBERS]
    header += [
        "refused",
        "failed",
        "stopped",
        "missing",
        "seconds",
        "epochs",
        "gpu_hours",
        "dollars",
        "erased_fraction",
    ]
    header += ["published", "published_table", "measured_less_published", "same_protocol"]
    writer, paid = csv_file.writer(out), cost.shares(run)
    writer.writerow(header)
    for one in run.variants:
        row = [run.study.get("study", ""), one.name, *(csv_file.plain(one.settings.get(name)) for name in run.factors)]
        row += [csv_file.plain(one.level(name)) for name in run.factors]
        row += [run.metric, run.metric_id, one.verdict, one.compared["seeds"]]
        row += [csv_file.plain(one.compared[name]) for name in _NUMBERS]
        row += [one.compared[name] for name in ("refused", "failed", "stopped")]
        row += [one.missing, one.seconds, one.epochs, one.gpu_hours, paid.get(one.name), one.erased]
        writer.writerow([*row, *(one.published or ("", "")), one.less_published, protocol.of(run, one)])
    return out.getvalue()


def as_markdown(run: View) -> str:
    """A GitHub table, a row a variant; of very many those that say most, as `selection.shown` has them."""
    lines = ["| " + " | ".join(_header(run)) + " |", "|---" + "|---:" * (len(_header(run)) - 1) + "|"]
    for one in row_limits.shown(run, row_limits.IN_FILE):
        cells = [markdown_text(one.label), *_cells(run, one)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + f"\n\n{markdown_text(_note(run))}\n"


def as_latex(run: View) -> str:
    """A booktabs table; decided differences are bold and carry an arrow. Rows as `as_markdown`."""
    lines = [
        f"% {_note(run)}".replace("\n", " "),
        r"\begin{tabular}{l" + "".join("l" if name in _WORDS else "r" for name in _header(run)[1:]) + "}",
        r"\toprule",
        " & ".join(tex(word) for word in _header(run)) + r" \\",
        r"\midrule",
    ]
    for one in row_limits.shown(run, row_limits.IN_FILE):
        cells = [tex(one.label), *(_tex_cell(*cell) for cell in zip(_header(run)[1:], _cells(run, one), strict=True))]
        lines.append(" & ".join(cells) + r" \\")
        if one.is_reference and len(run.variants) > 1:
            lines.append(r"\midrule")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def terminal(study: StudyRecord, table: pa.Table) -> RenderableType:
    """The table of variants for the terminal, 40 rows at most; of a search the table of its best configs.

    Args:
        study: what `study.json` holds.
        table: what `results.load` returns.
    """
    if study.kind == "search":
        return tables.terminal(search_view(study, table))
    run = view(study, table)
    return Fitting(_wide(run), _narrow(run))


@dataclass(frozen=True)
class Words:
    """A variant's numbers as a table of the variants shows them; empty where there is none."""

    mean: str
    interval: str
    difference: str
    bounds: str  # the difference's interval
    verdict: str
    seeds: str  # "3/5"
    failed: str

    @classmethod
    def of(cls, one: Variant) -> "Words":
        row = one.compared
        return cls(
            mean=formats.metric(row["mean"]),
            interval=formats.interval(row["ci_low"], row["ci_high"]),
            difference=formats.signed(row["delta"]) if row["delta"] is not None else "",
            bounds=formats.interval(row["delta_low"], row["delta_high"], sign=True),
            verdict=verdict(one),
            seeds=f"{row['seeds']}/{one.planned}",
            failed=str(row["failed"] or ""),
        )


def _wide(run: View) -> Table:
    out = _titled(run)
    out.add_column("variant", overflow="fold", max_width=_LONGEST)
    for name in ("mean", "95 %", "difference", "95 %", "", "seeds", "failed"):
        out.add_column(name, justify="left" if name == "" else "right", no_wrap=True)
    for one in row_limits.shown(run, row_limits.IN_TERMINAL):
        words = astuple(Words.of(one))
        out.add_row(*(Text(word) for word in [one.label, *words]), style=_style(one), end_section=one.is_reference)
    return out


def _narrow(run: View) -> Table:
    """Intervals below their numbers."""
    out = _titled(run)
    out.box, out.padding, out.show_edge = box.SIMPLE, (0, 1, 0, 0), False
    out.add_column("variant", overflow="fold", min_width=16)
    for name in ("mean", "difference", "", "seeds"):
        out.add_column(name, justify="left" if name == "" else "right", no_wrap=name != "", min_width=9)
    for one in row_limits.shown(run, row_limits.IN_TERMINAL):
        words = Words.of(one)
        lines = [one.label, f"{words.mean}\n{words.interval}", f"{words.difference}\n{words.bounds}", words.verdict]
        lines.append(f"{words.seeds}\n{words.failed} failed" if words.failed else words.seeds)
        out.add_row(*(Text(line.rstrip()) for line in lines), style=_style(one), end_section=one.is_reference)
    return out


def _titled(run: View) -> Table:
    """An empty table that says which metric it shows, and what it leaves out."""
    out = Table(title=Text(run.metric_id), title_justify="left", header_style="bold", title_style="dim")
    left = len(run.variants) - row_limits.IN_TERMINAL
    notes = run.refusals + ([f"... and {left:,} more in tables/variants.csv"] if left > 0 else [])
    if notes:
        out.caption, out.caption_justify = "\n".join(notes), "left"
    return out


def _style(one: Variant) -> str:
    return {"better": "bold green", "worse": "red", "no result": "dim"}.get(one.verdict, "")


def verdict(one: Variant) -> str:
    """What is known of a variant's difference, in words and a shape."""
    words = {"better": "decided better", "worse": "decided worse", "reference": ""}
    return f"{MARKS.get(one.verdict, '')} {words.get(one.verdict, one.verdict)}".strip()


def tex(text: str) -> str:
    """
    >>> tex("srem.size=5 & 100%")
    'srem.size=5 \\\\& 100\\\\%'
    """
    return "".join(_TEX.get(sign, sign) for sign in text)


def _header(run: View) -> list[str]:
    header = ["variant", formats.metric_name(run.metric), "difference", "p (Holm)", "seeds", "failed", "epochs"]
    header += ["GPU-hours"] if _on_gpus(run) else []
    return header + (["published", "less published", *_WORDS] if run.published else [])


def _on_gpus(run: View) -> bool:
    return any(one.gpu_hours for one in run.variants)


def _cells(run: View, one: Variant) -> list[str]:
    row = one.compared
    arrow = {"better": " ↑", "worse": " ↓"}.get(one.verdict, "")
    half = _half(row["delta_low"], row["delta_high"])
    delta = "" if row["delta"] is None else formats.signed(row["delta"]) + half
    words = [formats.metric(row["mean"]) + _half(row["ci_low"], row["ci_high"])]
    words += [f"**{delta}**{arrow}" if arrow else delta, formats.p_value(row["p_holm"]) if delta else ""]
    words += [str(row["seeds"]), str(row["failed"]), "" if one.epochs is None else f"{one.epochs:.4g}"]
    words += [formats.metric(one.gpu_hours)] if _on_gpus(run) else []
    if run.published:
        words += [formats.metric(one.published[0]) if one.published else ""]
        words += ["" if one.less_published is None else formats.signed(one.less_published), protocol.of(run, one)]
    return words


def _half(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" ± {formats.metric((high - low) / 2)}"


def _tex_cell(name: str, word: str) -> str:
    return tex(word) if name in _WORDS else tex_number(word)


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


def _note(run: View) -> str:
    data = run.study.get("data") or {}
    words = [f"{run.study.get('study', 'study')}: {run.metric_id}, profile {run.study.get('profile', 'unknown')}"]
    words += [f"data {data.get('name', 'unknown')} {str(data.get('content_hash', ''))[:12]}".strip()]
    words += ["mean ± half the 95 % Student-t interval over seeds; paired differences from the reference"]
    words += ["↑ decided better, ↓ decided worse: Holm-corrected p at most 0.05"]
    words += [f"no interval and no verdict: {reason}" for reason in run.refusals]
    if run.published:
        words.append(f"published: {run.published.paper}")
    if len(run.variants) > row_limits.IN_FILE:
        words.append(row_limits.note(run, row_limits.IN_FILE).removesuffix("."))
    return "; ".join(words)


def markdown_text(text: str) -> str:
    """Text that stays in its Markdown cell and is no link, code or emphasis.

    >>> print(markdown_text("a|b [c](d) <e>"))
    a\\|b \\[c\\](d) &lt;e>
    """
    return re.sub(r"([\\|*`\[\]])", r"\\\1", text).replace("<", "&lt;").replace("\n", " ")
