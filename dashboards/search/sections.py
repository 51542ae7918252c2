"""The parts of a search's page: the judging, the best configs, how the search went, and what its space looks like."""

from collections.abc import Mapping
from typing import Any

from dashboards.ablation.sections import spent, without_result
from dashboards.html import formats
from dashboards.html.embed import embed
from dashboards.html.markup import Markup, escape, name, number, rows, section, tag
from dashboards.search import contours, figures, parallel
from dashboards.search import curves as search_curves
from dashboards.search import space as search_space
from dashboards.search.answer import saved, setting
from dashboards.search.final_evaluation import BEST, REFERENCE, Judged
from dashboards.search.importance import FEWEST, importances
from dashboards.search.tables import WORDS, best, status
from dashboards.search.view import Config, SearchView

_SLICES, _CONTOURS = 24, 12  # small figures on a page


def judging(run: SearchView) -> Markup | None:
    """The best configs against the reference on seeds that chose nothing."""
    if not run.judged:
        return None
    metric = run.judged[0].metric
    header: list[Any] = [run.study.get("group") or "Config", f"{formats.metric_name(metric)}, reference"]
    header += ["Best config", "Difference", "p (Holm)", "Verdict", "Fresh seeds"]
    body = [_judged(run, one) for one in run.judged]
    note = "In brackets: 95 % intervals. Differences are paired by seed; p is corrected over all rows of this table."
    figure = search_curves.judging(run.judged)
    caption = (
        "Grey: a line a seed, from the reference (blue, on the left) to the best config (green, on the right). "
        "Squares: means with their 95 % intervals."
    )
    drawn = embed(figure, "plot-judging", caption, "Judging seeds; means stand in the table") if figure else None
    return section("judging", "Judged on fresh seeds", rows(header, body, note), drawn)


def configs(run: SearchView) -> Markup:
    """The best configs in a table."""
    shown, groups = best(run), len(run.groups) > 1
    header: list[Any] = [
        "Config",
        *([run.study.get("group")] if groups else []),
        *(tag("code", _breakable(path)) for path in run.paths),
    ]
    header += [*map(formats.metric_name, run.metrics), "Status", "Epochs", "Time"]
    chosen = {one.name for group in run.groups if (one := run.best(group))}
    fronts = {one.name for configs in run.fronts.values() for one in configs} if len(run.metrics) > 1 else set()
    body = []
    for one in shown:
        marks = [*["chosen"] * (one.name in chosen), *["Pareto front"] * (one.name in fronts)]
        cells: list[Any] = [tag("span", f"trial {one.number}", *(tag("small", mark) for mark in marks))]
        cells += [one.group.partition("=")[2]] if groups else []
        cells += [_setting(one, path) for path in run.paths]
        cells += [number(formats.metric(one.values[metric]), by=one.values[metric]) for metric in run.metrics]
        cells += [status(one), number(str(one.epochs or ""), by=one.epochs or None)]
        body.append([*cells, number(formats.seconds(one.seconds), by=one.seconds)])
    note = f"The best of {formats.count(len(run.configs), 'config')}; all stand in tables/configs.csv. "
    note += "Values are means over the seeds that tuned: the best of many is lucky, and its value here claims too much."
    if run.count("stopped"):
        note += " A config that was stopped early stands below those that finished, with its last value."
    return section("configs", "Best configs", rows(header, body, note))


def history(run: SearchView) -> Markup | None:
    """Every metric over the trials."""
    if not run.configs:
        return None
    parts: list[Any] = []
    caption = "A point a config; a cross was stopped early and shows its last value. The steps are the best so far."
    if run.count("failed"):
        caption += f" {formats.count(run.count('failed'), 'failed config')} without a value."
    for index, metric in enumerate(run.metrics):
        figure, words = figures.history(run, metric), f"{formats.metric_name(metric)} of each trial"
        parts.append(embed(figure, f"plot-history-{index}", caption + _sampled(run), words))
    return section("history", "The search", *parts)


def fronts(run: SearchView) -> Markup | None:
    """The Pareto front of each group."""
    parts: list[Any] = []
    for index, group in enumerate(run.groups):
        figure = figures.front(run, group)
        if figure is not None and run.fronts[group]:
            caption = (
                f"Squares: the {formats.count(len(run.fronts[group]), 'config')} that no other beats in every metric. "
                "Ring: the config that was chosen. Grey: the other finished configs."
            )
            parts += [tag("h3", name(group))] if group else []
            words = "Pareto front of " + " and ".join(run.metrics)
            parts.append(embed(figure, f"plot-front-{index}", caption, f"{words}, in tables/configs.csv"))
    return section("front", "Pareto front", *parts) if parts else None


def space(run: SearchView) -> Markup | None:
    """Parallel coordinates, importances and slices."""
    figure = parallel.parallel(run)
    if figure is None:
        return None
    caption = (
        "A line a config, from its settings to its value: yellow is good, blue is bad, the thick orange one was chosen."
    )
    if any(path not in one.settings for one in run.configs for path in run.paths):
        caption += ' "Not set": another choice leaves the setting out.'
    if len(run.configs) > parallel.MOST_LINES:
        caption += f" About {parallel.MOST_LINES} of {len(run.configs):,} are drawn, the best among them."
    parts = [embed(figure, "plot-parallel", caption, "Parallel coordinates of all configs")]
    parts += [*_importances(run), *_contours(run)]
    small = []
    for index, path in enumerate(run.paths[:_SLICES]):
        drawn = search_space.slice_of(run, path, run.metrics[0])
        words = f"{run.metrics[0]} over {path}"
        if drawn.data:
            small.append(tag("div", tag("h3", tag("code", path)), embed(drawn, f"plot-slice-{index}", None, words)))
    note = "Each parameter alone: a point a config, whose other settings differ too. Crosses were stopped early."
    if len(run.paths) > _SLICES:
        note += f" The first {_SLICES} of {len(run.paths)} parameters are drawn."
    if small:
        parts += [tag("h3", "Slices"), tag("p", note, class_="note"), tag("div", *small, class_="grid")]
    return section("space", "The space", *parts)


def curves(run: SearchView) -> Markup | None:
    """Learning curves, and what stopping them early saved."""
    parts: list[Any] = []
    share, epochs = saved(run), run.study.get("epochs") or {}
    if share is not None and run.count("stopped"):
        words = f"{epochs['run']:,} of {epochs['full']:,} epochs were run: early stopping saved {100 * share:.0f} %."
        parts.append(tag("p", f"{formats.count(run.count('stopped'), 'config')} stopped early. {words}"))
    for index, group in enumerate(run.groups):
        figure = search_curves.curves(run, group)
        if figure is not None:
            caption = "Green: the chosen config. Blue: finished. Grey: stopped early, at the cross."
            most = search_curves.MOST_CURVES
            if len(run.of(group)) > most:
                caption += f" {most} of {len(run.of(group)):,} are drawn, the best among them."
            parts += [tag("h3", name(group))] if group else []
            words = f"{run.metrics[0]} over the iterations of each config"
            parts.append(embed(figure, f"plot-curves-{index}", caption, words))
    return section("curves", "Learning curves", *parts) if parts else None


def cost(run: SearchView) -> Markup:
    """What tuning and judging took."""
    return section("cost", "Cost", spent(run.study, run.rows))


def failures(run: SearchView) -> Markup | None:
    """Cells that failed; those that were stopped early are no holes."""
    failed = [row for row in run.rows if row["status"] == "failed"]
    return without_result(failed, {}, "A failed config is no candidate; a failed judging seed counts in no difference.")


def _breakable(path: str) -> Markup:
    """A path that breaks after its dots and nowhere else."""
    return Markup(escape(path).replace(".", ".<wbr>"))


def _judged(run: SearchView, one: Judged) -> list[Any]:
    row, reference, chosen = one.best, one.reference, run.best(one.group)
    bounds = formats.interval(row["delta_low"], row["delta_high"], sign=True)
    failed = {REFERENCE: reference["failed"], BEST: row["failed"]}
    holes = [f"{number} failed ({kind})" for kind, number in failed.items() if number]
    return [
        one.group.partition("=")[2] or (f"trial {chosen.number}" if chosen else "best"),
        _mean(reference),
        _mean(row),
        number(formats.signed(row["delta"]) if row["delta"] is not None else "", bounds, row["delta"]),
        number(formats.p_value(row["p_holm"]) if row["p_holm"] is not None else "", by=row["p_holm"]),
        _verdict(one),
        number(str(one.seeds), ", ".join(holes), one.seeds),
    ]


def _mean(row: Mapping[str, Any]) -> Markup:
    return number(formats.metric(row["mean"]), formats.interval(row["ci_low"], row["ci_high"]), row["mean"])


def _verdict(one: Judged) -> Markup:
    words = tag("span", WORDS.get(one.verdict, one.verdict), class_=f"verdict {one.verdict.replace(' ', '-')}")
    reason = one.best["refused"] if one.verdict == "no interval" else None
    return tag("td", words, tag("small", reason) if reason else None)


def _setting(one: Config, path: str) -> Markup:
    level = one.settings.get(path)
    by = level if isinstance(level, int | float) and not isinstance(level, bool) else None
    if by is None:  # a name, which is sorted by its text
        return tag("td", setting(level) if path in one.settings else "", class_="number")
    return number(setting(level), by=by)


def _importances(run: SearchView) -> list[Any]:
    parts: list[Any] = []
    for index, metric in enumerate(run.metrics):
        found = {group: shares for group in run.groups if (shares := importances(run, metric, group))}
        if found:
            figure = search_space.importances(found, metric)
            ranked = ", ".join(f"{path} {share:.2f}" for shares in found.values() for path, share in shares.items())
            parts.append(embed(figure, f"plot-importance-{index}", None, f"Importances for {metric}: {ranked}"))
    if parts:
        left = [path for path in run.paths if any(path not in one.settings for one in run.configs)]
        note = f" Not every config has {formats.listed(left)}, which cannot be weighed." if left else ""
        caption = f"What decided, by Optuna's PED-ANOVA over the finished configs.{note}"
        return [tag("h3", "Importances"), tag("p", caption, class_="note"), *parts]
    return [tag("p", f"Importances need {FEWEST} finished configs that differ in value.", class_="note")]


def _contours(run: SearchView) -> list[Any]:
    drawn = [
        (group, across, up, figure)
        for group in run.groups
        for across, up in contours.pairs(run, group)
        if (figure := contours.contour(run, group, across, up)) is not None
    ][:_CONTOURS]
    small = []
    for index, (group, across, up, figure) in enumerate(drawn):
        title = tag("h4", *([name(group), ": "] if group else []), tag("code", across), " and ", tag("code", up))
        says = f"{run.metrics[0]} over {across} and {up}, interpolated between the configs in tables/configs.csv"
        small.append(tag("div", title, embed(figure, f"plot-contour-{index}", None, says)))
    note = (
        "Two parameters at a time, of those that decided most: rings are finished configs, the large one was chosen, "
        "and yellow is good. Between rings the surface is interpolated, whatever the other parameters were there."
    )
    return (
        [tag("h3", "Contours"), tag("p", note, class_="note"), tag("div", *small, class_="grid wide")] if small else []
    )


def _sampled(run: SearchView) -> str:
    most = figures.MOST_POINTS
    return f" About {most:,} of {len(run.configs):,} are drawn, the best among them." if len(run.configs) > most else ""
