"""The part of the page on factors: curves, and of a crossed design its map, main effects and interactions."""

from typing import Any

import plotly.graph_objects as go

from dashboards.ablation import curves, factorial, figures
from dashboards.ablation.view import View
from dashboards.html import formats
from dashboards.html.embed import embed
from dashboards.html.markup import Markup, section, tag
from raysearch.studies.analysis.marginals import Marginal
from raysearch.studies.analysis.statistics import refusal


def factors(run: View) -> Markup | None:
    """A curve for each numeric factor; where factors were crossed, what each does and what two do together."""
    parts = [*_curves(run), *_map(run), *_main_effects(run), *_interactions(run)]
    return section("factors", "Factors", *parts) if parts else None


def _curves(run: View) -> list[Any]:
    parts: list[Any] = []
    for index, factor in enumerate(curves.numeric_factors(run)):
        figure = curves.curve(run, factor)
        caption = "Grey: a line a seed. Blue: the mean with its 95 % interval; the larger square is the reference."
        if "yaxis2" in figure.layout.to_plotly_json() and run.published:
            caption += f" Dashed: {run.published.paper}, under its own protocol and on its own scale."
        chance = run.study.chance
        if isinstance(chance, int | float):
            caption += f" Chance alone would score {formats.metric(chance)}."
        says = f"{formats.metric_name(run.metric)} over {factor}; the numbers stand in the table of variants"
        parts += [tag("h3", tag("code", factor)), embed(figure, f"plot-factor-{index}", caption, says)]
    return parts


def _map(run: View) -> list[Any]:
    heat = figures.heat_map(run)
    if heat is None:
        return []
    caption = "Mean over seeds. An empty field has no finished cell of its own."
    return [tag("h3", "Both factors"), embed(heat, "plot-heat", caption, "Means over both factors")]


def _main_effects(run: View) -> list[Any]:
    crossed = factorial.factors(run)
    if len(crossed) < 2:
        return []
    drawn = [(factor, found) for factor in crossed if (found := factorial.main_effect(run, factor)) is not None]
    if not drawn:
        return []
    factorial.same_range([found for _, found in drawn])
    small = [
        _small(
            f"plot-main-{index}",
            tag("code", factor),
            figure,
            found,
            f"Main effect of {factor}: {_numbers(run, (factor,), found)}",
        )
        for index, (factor, (figure, found)) in enumerate(drawn)
    ]
    note = (
        "The mean at each level over all levels of the other factors: a seed's cells are averaged first, the 95 % "
        "interval is over seeds. It says how far seeds scatter; differences are judged in the table of variants."
    )
    return [tag("h3", "Main effects"), tag("p", note, class_="note"), _grid(small)]


def _interactions(run: View) -> list[Any]:
    pairs = factorial.pairs(run)
    drawn = [(*pair, found) for pair in pairs[: factorial.MOST] if (found := factorial.interaction(run, *pair))]
    if not drawn:
        return []
    factorial.same_range([found for _, _, found in drawn])
    small = [
        _small(
            f"plot-interaction-{index}",
            tag("span", tag("code", across), " by ", tag("code", lines)),
            figure,
            found,
            f"Interaction of {across} and {lines}: {_numbers(run, (across, lines), found)}",
        )
        for index, (across, lines, (figure, found)) in enumerate(drawn)
    ]
    note = "A line a level of the second factor. Parallel: the two add up. Crossing: one decides what the other does."
    if len(pairs) > factorial.MOST:
        note += f" {factorial.MOST} of {len(pairs)} pairs are drawn."
    if any(len(figures.levels(run, factor)) > factorial.MOST_LINES for factor in factorial.factors(run)):
        note += f" Pairs in which both factors have more than {factorial.MOST_LINES} levels are left out."
    return [tag("h3", "Interactions"), tag("p", note, class_="note"), _grid(small)]


def _small(key: str, title: Markup, figure: go.Figure, found: Marginal, says: str) -> Markup:
    return tag("div", tag("h4", title), embed(figure, key, _averaged(found), says))


def _grid(small: list[Markup]) -> Markup:
    return tag("div", *small, class_="grid")


def _averaged(found: Marginal) -> str:
    """What was averaged, where that is not everything."""
    words = [f"Over {formats.count(len(found.seeds), 'seed')}"]
    words[0] += f" and {found.settings} settings of the other factors." if found.settings > 1 else "."
    if found.left_out:
        words.append(f"{formats.count(found.left_out, 'setting')} with holes left out.")
    refused = refusal(len(found.seeds))
    return " ".join([*words, f"{refused}."] if refused else words)


def _numbers(run: View, kept: tuple[str, ...], found: Marginal) -> str:
    """The means in words, for people who do not see the figure."""
    levels = [figures.levels(run, factor) for factor in kept]
    words = []
    for at, point in found.points.items():
        names = [formats.level(own[position]) for own, position in zip(levels, at, strict=True)]
        words.append(f"{' and '.join(names)} {formats.metric(point.mean)}")
    return formats.listed(words, most=40)
