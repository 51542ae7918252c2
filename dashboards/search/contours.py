"""Contours of a metric over two parameters of a search.

As in Optuna's `plot_contour`, plotly interpolates a grid that holds a value only where a config was tried. Between
configs the surface is a guess; the markers show where the values are measured. Departures: only finished configs are
used, because a stopped config has an earlier value. Only the most important parameters are drawn, because ten
parameters have 45 pairs.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from dashboards.ablation import figures
from dashboards.html import formats
from dashboards.run_data.result_rows import mean
from dashboards.search.figures import all_numbers, config_markers, is_logarithmic, sample_configs
from dashboards.search.importance import MIN_CONFIGS, parameter_importances
from dashboards.search.view import SearchView, TriedConfig

MAX_PARAMETERS = 3
_MAX_POINTS = 120  # the grid has a row and a column per config, and a browser interpolates all of its fields


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
