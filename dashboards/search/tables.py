"""The tables of a search outside the page: every config as CSV, the judging, and the best of them for the terminal."""

import io
from typing import Any

from rich.table import Table
from rich.text import Text

from dashboards.html import csv_file, formats
from dashboards.search.answer import settings
from dashboards.search.view import Config, SearchView

BEST = 20  # rows of a table that is read
WORDS = {
    "better": "\N{BLACK UP-POINTING TRIANGLE} decided better",
    "worse": "\N{BLACK DOWN-POINTING TRIANGLE} decided worse",
}


def best(run: SearchView) -> list[Config]:
    """The configs that are worth reading: the best 20, an equal share of each group's."""
    share = max(3, BEST // len(run.groups))
    return [one for group in run.groups for one in run.ranked(group)[:share]]


def as_csv(run: SearchView) -> str:
    """Every config in full, in the order of the trials; a setting that a config does not have is empty."""
    out = io.StringIO()
    writer = csv_file.writer(out)
    header = ["study", "trial", "config", "group", "status", *run.paths, *run.metrics, "seeds", "epochs", "seconds"]
    writer.writerow([*header, "pareto_front", "chosen", "error"])
    chosen = {one.name for group in run.groups if (one := run.best(group))}
    front = {one.name for configs in run.fronts.values() for one in configs}
    for one in run.configs:
        row = [run.study.get("study", ""), one.number, one.name, one.group, one.status]
        row += [_setting(one, path) for path in run.paths]
        row += [one.values[metric] for metric in run.metrics]
        row += [len(one.rows), one.epochs, one.seconds, one.name in front, one.name in chosen]
        errors = [str(row["error"]) for row in one.rows if row.get("error")]
        writer.writerow([*row, errors[0] if errors else ""])
    return out.getvalue()


def judged_csv(run: SearchView) -> str:
    """The best configs against the reference, a row a group."""
    out = io.StringIO()
    writer = csv_file.writer(out)
    names = ["mean", "ci_low", "ci_high", "delta", "delta_low", "delta_high", "p", "p_holm", "decided", "failed"]
    writer.writerow(["study", "group", "metric", "metric_id", "verdict", "seeds", "reference_mean", *names])
    for one in run.judged:
        row = [run.study.get("study", ""), one.group, one.metric, run.ids.get(one.metric, one.metric), one.verdict]
        writer.writerow([*row, one.seeds, one.reference["mean"], *(one.best[name] for name in names)])
    return out.getvalue()


def terminal(run: SearchView) -> Table:
    """The best configs for the terminal."""
    shown = best(run)
    out = Table(title=Text(", ".join(run.ids.get(name, name) for name in run.metrics)), title_justify="left")
    out.title_style, out.header_style = "dim", "bold"
    for name in ("config", *(["group"] if len(run.groups) > 1 else [])):
        out.add_column(name, overflow="fold")
    for name in (*map(formats.metric_name, run.metrics), "status", "epochs", "seconds"):
        out.add_column(name, justify="left" if name == "status" else "right", no_wrap=True)
    chosen = [run.best(group) for group in run.groups]
    for one in shown:
        words = [f"{one.number}: {settings(one) or one.name}", *([one.group] if len(run.groups) > 1 else [])]
        words += [formats.metric(one.values[metric]) for metric in run.metrics]
        words += [status(one), str(one.epochs or ""), formats.seconds(one.seconds)]
        style = "bold green" if one in chosen else {"finished": ""}.get(one.status, "dim")
        out.add_row(*(Text(word) for word in words), style=style)
    if len(run.configs) > len(shown):
        out.caption = f"... and {len(run.configs) - len(shown):,} more in tables/configs.csv"
        out.caption_justify = "left"
    return out


def status(one: Config) -> str:
    """What became of a config, in words."""
    return "stopped early" if one.status == "stopped" else one.status


def _setting(one: Config, path: str) -> Any:
    """A level as a field; "null" is one too, and not the same as having none."""
    if path not in one.settings:
        return ""
    value = one.settings[path]
    return "null" if value is None else csv_file.plain(value)
