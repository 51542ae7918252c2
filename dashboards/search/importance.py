"""The importance of each parameter, by Optuna's PED-ANOVA over an Optuna study that is rebuilt from the results."""

import json
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
from dashboards.search.figures import PALETTE, all_numbers, is_logarithmic
from dashboards.search.view import SearchView, TriedConfig

MIN_CONFIGS = 8  # with fewer finished configs a share reflects chance more than the parameter


def parameter_importances(run: SearchView, metric: str, group: str) -> dict[str, float]:
    """Compute the importance of each parameter for a metric; the shares add up to 1.

    Optuna cannot weigh parameters that some configs do not have; they are left out.

    Returns:
        Parameter -> share. Empty with fewer than `MIN_CONFIGS` finished configs, or if Optuna refuses.
    """
    finished = [config for config in run.in_group(group) if config.status == "finished"]
    configs = [config for config in finished if config.values[metric] is not None]
    paths = [path for path in run.paths if all(path in config.settings for config in configs)]
    distinct = {json.dumps(config.values[metric]) for config in configs}
    if len(configs) < MIN_CONFIGS or not paths or len(distinct) < 2:
        return {}
    distributions = {path: _distribution(run, path, [config.settings[path] for config in configs]) for path in paths}
    with _quiet_optuna():
        study = optuna.create_study(direction="maximize" if run.modes[metric] == "max" else "minimize")
        study.add_trials([_frozen_trial(config, metric, distributions) for config in configs])
        try:
            return dict(optuna.importance.get_param_importances(study))
        except (ValueError, RuntimeError):
            return {}


def draw_importances(importances: Mapping[str, Mapping[str, float]], metric: str) -> go.Figure:
    """Draw the importances as bars.

    Args:
        importances: group -> parameter -> share.
        metric: the metric that the shares are for.
    """
    paths = list(dict.fromkeys(path for shares in importances.values() for path in shares))
    totals = {path: sum(shares.get(path, 0.0) for shares in importances.values()) for path in paths}
    paths.sort(key=lambda path: totals[path])
    height = 90 + (14 + 16 * len(importances)) * len(paths)
    figure = figures.base(height, bargap=0.3, showlegend=len(importances) > 1)
    for index, (group, shares) in enumerate(importances.items()):
        values = [shares.get(path) for path in paths]
        figure.add_trace(
            go.Bar(
                name=figures.escaped(group),
                x=values,
                y=[figures.escaped(path) for path in paths],
                orientation="h",
                marker={"color": PALETTE[index % len(PALETTE)]},
                hovertext=[f"{figures.escaped(group)} {formats.metric(value)}".strip() for value in values],
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
def _quiet_optuna() -> Iterator[None]:
    """Silence Optuna, which logs every new study and warns about its experimental parts."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
