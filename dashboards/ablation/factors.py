"""The section on factors: curves, and the map, main effects and interactions of a crossed design."""

from typing import Any

import plotly.graph_objects as go

from dashboards.ablation import curves, factorial, figures
from dashboards.ablation.view import View
from dashboards.html import Markup, embed, formats, section, tag
from raysearch.studies.analysis import Marginal
from raysearch.studies.analysis.statistics import refusal


def factors(run: View) -> Markup | None:
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
        says = f"{formats.metric_name(run.metric)} over {factor}; the numbers are in the table of variants"
        parts += [tag("h3", tag("code", factor)), embed(figure, f"plot-factor-{index}", caption, says)]
    return parts


def _map(run: View) -> list[Any]:
    heat = figures.heat_map(run)
    if heat is None:
        return []
    caption = "Mean over seeds. An empty field has no finished cell."
    return [tag("h3", "Both factors"), embed(heat, "plot-heat", caption, "Means over both factors")]


def _main_effects(run: View) -> list[Any]:
    crossed = factorial.factors(run)
    if len(crossed) < 2:
        return []
    drawn = [(factor, means) for factor in crossed if (means := factorial.main_effect(run, factor)) is not None]
    if not drawn:
        return []
    factorial.same_range([means for _, means in drawn])
    small = [
        _small(
            f"plot-main-{index}",
            tag("code", factor),
            figure,
            means,
            f"Main effect of {factor}: {_numbers(run, (factor,), means)}",
        )
        for index, (factor, (figure, means)) in enumerate(drawn)
    ]
    note = (
        "The mean at each level, over all levels of the other factors. The cells of a seed are averaged first, and the "
        "95 % interval is over seeds. It shows the spread of seeds; the table of variants compares the variants."
    )
    return [tag("h3", "Main effects"), tag("p", note, class_="note"), _grid(small)]


def _interactions(run: View) -> list[Any]:
    pairs = factorial.pairs(run)
    drawn = [(*pair, means) for pair in pairs[: factorial.MAX_FIGURES] if (means := factorial.interaction(run, *pair))]
    if not drawn:
        return []
    factorial.same_range([means for _, _, means in drawn])
    small = [
        _small(
            f"plot-interaction-{index}",
            tag("span", tag("code", across), " by ", tag("code", lines)),
            figure,
            means,
            f"Interaction of {across} and {lines}: {_numbers(run, (across, lines), means)}",
        )
        for index, (across, lines, (figure, means)) in enumerate(drawn)
    ]
    note = (
        "One line per level of the second factor. Parallel lines: the two factors add up. Crossing lines: the effect "
        "of one factor depends on the other."
    )
    if len(pairs) > factorial.MAX_FIGURES:
        note += f" The figures show {factorial.MAX_FIGURES} of {len(pairs)} pairs."
    if any(len(figures.levels(run, factor)) > factorial.MAX_LINES for factor in factorial.factors(run)):
        note += f" Pairs in which both factors have more than {factorial.MAX_LINES} levels are left out."
    return [tag("h3", "Interactions"), tag("p", note, class_="note"), _grid(small)]


def _small(key: str, title: Markup, figure: go.Figure, means: Marginal, says: str) -> Markup:
    return tag("div", tag("h4", title), embed(figure, key, _averaged(means), says))


def _grid(small: list[Markup]) -> Markup:
    return tag("div", *small, class_="grid")


def _averaged(means: Marginal) -> str:
    """Return what was averaged, and what was left out."""
    sentences = [f"Over {formats.count(len(means.seeds), 'seed')}"]
    sentences[0] += f" and {means.settings} settings of the other factors." if means.settings > 1 else "."
    if means.left_out:
        sentences.append(f"{formats.count(means.left_out, 'setting')} without all seeds left out.")
    refused = refusal(len(means.seeds))
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
