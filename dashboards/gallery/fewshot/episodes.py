"""Episodes as pictures: one row per class, with its supports, its queries, and every variant's predictions."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from dashboards.ablation.sections import section
from dashboards.gallery.elements import Detail, DisplayNames, note, small_picture
from dashboards.html import Markup, breakable_name, formats, join, tag

if TYPE_CHECKING:  # making these needs torch; drawing them does not
    from raysearch.inspection.episodes import EpisodePredictions
    from raysearch.inspection.fewshot import DifferingEpisode, EpisodeGroup, InspectedCell

CORRECT = "\N{CHECK MARK}"
WRONG = "\N{MULTIPLICATION X}"
MAX_QUERIES = 8  # per class that are drawn


def first_episodes(groups: Sequence[EpisodeGroup], names: DisplayNames, detail: Detail) -> Markup:
    """Draw the first episodes of every group."""
    checked = formats.count(max(len(cell.predictions) for group in groups for cell in group.cells), "episode")
    text = (
        "The first test episodes, from number 0 on; all variants meet the same ones. For each variant, up to "
        f"{checked}, including all that are shown, were computed again and checked against the record. "
    )
    blocks: list[Markup] = []
    for group in groups:
        if len(groups) > 1:
            blocks.append(tag("h3", group.title))
        blocks += [_episode(group, group.cells, index, names, detail) for index in group.first]
    changes = [change for group in groups for cell in group.cells for change in _changes(cell, names)]
    caution = tag("p", "Differs from the record: ", "; ".join(changes), class_="caution") if changes else None
    return section("episodes", "Episodes", note(text + _legend(groups)), caution, *blocks)


def differing_episodes(groups: Sequence[EpisodeGroup], names: DisplayNames, detail: Detail) -> Markup | None:
    """Draw the episodes in which a variant and its reference differ most, in both directions; None without any."""
    parts: list[Markup] = []
    for group in groups:
        cells = {cell.cell.variant: cell for cell in group.cells}
        for variant in dict.fromkeys(episode.variant for episode in group.differing):
            blocks = []
            for episode in group.differing:
                if episode.variant == variant:
                    both = [cells[episode.reference], cells[episode.variant]]
                    heading = tag("h3", breakable_name(_difference(episode, names)))
                    blocks.append(tag("div", heading, _episode(group, both, episode.index, names, detail)))
            summary = tag("summary", breakable_name(names.variant(variant)), f" \N{MIDDLE DOT} {group.title}")
            parts.append(tag("details", summary, *blocks, open=None if parts else ""))
    if not parts:
        return None
    text = (
        "Selected, not random: of all test episodes, the ones with the largest and the smallest difference in correct "
        "queries between a variant and its reference. They show how the two differ, not which is better; see the "
        "report for that. "
    )
    return section("differences", "Largest differences", note(text + _legend(groups)), *parts)


def _episode(
    group: EpisodeGroup, cells: Sequence[InspectedCell], index: int, names: DisplayNames, detail: Detail
) -> Markup:
    """Draw an episode under some variants."""
    predictions = [cell.predictions[index] for cell in cells]
    variants = [names.variant(cell.cell.variant) for cell in cells]
    key = tag("ul", *map(_key_entry, _letters(cells), variants, predictions), class_="key")
    body = [_way(group, way, predictions, variants, names, detail) for way in range(len(predictions[0].support))]
    drawn = min(MAX_QUERIES, predictions[0].query.shape[1])
    head = tag("tr", tag("th", "class and support", scope="col"), tag("th", "queries", scope="col", colspan=drawn))
    table = tag("table", tag("thead", head), tag("tbody", *body), class_="episode")
    region = tag("div", table, class_="scroll", tabindex="0", role="region", aria_label=f"Episode {index}")
    return join(tag("h3", f"Episode {index}"), key, region)


def _way(
    group: EpisodeGroup,
    way: int,
    predictions: Sequence[EpisodePredictions],
    variants: Sequence[str],
    names: DisplayNames,
    detail: Detail,
) -> Markup:
    """Draw the row of a class."""
    episode = predictions[0]
    label = names.classes[episode.classes[way]]
    supports = [
        small_picture(group.pictures[row], f"support: {label}", detail) for row in episode.support[way].tolist()
    ]
    cells = []
    for query, row in enumerate(episode.query[way, :MAX_QUERIES].tolist()):
        verdicts = [_Verdict.of_query(prediction, way, query, names) for prediction in predictions]
        texts = "; ".join(f"{variant}: {verdict.text}" for variant, verdict in zip(variants, verdicts, strict=True))
        picture = small_picture(group.pictures[row], f"query: {label}. {texts}", detail)
        lines = [verdict.line(letter) for verdict, letter in zip(verdicts, _letters(predictions), strict=True)]
        cells.append(tag("td", picture, *lines))
    title = tag("small", tag("b", way + 1), " ", names.breakable_class(episode.classes[way]), title=label)
    head = tag("th", tag("div", *supports, class_="supports"), title, scope="row")
    return tag("tr", head, *cells)


class _Verdict(NamedTuple):
    """A variant's prediction for a query."""

    correct: bool
    predicted: int  # way
    label: str  # of the predicted class
    score: float

    @classmethod
    def of_query(cls, predictions: EpisodePredictions, way: int, query: int, names: DisplayNames) -> _Verdict:
        """Return the prediction for one query of a way."""
        predicted = int(predictions.predicted[way, query])
        label = names.classes[predictions.classes[predicted]]
        return cls(predicted == way, predicted, label, float(predictions.scores[way, query, predicted]))

    @property
    def text(self) -> str:
        """The prediction in words."""
        return f"{self.label}, score {self.score:.2f}, {'correct' if self.correct else 'wrong'}"

    def line(self, letter: str) -> Markup:
        """Draw the line below the picture; the picture's alternative text has the same content."""
        mark = tag("b", CORRECT if self.correct else WRONG)
        rest = "" if self.correct else f" for {self.predicted + 1}"
        variant = tag("i", letter) if letter else None
        kind = "correct" if self.correct else "wrong"
        return tag("span", variant, mark, f" {self.score:.2f}{rest}", class_=kind, title=self.text, aria_hidden="true")


def _changes(cell: InspectedCell, names: DisplayNames) -> list[str]:
    """Describe the episodes that differ from the record."""
    variant = names.variant(cell.cell.variant)
    return [
        f"{variant}, episode {index}: {now} correct now, {before} on record"
        for index, (now, before) in cell.changed.items()
    ]


def _key_entry(letter: str, variant: str, predictions: EpisodePredictions) -> Markup:
    counts = f" {int(predictions.correct.sum())} of {predictions.correct.size} correct"
    return tag("li", tag("i", letter) if letter else None, tag("b", breakable_name(variant)), tag("small", counts))


def _letters(variants: Sequence[object]) -> list[str]:
    """Return the letters of variants below a picture; no letter for a single variant."""
    return [""] if len(variants) == 1 else list(string.ascii_uppercase[: len(variants)])


def _difference(episode: DifferingEpisode, names: DisplayNames) -> str:
    number = abs(episode.delta)
    queries = f"{number} {'more' if episode.delta > 0 else 'fewer'} correct {'query' if number == 1 else 'queries'}"
    return f"{names.variant(episode.variant)}: {queries} than {names.variant(episode.reference)}"


def _legend(groups: Sequence[EpisodeGroup]) -> str:
    queries = max(group.cells[0].predictions[0].query.shape[1] for group in groups)
    text = (
        f"Each row starts with a class and its supports, followed by queries of that class. {CORRECT}: correct. "
        f"{WRONG}: wrong, with the number of the predicted class. The number after the mark is the score of the "
        "predicted class."
    )
    if queries > MAX_QUERIES:
        text += f" The first {MAX_QUERIES} of {queries} queries per class are drawn; the counts include all."
    return text
