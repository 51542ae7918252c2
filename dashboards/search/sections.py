"""The sections of a search's page: final evaluation, best configs, history, Pareto fronts, space, curves and cost."""

from typing import Any

from dashboards.ablation.cost import spent
from dashboards.ablation.sections import without_result
from dashboards.html import Markup, breakable_name, embed, formats, section, tag
from dashboards.search import curves as search_curves
from dashboards.search import figures, importance, importance_intervals, parallel, tables
from dashboards.search.answer import saved_share
from dashboards.search.view import SearchView

_MAX_SLICES = 24
_MAX_CONTOURS = 12


def final_evaluation(run: SearchView) -> Markup | None:
    """Compare the best configs with the reference on fresh seeds."""
    if not run.evaluations:
        return None
    note = "In brackets: 95 % intervals. Differences are paired by seed; p is corrected over all groups."
    for evaluation in run.evaluations:
        rows = (evaluation.reference, evaluation.best)
        if any(evaluation.limits.exceeded(row["ci_low"], row["ci_high"]) for row in rows):
            note += f" {evaluation.limits.note}"
            break
    figure = search_curves.draw_final_evaluations(run.evaluations)
    caption = (
        "Gray: one line per seed, from the reference (blue, left) to the best config (green, right). "
        "Squares: means with their 95 % intervals."
    )
    says = "Seeds of the final evaluation; see the table"
    drawn = embed(figure, "plot-judging", caption, says, "Final evaluation on fresh seeds") if figure else None
    table = tables.evaluations_table(run, note).to_html()
    return section("judging", "Final evaluation on fresh seeds", table, drawn)


def configs(run: SearchView) -> Markup:
    """List the best configs."""
    note = f"The best of {formats.count(len(run.configs), 'config')}; tables/configs.csv lists all. "
    note += (
        "Values are means over the tuning seeds. The best of many configs is partly lucky, so its value here is "
        "too optimistic."
    )
    if run.count("stopped"):
        note += " Configs that were stopped early come after the finished ones, with their last value."
    return section("configs", "Best configs", tables.configs_table(run, note).to_html())


def history(run: SearchView) -> Markup | None:
    """Draw every metric over the trials."""
    if not run.configs:
        return None
    caption = "One point per config; a cross was stopped early and shows its last value. The steps are the best so far."
    if run.count("failed"):
        caption += f" {formats.count(run.count('failed'), 'failed config')} without a value."
    caption += _sample_note(run, figures.MAX_POINTS, len(run.configs))
    parts = [
        embed(
            figures.draw_history(run, metric),
            f"plot-history-{index}",
            caption,
            f"{formats.metric_name(metric)} of each trial",
        )
        for index, metric in enumerate(run.metrics)
    ]
    return section("history", "History", *parts)


def fronts(run: SearchView) -> Markup | None:
    """Draw the Pareto front of each group."""
    parts: list[Any] = []
    for index, group in enumerate(run.groups):
        figure = figures.draw_front(run, group)
        if figure is not None and run.fronts[group]:
            caption = (
                f"Squares: the {formats.count(len(run.fronts[group]), 'config')} that no other config dominates. "
                "Ring: the chosen config. Gray: the other finished configs."
            )
            finished = [config for config in run.in_group(group) if config.status == "finished"]
            left_out = sum(None in config.values.values() for config in finished)
            if left_out:
                caption += f" {formats.count(left_out, 'config')} without a value that can be compared left out."
            title = f"Pareto front of {' and '.join(run.metrics)}{_of_group(group)}"
            description = f"{title}, in tables/configs.csv"
            parts += [tag("h3", breakable_name(group))] if group else []
            parts.append(embed(figure, f"plot-front-{index}", caption, description, title))
    return section("front", "Pareto front", *parts) if parts else None


def space(run: SearchView) -> Markup | None:
    """Draw parallel coordinates, importances, contours and slices."""
    figure = parallel.draw_parallel(run)
    if figure is None:
        return None
    caption = (
        "One line per config, from its settings to its value. Yellow is good, blue is bad. The chosen config is thick "
        "and orange."
    )
    if any(path not in config.settings for config in run.configs for path in run.paths):
        caption += ' "not set": another setting makes this one unnecessary.'
    caption += _sample_note(run, parallel.MAX_LINES, len(run.configs))
    parts = [embed(figure, "plot-parallel", caption, "Parallel coordinates of all configs")]
    parts += [*_importances(run), *_contours(run), *_slices(run)]
    return section("space", "Search space", *parts)


def curves(run: SearchView) -> Markup | None:
    """Draw learning curves, and report the epochs that early stopping saved."""
    parts: list[Any] = []
    share = saved_share(run)
    epochs = run.study.epochs
    if share is not None and run.count("stopped"):
        stopped = f"{formats.count(run.count('stopped'), 'config')} stopped early."
        ran = f"{epochs.run:,.0f} of {epochs.full:,.0f} epochs were run: early stopping saved {100 * share:.0f} %."
        parts.append(tag("p", f"{stopped} {ran}"))
    for index, group in enumerate(run.groups):
        figure = search_curves.draw_curves(run, group)
        if figure is not None:
            caption = "Green: the chosen config. Blue: finished. Gray: stopped early, at the cross."
            caption += _sample_note(run, search_curves.MAX_CURVES, len(run.in_group(group)))
            description = f"{run.metrics[0]} over the iterations of each config{_of_group(group)}"
            parts += [tag("h3", breakable_name(group))] if group else []
            parts.append(embed(figure, f"plot-curves-{index}", caption, description))
    return section("curves", "Learning curves", *parts) if parts else None


def cost(run: SearchView) -> Markup:
    """Report the time and money that tuning and final evaluation took."""
    return section("cost", "Cost", spent(run.study, run.rows))


def failures(run: SearchView) -> Markup | None:
    """List the failed cells; cells that were stopped early did not fail."""
    failed = [row for row in run.rows if row["status"] == "failed"]
    note = "A failed config cannot be chosen, and a failed seed of the final evaluation counts in no difference."
    return without_result(failed, {}, note)


def _slices(run: SearchView) -> list[Any]:
    note = "Each parameter alone: one point per config; the other settings vary too. Crosses were stopped early."
    drawn = []
    for index, path in enumerate(run.paths[:_MAX_SLICES]):
        figure = figures.draw_slice(run, path, run.metrics[0])
        if figure.data:
            plot = embed(figure, f"plot-slice-{index}", None, f"{run.metrics[0]} over {path}", note=note)
            drawn.append(tag("div", tag("h3", tag("code", path)), plot))
    if not drawn:
        return []
    if len(run.paths) > _MAX_SLICES:
        note += f" The first {_MAX_SLICES} of {len(run.paths)} parameters are drawn."
    return [tag("h3", "Slices"), tag("p", note, class_="note"), tag("div", *drawn, class_="grid")]


def _importances(run: SearchView) -> list[Any]:
    by_metric = {
        metric: {group: rows for group in run.groups if (rows := importance.importance_intervals(run, metric, group))}
        for metric in run.metrics
    }
    counted = dict.fromkeys(
        (row.trials, row.resamples) for groups in by_metric.values() for rows in groups.values() for row in rows
    )
    if not counted:
        reason = f"Importances need {importance.MIN_CONFIGS} finished configs with different values."
        return [tag("p", reason, class_="note")]
    note = (
        "The importance of each parameter, by Optuna's PED-ANOVA over the finished configs. Lines and brackets: 95 % "
        "intervals by a bootstrap over the trials: "
        f"{formats.listed([f'{resamples} resamples of {trials:,} trials' for trials, resamples in counted])}."
    )
    partial = [path for path in run.paths if any(path not in config.settings for config in run.configs)]
    if partial:
        note += f" Some configs do not have {formats.listed(partial)}, which Optuna cannot weigh."
    parts: list[Any] = []
    for index, (metric, groups) in enumerate(by_metric.items()):
        if groups:
            figure = importance.draw_importances(groups, metric)
            title = f"Importances for {metric}"
            parts.append(embed(figure, f"plot-importance-{index}", None, f"{title}, as in the table", title, note))
            rows = [row for rows in groups.values() for row in rows]
            parts.append(importance_intervals.importance_table(rows, len(run.groups) > 1).to_html())
    return [tag("h3", "Importances"), tag("p", note, class_="note"), *parts]


def _contours(run: SearchView) -> list[Any]:
    drawn = [
        (group, across, up, figure)
        for group in run.groups
        for across, up in importance.contour_pairs(run, group)
        if (figure := importance.draw_contour(run, group, across, up)) is not None
    ][:_MAX_CONTOURS]
    if not drawn:
        return []
    note = (
        "Pairs of the most important parameters. Rings are finished configs, the large ring is the chosen one, and "
        "yellow is good. Between the rings the surface is interpolated, whatever the other parameters were there."
    )
    parts = []
    for index, (group, across, up, figure) in enumerate(drawn):
        heading = tag(
            "h4", *([breakable_name(group), ": "] if group else []), tag("code", across), " and ", tag("code", up)
        )
        title = f"{run.metrics[0]} over {across} and {up}{_of_group(group)}"
        description = f"{title}, interpolated between the configs in tables/configs.csv"
        parts.append(tag("div", heading, embed(figure, f"plot-contour-{index}", None, description, title, note)))
    return [tag("h3", "Contours"), tag("p", note, class_="note"), tag("div", *parts, class_="grid wide")]


def _of_group(group: str) -> str:
    return f" ({group})" if group else ""


def _sample_note(run: SearchView, limit: int, number: int) -> str:
    return f" About {limit:,} of {number:,} are drawn, including the best." if number > limit else ""
