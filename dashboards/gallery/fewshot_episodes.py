"""Episodes as pictures: a row a class, its supports in front, its queries with what every variant takes them for."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dashboards.ablation.sections import section
from dashboards.gallery.names import Names
from dashboards.gallery.pictures import Detail, small
from dashboards.html import formats
from dashboards.html.markup import Markup, join, name, tag

if TYPE_CHECKING:  # what makes these needs torch, which drawing them does not
    from raysearch.inspection.episodes import Answers
    from raysearch.inspection.fewshot import Differing, Group, Shown

RIGHT, WRONG = "\N{CHECK MARK}", "\N{MULTIPLICATION X}"
QUERIES = 8  # of a class that are drawn


def first(groups: Sequence[Group], names: Names, detail: Detail) -> Markup:
    """The episodes that are shown by their numbers."""
    again = formats.count(max(len(one.answers) for group in groups for one in group.shown), "episode")
    note = (
        "The test episodes from number 0 on, whatever they look like; all variants meet the same ones. Of each variant "
        f"{again} at most, the first ones and all that are shown, were computed again and held against the record. "
    )
    blocks: list[Markup] = []
    for group in groups:
        if len(groups) > 1:
            blocks.append(tag("h3", group.episodes))
        blocks += [_episode(group, group.shown, index, names, detail) for index in group.first]
    wrong = [text for group in groups for one in group.shown for text in _changed(one, names)]
    caution = tag("p", "Not as on record: ", "; ".join(wrong), class_="caution") if wrong else None
    return section("episodes", "Episodes", _note(note + _legend(groups)), caution, *blocks)


def differing(groups: Sequence[Group], names: Names, detail: Detail) -> Markup | None:
    """The episodes in which a variant and its reference differ most, either way."""
    parts: list[Markup] = []
    for group in groups:
        shown = {one.cell.variant: one for one in group.shown}
        for variant in dict.fromkeys(one.variant for one in group.differing):
            own = [one for one in group.differing if one.variant == variant]
            blocks = [
                tag("div", tag("h3", name(_difference(one, names))), _episode(group, both, one.index, names, detail))
                for one in own
                for both in [[shown[one.reference], shown[one.variant]]]
            ]
            summary = tag("summary", name(names.variant(variant)), f" \N{MIDDLE DOT} {group.episodes}")
            parts.append(tag("details", summary, *blocks, open=None if parts else ""))
    if not parts:
        return None
    note = (
        "Not drawn but picked: of all test episodes those where a variant named most queries right beyond its "
        "reference, and fewest. They show how the two differ, not which is better; the report says that. "
    )
    return section("differences", "Where they differ most", _note(note + _legend(groups)), *parts)


def _episode(group: Group, shown: Sequence[Shown], index: int, names: Names, detail: Detail) -> Markup:
    """An episode under some variants."""
    answers = [one.answers[index] for one in shown]
    variants = [names.variant(one.cell.variant) for one in shown]
    key = tag("ul", *(_outcome(*each) for each in zip(_letters(shown), variants, answers, strict=True)), class_="key")
    body = [_way(group, way, answers, variants, names, detail) for way in range(len(answers[0].support))]
    drawn = min(QUERIES, answers[0].query.shape[1])
    head = tag("tr", tag("th", "class and support", scope="col"), tag("th", "queries", scope="col", colspan=drawn))
    table = tag("table", tag("thead", head), tag("tbody", *body), class_="episode")
    region = tag("div", table, class_="scroll", tabindex="0", role="region", aria_label=f"Episode {index}")
    return join(tag("h3", f"Episode {index}"), key, region)


def _way(
    group: Group, way: int, answers: Sequence[Answers], variants: Sequence[str], names: Names, detail: Detail
) -> Markup:
    """The row of a class."""
    called = names.classes[answers[0].classes[way]]
    supports = [small(group.pictures[row], f"support: {called}", detail) for row in answers[0].support[way].tolist()]
    cells = []
    for query, row in enumerate(answers[0].query[way, :QUERIES].tolist()):
        verdicts = [_Verdict.of(one, way, query, names) for one in answers]
        says = "; ".join(f"{variant}: {one.words}" for variant, one in zip(variants, verdicts, strict=True))
        picture = small(group.pictures[row], f"query: {called}. {says}", detail)
        lines = (one.line(letter) for one, letter in zip(verdicts, _letters(answers), strict=True))
        cells.append(tag("td", picture, *lines))
    under = tag("small", tag("b", way + 1), " ", names.breakable(answers[0].classes[way]), title=called)
    head = tag("th", tag("div", *supports, class_="supports"), under, scope="row")
    return tag("tr", head, *cells)


class _Verdict:
    """What a variant takes a query for."""

    def __init__(self, right: bool, taken: int, label: str, score: float) -> None:
        self.right, self.taken, self.score = right, taken, f"{score:.2f}"
        self.words = f"{label}, score {self.score}, {'right' if right else 'wrong'}"

    @classmethod
    def of(cls, answers: Answers, way: int, query: int, names: Names) -> _Verdict:
        taken = int(answers.predicted[way, query])
        label = names.classes[answers.classes[taken]]
        return cls(taken == way, taken, label, float(answers.scores[way, query, taken]))

    def line(self, letter: str) -> Markup:
        """Under the picture, which has the same words for those who do not see it."""
        mark = tag("b", RIGHT if self.right else WRONG)
        rest = "" if self.right else f" for {self.taken + 1}"
        who = tag("i", letter) if letter else None
        kind = "right" if self.right else "wrong"
        return tag("span", who, mark, f" {self.score}{rest}", class_=kind, title=self.words, aria_hidden="true")


def _changed(shown: Shown, names: Names) -> list[str]:
    """Episodes that did not come out as they are on record."""
    variant = names.variant(shown.cell.variant)
    return [
        f"{variant}, episode {index}: {here} right here, {before} on record"
        for index, (here, before) in shown.changed.items()
    ]


def _outcome(letter: str, variant: str, answers: Answers) -> Markup:
    right, all_of_them = int(answers.right.sum()), answers.right.size
    who = tag("i", letter) if letter else None
    return tag("li", who, tag("b", name(variant)), tag("small", f" {right} of {all_of_them} right"))


def _letters(shown: Sequence[object]) -> list[str]:
    """What stands for the variants under a picture; nothing for a single one."""
    return [""] if len(shown) == 1 else list(string.ascii_uppercase[: len(shown)])


def _difference(one: Differing, names: Names) -> str:
    more = "more" if one.delta > 0 else "fewer"
    said = formats.count(abs(one.delta), "query").replace("querys", "queries")
    return f"{names.variant(one.variant)}: {said} {more} right than {names.variant(one.reference)}"


def _legend(groups: Sequence[Group]) -> str:
    queries = max(group.shown[0].answers[0].query.shape[1] for group in groups)
    note = (
        f"In front of each row a class and its supports, behind them queries of that class. {RIGHT} named right, "
        f"{WRONG} named wrong, with the number of the class that it was taken for. Behind the mark stands the share of "
        "the scores that the class named has."
    )
    if queries > QUERIES:
        note += f" Of {queries} queries of a class the first {QUERIES} are drawn; the counts are of all."
    return note


def _note(text: str) -> Markup:
    return tag("p", text, class_="note")
