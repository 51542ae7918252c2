"""The importance of each parameter, and contours of a metric over pairs of the most important ones.

Importances are Optuna's PED-ANOVA over an Optuna study that is rebuilt from the results. As in Optuna's `plot_contour`,
plotly interpolates a grid that holds a value only where a config was tried. Between configs the surface is a guess; the
markers show where the values are measured. Departures: only finished configs are used, because a stopped config has an
earlier value. Only the most important parameters are drawn, because ten parameters have 45 pairs.
"""

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
import plotly.graph_objects as go
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from dashboards.ablation import figures
from dashboards.html import formats
from dashboards.run_data import mean
from dashboards.search.figures import PALETTE, PATTERNS, all_numbers, config_markers, is_logarithmic, sample_configs
from dashboards.search.importance_intervals import ImportanceInterval, bootstrap
from dashboards.search.tried_configs import TriedConfig
from dashboards.search.view import SearchView

MIN_CONFIGS = 8  # with fewer finished configs a share reflects chance more than the parameter
MAX_PARAMETERS = 3
_MAX_POINTS = 120  # the grid has a row and a column per config, and a browser interpolates all of its fields


def parameter_importances(run: SearchView, metric: str, group: str) -> dict[str, float]:
    """Compute the importance of each parameter for a metric; the shares add up to 1.

    Optuna cannot weigh parameters that some configs do not have; they are left out.

    Returns:
        Parameter -> share. Empty with fewer than `MIN_CONFIGS` finished configs, or if Optuna refuses.
    """
    study = importance_study(run, metric, group)
    if study is None:
        return {}
    with quiet_optuna():
        try:
            return dict(optuna.importance.get_param_importances(study))
        except (ValueError, RuntimeError):
            return {}


def importance_intervals(run: SearchView, metric: str, group: str) -> list[ImportanceInterval]:
    """Return the importance of each parameter for a metric with its 95 % interval, the largest first.

    Returns:
        Nothing where `parameter_importances` has nothing.
    """
    shares = parameter_importances(run, metric, group)
    study = importance_study(run, metric, group) if shares else None
    if study is None:
        return []
    with quiet_optuna():
        return bootstrap(study, shares, metric, group)


def importance_study(run: SearchView, metric: str, group: str) -> optuna.Study | None:
    """Return the finished configs as an Optuna study, with the parameters that all of them have; None if too few."""
    finished = [config for config in run.in_group(group) if config.status == "finished"]
    configs = [config for config in finished if config.values[metric] is not None]
    paths = [path for path in run.paths if all(path in config.settings for config in configs)]
    distinct = {json.dumps(config.values[metric]) for config in configs}
    if len(configs) < MIN_CONFIGS or not paths or len(distinct) < 2:
        return None
    distributions = {path: _distribution(run, path, [config.settings[path] for config in configs]) for path in paths}
    with quiet_optuna():
        study = optuna.create_study(direction="maximize" if run.modes[metric] == "max" else "minimize")
        study.add_trials([_frozen_trial(config, metric, distributions) for config in configs])
    return study


def draw_importances(importances: Mapping[str, Sequence[ImportanceInterval]], metric: str) -> go.Figure:
    """Draw the importances as bars, with their intervals.

    Args:
        importances: group -> an importance per parameter.
        metric: the metric that they are for.
    """
    paths = list(dict.fromkeys(row.path for rows in importances.values() for row in rows))
    totals = {
        path: sum(row.share for rows in importances.values() for row in rows if row.path == path) for path in paths
    }
    paths.sort(key=lambda path: totals[path])
    height = 90 + (14 + 16 * len(importances)) * len(paths)
    figure = figures.base(height, bargap=0.3, showlegend=len(importances) > 1)
    for index, (group, rows) in enumerate(importances.items()):
        ordered = sorted(rows, key=lambda row: paths.index(row.path))
        figure.add_trace(
            go.Bar(
                name=figures.escaped(group),
                x=[row.share for row in ordered],
                y=[figures.escaped(row.path) for row in ordered],
                orientation="h",
                marker={
                    "color": PALETTE[index % len(PALETTE)],
                    "opacity": 0.8,
                    "pattern": {"shape": PATTERNS[index % len(PATTERNS)], "fillmode": "overlay", "solidity": 0.2},
                },
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [row.high - row.share for row in ordered],
                    "arrayminus": [row.share - row.low for row in ordered],
                    "color": figures.GREY,
                    "thickness": 1.8,
                },
                hovertext=[f"{figures.escaped(group)} {row.text}".strip() for row in ordered],
                hoverinfo="text",
            )
        )
    figure.update_xaxes(title_text=f"importance for {figures.escaped(formats.metric_name(metric))}", rangemode="tozero")
    figure.update_yaxes(type="category", ticks="")
    return figure


def _frozen_trial(
    config: TriedConfig, metric: str, distributions: dict[str, BaseDistribution]
) -> optuna.trial.FrozenTrial:
    params = {
        path: json.dumps(config.settings[path])
        if isinstance(distribution, CategoricalDistribution)
        else config.settings[path]
        for path, distribution in distributions.items()
    }
    return optuna.trial.create_trial(params=params, distributions=distributions, value=config.values[metric])


def _distribution(run: SearchView, path: str, levels: Sequence[Any]) -> BaseDistribution:
    """Return a distribution over the range of the tried levels; the results do not record the space itself."""
    if not all_numbers(levels):
        return CategoricalDistribution(sorted({json.dumps(level) for level in levels}))
    log = is_logarithmic(run, path, levels)
    if all(isinstance(level, int) for level in levels):
        return IntDistribution(int(min(levels)), int(max(levels)), log=log)
    return FloatDistribution(float(min(levels)), float(max(levels)), log=log)


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Silence Optuna, which logs every new study and warns about its experimental parts."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def contour_pairs(run: SearchView, group: str) -> list[tuple[str, str]]:
    """Return pairs of the most important numeric parameters, the more important one first (across).

    Parameters that Optuna cannot weigh, because some configs do not have them, come last.
    """
    shares = parameter_importances(run, run.metrics[0], group)
    ranked = sorted(run.paths, key=lambda path: -shares.get(path, 0.0))
    numeric = [path for path in ranked if len(set(_numeric_levels(run, group, path))) > 2]
    return list(itertools.combinations(numeric[:MAX_PARAMETERS], 2))


def draw_contour(run: SearchView, group: str, across: str, up: str) -> go.Figure | None:
    """Draw the first metric over two parameters; None with too few finished configs that have both."""
    metric = run.metrics[0]
    configs = sample_configs(run, group, _MAX_POINTS * len(run.groups))
    members = [config for config in configs if _is_usable(config, metric, across, up)]
    x = sorted({config.settings[across] for config in members})
    y = sorted({config.settings[up] for config in members})
    if len(members) < MIN_CONFIGS or len(x) < 3 or len(y) < 3:
        return None
    figure = figures.base(340)
    figure.add_trace(
        go.Contour(
            x=x,
            y=y,
            z=contour_grid(members, metric, across, up),
            connectgaps=True,
            colorscale="Cividis" if run.modes[metric] == "max" else "Cividis_r",
            line={"width": 0.5, "color": "rgba(255,255,255,0.6)"},
            ncontours=12,
            colorbar={
                "thickness": 12,
                "title": {"text": figures.escaped(formats.metric_name(metric)), "side": "right"},
            },
            hoverinfo="skip",
        )
    )
    figure.add_trace(_rings(run, members, across, up, "#000000", size=6, width=1.2))
    best = run.best(group)
    if best is not None and best in members:
        figure.add_trace(_rings(run, [best], across, up, figures.VERMILLION, size=16, width=3))
    figure.update_xaxes(_axis(run, across, x))
    return figure.update_yaxes(_axis(run, up, y))


def contour_grid(members: Sequence[TriedConfig], metric: str, across: str, up: str) -> list[list[float | None]]:
    """Return the grid of a contour: rows by `up`, columns by `across`, both ascending.

    A field holds the mean of the configs at its levels, or None if no config has them.
    """
    columns = sorted({config.settings[across] for config in members})
    rows = sorted({config.settings[up] for config in members})
    values: dict[tuple[Any, Any], list[float | None]] = {}
    for config in members:
        values.setdefault((config.settings[up], config.settings[across]), []).append(config.values[metric])
    return [[mean(values.get((row, column), ())) for column in columns] for row in rows]


def _rings(
    run: SearchView, members: list[TriedConfig], across: str, up: str, color: str, size: int, width: float
) -> go.Scatter:
    x = [config.settings[across] for config in members]
    y = [config.settings[up] for config in members]
    return config_markers(run, members, x, y, color, "circle-open", size).update(marker={"line": {"width": width}})


def _axis(run: SearchView, path: str, levels: Sequence[Any]) -> dict[str, Any]:
    title = {"text": figures.escaped(path), "font": {"size": 13}, "standoff": 8}
    if not is_logarithmic(run, path, levels):
        return {"title": title, "type": "linear", "range": [levels[0], levels[-1]], "nticks": 6}
    ticks = {"dtick": 1, "tickformat": "~g"} if levels[-1] / levels[0] >= 10 else {"nticks": 4}
    return {"title": title, "type": "log", "range": [math.log10(levels[0]), math.log10(levels[-1])], **ticks}


def _numeric_levels(run: SearchView, group: str, path: str) -> list[Any]:
    """Return the levels of a parameter if all of them are numbers; otherwise nothing."""
    levels = [config.settings[path] for config in run.in_group(group) if path in config.settings]
    return levels if all_numbers(levels) else []


def _is_usable(config: TriedConfig, metric: str, *paths: str) -> bool:
    has_value = config.status == "finished" and config.values[metric] is not None
    return has_value and all(path in config.settings for path in paths)
