"""The rule by which a study is judged, in words: below tables, after the answer, and in the header.

A number of seeds that was raised after results existed is labeled everywhere. Looking at 3, 5, 8, 12 and 20 seeds, and
stopping when something is significant, has a price. Of studies without any effect 16.5 % then decide something instead
of 5 % (simulated with 7 variants and one reference).
"""

from typing import Protocol

from dashboards.ablation.view import View
from dashboards.html import formats
from raysearch.runs import StudyRecord
from raysearch.studies.analysis import looks

_UNCORRECTED = (
    "Levels are not corrected for that: with five looks at 7 variants, 16.5 % of studies without any effect decide "
    "something, instead of 5 %. The honest alternative is a new run with --seeds adaptive, which declares its looks "
    "first"
)


class Judged(Protocol):
    """A view of a study that is judged once or at looks."""

    @property
    def study(self) -> StudyRecord:
        """The record of the study."""


def interval_words(run: Judged) -> str:
    """Return what the intervals in brackets are."""
    return "intervals that hold at all looks together (95 %)" if run.study.looks else "95 % intervals"


def interval_title(run: Judged) -> str:
    """Return the title of a column of intervals."""
    return "interval" if run.study.looks else "95 %"


def p_title(run: Judged) -> str:
    """Return the title of a column of p-values."""
    return "p (looks, Holm)" if run.study.looks else "p (Holm)"


def table_notes(run: View) -> list[str]:
    """Return what a reader must know of the verdicts of a table, without a full stop; nothing for a simple plan."""
    study = run.study
    notes = []
    if study.looks:
        notes.append(f"adaptive: {looks_text(study)}; intervals and p hold over all looks")
    if run.is_provisional:
        notes.append(f"provisional: {unended(run)}; verdicts are given when all have")
    if study.looked:
        notes.append(f"{looked_text(run)}: levels are not corrected for that")
    return notes


def as_sentences(notes: list[str]) -> str:
    """Return notes as sentences.

    >>> as_sentences(["no interval", "provisional: 2 cells"])
    'No interval. Provisional: 2 cells.'
    """
    return " ".join(f"{note[:1].upper()}{note[1:]}." for note in notes)


def warnings(run: View) -> list[str]:
    """Return the warnings about the rule that follow the answer, without a full stop."""
    texts = [f"{looked_text(run)}. {_UNCORRECTED}"] if run.study.looked else []
    if run.skewed:
        named = [f"{formats.joined(run.named[name].label, ' & ')} ({test.text})" for name, test in run.skewed.items()]
        texts.append(f"skewed differences, for which the t-test may be wrong: {formats.listed(named, most=3)}")
    return texts


def looked_text(run: View) -> str:
    """Return how often a study with fixed seeds was looked at. The current plan counts when it is complete."""
    complete = [] if run.is_provisional else [len(seed_numbers(run))]
    numbers = list(dict.fromkeys([*run.study.looked, *complete]))
    times = "once" if len(numbers) == 1 else "twice" if len(numbers) == 2 else f"{len(numbers)} times"
    text = f"this study was looked at {times}, with {formats.listed([str(number) for number in numbers])} seeds"
    return f"{text}, and its plan has grown" if run.is_provisional else text


def unended(run: View) -> str:
    """Return how many cells of the plan have not ended."""
    return f"{run.missing:,} of {formats.count(run.planned, 'planned cell')} {_have(run.missing)} not ended"


def levels_text(study: StudyRecord) -> str:
    """Return the levels of the intervals at the looks of an adaptive study.

    >>> levels_text(StudyRecord(study="s", looks=[5, 10], variants=[], cells=[]))
    '98.75 % and 96.25 %'
    """
    return formats.listed([f"{100 - 5 * weight:.2f} %" for weight in looks.weights(study.looks)], most=12)


def looks_text(study: StudyRecord) -> str:
    """Return the looks and the margin of an adaptive study.

    >>> looks_text(StudyRecord(study="s", looks=[3, 5], margin=0.01, variants=[], cells=[]))
    'looks at 3 and 5 seeds and a margin of ±0.010'
    """
    text = f"looks at {formats.listed([str(seeds) for seeds in study.looks], most=12)} seeds"
    return text if study.margin is None else f"{text} and a margin of {margin_text(study)}"


def margin_text(study: StudyRecord) -> str:
    """Return the margin inside which a difference does not matter."""
    return f"\N{PLUS-MINUS SIGN}{formats.metric(study.margin)}"


def look_text(run: View, number: int) -> str:
    """Return the number of a look among those planned."""
    return f"look {number} of {len(run.study.looks)}"


def seed_numbers(run: View) -> list[int]:
    """Return the planned seeds; of an older record those of its cells."""
    return list(run.study.seeds or sorted({row["seed"] for row in run.rows}))


def _have(number: int) -> str:
    return "has" if number == 1 else "have"
