"""The section on factors: curves, and of a crossed design the map, main effects and interactions.

Marginal means and their intervals come from `studies.analysis.marginals`. Parallel lines in an interaction mean that
two factors add up. Lines that cross or spread mean that the effect of one factor depends on the other.
"""

import itertools
from dataclasses import replace
from typing import Any

import plotly.graph_objects as go

from dashboards.ablation import curves, figures
from dashboards.ablation.view import View
from dashboards.html import Markup, embed, formats, section, tag
from raysearch.studies.analysis import Marginal, Point, marginal, marginals, statistics

MAX_FIGURES = 12  # small ones of interactions
MAX_LINES = 6  # that an eye tells apart
PALETTE = (figures.BLUE, figures.VERMILLION, figures.GREEN, "#cc79a7", "#e69f00", "#56b4e9")
_SYMBOLS = ("square", "circle", "triangle-up", "diamond", "triangle-down", "x")
_SHIFT = 0.08  # of a step, between lines, so that their intervals do not cover each other


def factors_section(run: View) -> Markup | None:
    """Return the section: a curve per numeric factor, and main effects and interactions of crossed factors."""
    parts = [*_curves(run), *_map(run), *_main_effects(run), *_interactions(run)]
    return section("factors", "Factors", *parts) if parts else None


def _curves(run: View) -> list[Any]:
    parts: list[Any] = []
    for index, factor in enumerate(curves.numeric_factors(run)):
        figure = curves.curve(run, factor)
        caption = "Gray: one line per seed. Blue: the mean with its 95 % interval. The larger square is the reference."
        if "yaxis2" in figure.layout.to_plotly_json() and run.published:
            caption += f" Dashed: {run.published.paper}, with its own protocol and scale."
        chance = run.study.chance
        if isinstance(chance, int | float):
            caption += f" A random guess scores {formats.metric(chance)}."
        title = f"{formats.metric_name(run.metric)} over {factor}"
        says = f"{title}; the numbers are in the table of variants"
        parts += [tag("h3", tag("code", factor)), embed(figure, f"plot-factor-{index}", caption, says, title)]
    return parts


def _map(run: View) -> list[Any]:
    heat = figures.heat_map(run)
    if heat is None:
        return []
    caption = "Mean over seeds. An empty field has no finished cell."
    return [tag("h3", "Both factors"), embed(heat, "plot-heat", caption, "Means over both factors")]


def _main_effects(run: View) -> list[Any]:
    crossed = crossed_factors(run)
    if len(crossed) < 2:
        return []
    drawn = [(factor, means) for factor in crossed if (means := main_effect(run, factor)) is not None]
    if not drawn:
        return []
    same_range([means for _, means in drawn])
    note = (
        "The mean at each level, over all levels of the other factors. The cells of a seed are averaged first, and the "
        "95 % interval is over seeds. It shows the spread of seeds; the table of variants compares the variants."
    )
    small = [
        _small(
            f"plot-main-{index}",
            tag("code", factor),
            figure,
            means,
            f"Main effect of {factor}",
            _numbers(run, (factor,), means),
            note,
        )
        for index, (factor, (figure, means)) in enumerate(drawn)
    ]
    return [tag("h3", "Main effects"), tag("p", note, class_="note"), _grid(small)]


def _interactions(run: View) -> list[Any]:
    pairs = crossed_pairs(run)
    drawn = [(*pair, means) for pair in pairs[:MAX_FIGURES] if (means := interaction(run, *pair))]
    if not drawn:
        return []
    same_range([means for _, _, means in drawn])
    note = (
        "One line per level of the second factor. Parallel lines: the two factors add up. Crossing lines: the effect "
        "of one factor depends on the other."
    )
    small = [
        _small(
            f"plot-interaction-{index}",
            tag("span", tag("code", across), " by ", tag("code", lines)),
            figure,
            means,
            f"Interaction of {across} and {lines}",
            _numbers(run, (across, lines), means),
            note,
        )
        for index, (across, lines, (figure, means)) in enumerate(drawn)
    ]
    if len(pairs) > MAX_FIGURES:
        note += f" The figures show {MAX_FIGURES} of {len(pairs)} pairs."
    if any(len(figures.levels(run, factor)) > MAX_LINES for factor in crossed_factors(run)):
        note += f" Pairs in which both factors have more than {MAX_LINES} levels are left out."
    return [tag("h3", "Interactions"), tag("p", note, class_="note"), _grid(small)]


def _small(
    key: str, heading: Markup, figure: go.Figure, means: Marginal, title: str, numbers: str, note: str
) -> Markup:
    return tag("div", tag("h4", heading), embed(figure, key, _averaged(means), f"{title}: {numbers}", title, note))


def _grid(small: list[Markup]) -> Markup:
    return tag("div", *small, class_="grid")


def _averaged(means: Marginal) -> str:
    """Return what was averaged, and what was left out."""
    sentences = [f"Over {formats.count(len(means.seeds), 'seed')}"]
    sentences[0] += f" and {means.settings} settings of the other factors." if means.settings > 1 else "."
    if means.left_out:
        sentences.append(f"{formats.count(means.left_out, 'setting')} without all seeds left out.")
    refused = statistics.refusal(len(means.seeds))
    if refused:
        sentences.append(f"{refused}.")
    return " ".join(sentences)


def _numbers(run: View, shown: tuple[str, ...], means: Marginal) -> str:
    """Return the means as text, for people who do not see the figure."""
    levels = [figures.levels(run, factor) for factor in shown]
    texts = []
    for positions, point in means.points.items():
        names = [formats.level(of_factor[index]) for of_factor, index in zip(levels, positions, strict=True)]
        texts.append(f"{' and '.join(names)} {formats.metric(point.mean)}")
    return formats.listed(texts, most=40)


def crossed_factors(run: View) -> list[str]:
    """Return the factors of a crossed design with two or more levels; none for another design."""
    if run.study.design != "full":
        return []
    return [factor for factor in run.factors if len(figures.levels(run, factor)) > 1]


def cells(run: View) -> dict[marginals.Levels, dict[int, float]]:
    """Return (position of the level of each factor) -> metric by seed. Equal configs count at all their settings."""
    crossed = crossed_factors(run)
    position = {
        factor: {formats.level(level): index for index, level in enumerate(figures.levels(run, factor))}
        for factor in crossed
    }
    values: dict[marginals.Levels, dict[int, float]] = {}
    for variant in run.variants:
        for place in variant.places(crossed):
            levels = tuple(position[factor][formats.level(level)] for factor, level in zip(crossed, place, strict=True))
            values[levels] = dict(variant.values)
    return values


def crossed_pairs(run: View) -> list[tuple[str, str]]:
    """Return (factor on the axis, factor of the lines), each pair once. The axis has the factor with more levels."""
    size = {factor: len(figures.levels(run, factor)) for factor in crossed_factors(run)}
    both = (sorted(pair, key=lambda factor: -size[factor]) for pair in itertools.combinations(size, 2))
    return [(across, lines) for across, lines in both if size[lines] <= MAX_LINES]


def main_effect(run: View, factor: str) -> tuple[go.Figure, Marginal] | None:
    """Draw the marginal mean at each level of a factor, with its interval over seeds; None without a complete seed."""
    means = _marginal(run, [crossed_factors(run).index(factor)])
    if not means.points:
        return None
    figure = _figure(run, factor)
    figure.add_trace(_line(means, [(index,) for (index,) in sorted(means.points)], 0, 0.0, ""))
    return figure, means


def interaction(run: View, across: str, lines: str) -> tuple[go.Figure, Marginal] | None:
    """Draw marginal means over one factor, one line per level of the other; None without a complete seed."""
    order = crossed_factors(run)
    means = _marginal(run, [order.index(across), order.index(lines)])
    if not means.points:
        return None
    figure = _figure(run, across)
    line_levels = sorted({line for _, line in means.points})
    for index, line in enumerate(line_levels):
        name = figures.escaped(f"{lines}={formats.level(figures.levels(run, lines)[line])}")
        at = [(level, line) for level in range(len(figures.levels(run, across))) if (level, line) in means.points]
        figure.add_trace(_line(means, at, index, _SHIFT * (index - (len(line_levels) - 1) / 2), name))
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "font": {"size": 11}}
    return figure.update_layout(height=300 + 18 * len(line_levels), showlegend=True, legend=legend), means


def _marginal(run: View, kept: list[int]) -> Marginal:
    """Return marginal means, with intervals cut where the metric cannot go."""
    means = marginal(cells(run), kept, run.step)
    limits = run.reference.limits
    points = {levels: Point(point.mean, *limits.cut(point.low, point.high)) for levels, point in means.points.items()}
    return replace(means, points=points)


def same_range(drawn: list[tuple[go.Figure, Marginal]]) -> None:
    """Give all figures the same range of the metric, so that a larger effect looks larger."""
    points = [point for _, means in drawn for point in means.points.values()]
    low = min(point.mean if point.low is None else point.low for point in points)
    high = max(point.mean if point.high is None else point.high for point in points)
    pad = 0.05 * (high - low or abs(high) or 1.0)
    for figure, _ in drawn:
        figure.update_yaxes(range=[low - pad, high + pad])


def _figure(run: View, factor: str) -> go.Figure:
    ticks = [figures.text(formats.level(level), 14) for level in figures.levels(run, factor)]
    figure = figures.base(280)
    figure.update_xaxes(
        tickvals=list(range(len(ticks))),
        ticktext=ticks,
        range=[-0.4, len(ticks) - 0.6],
        title_text=figures.escaped(factor),
    )
    return figure.update_yaxes(title_text=figures.escaped(formats.metric_name(run.metric)), nticks=6)


def _line(means: Marginal, at: list[Any], index: int, shift: float, name: str) -> go.Scatter:
    points = [means.points[levels] for levels in at]
    colour = PALETTE[index % len(PALETTE)]
    return go.Scatter(
        name=name,
        x=[levels[0] + shift for levels in at],
        y=[point.mean for point in points],
        mode="lines+markers",
        line={"color": colour, "width": 2},
        marker={"size": 8, "symbol": _SYMBOLS[index % len(_SYMBOLS)], "color": colour},
        error_y={
            "array": [0 if point.high is None else point.high - point.mean for point in points],
            "arrayminus": [0 if point.low is None else point.mean - point.low for point in points],
            "type": "data",
            "symmetric": False,
            "color": colour,
            "thickness": 1.5,
            "width": 4,
        },
        hovertext=[
            "<br>".join([*([name] if name else []), f"{formats.metric(point.mean)} {_bounds(point.low, point.high)}"])
            for point in points
        ],
        hoverinfo="text",
    )


def _bounds(low: float | None, high: float | None) -> str:
    return formats.interval(low, high) or "no interval"
