"""A path of changes judged at looks: comparisons that are decided, or within the margin, get no more seeds.

The comparisons are those of `change_path`, and the rule is that of `looks`: sequential p-values, and Holm's correction
over all comparisons of all paths. Holm holds for p-values that depend on each other, as those of neighboring steps do.
The order of a path was chosen on other seeds, so it leaves the level alone.

The search has judged both ends of a path on some of the seeds. It chose neither the path nor the looks by them, so at
most 5 % of searches without any effect lead to a false claim. Among those of them that showed a gain by luck more do:
the ends have this luck too. `benchmarks/explanation.py` measures both.

Each comparison has seeds of its own number, so the gains of the steps do not add up exactly. Numbers that are no
comparison of the path have a number of seeds that was fixed before: a number that depends on results would bend them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from raysearch.studies.analysis import change_path, looks

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Race:
    """The rule of a race.

    Attributes:
        looks: numbers of seeds at which it is judged.
        seeds: that are planned so far, in the order in which looks take them.
        margin: of a gain that does not matter.
    """

    looks: Sequence[int]
    seeds: Sequence[int]
    margin: float | None = None


@dataclass(frozen=True)
class RacedPair:
    """A comparison of a race.

    Attributes:
        row: a row as of `change_path.judge`, at the look that ended the comparison or else at the last one that was
            reached. It also has `look`, counted from 1, and 0 before the first.
        looks: its rows at every look that judged it.
        is_open: whether a later look needs it.
    """

    row: Row
    looks: Sequence[Row]
    is_open: bool


def judge_race(
    table: pa.Table, metric: str, pairs: Sequence[tuple[str, str]], race: Race, mode: str = "max", family: int = 0
) -> list[RacedPair]:
    """Return the gain of each pair at the looks so far.

    Args:
        table: results of the seeds that judge, one row per cell.
        metric: the column to compare.
        pairs: the variant without a change, and the one with it.
        race: the looks.
        mode: "max" if a higher metric is better, "min" if a lower one is.
        family: number of comparisons that are planned, if it is more than the pairs.

    Raises:
        UserError: see `looks.adaptive`.
    """
    paths: list[list[Row]] = [[] for _ in pairs]
    if table.num_rows and pairs:
        paired, references = change_path.paired_table(table, pairs)
        judged = looks.path(
            paired, metric, references, race.looks, race.margin, mode, max(family, len(pairs)), race.seeds
        )
        numbers = {change_path.pair_names(number)[1]: number for number in range(len(pairs))}
        for row in judged.to_pylist():
            if row["variant"] in numbers:
                paths[numbers[row["variant"]]].append(_with_word(row))
    return [_raced(path, race) for path in paths]


def _raced(path: Sequence[Row], race: Race) -> RacedPair:
    if not path:
        waiting = f"the first look, at {race.looks[0]} seeds, has not ended"
        return RacedPair({**change_path.EMPTY, "look": 0, "verdict": looks.UNDECIDED, "refused": waiting}, (), True)
    row = path[-1]
    return RacedPair(row, tuple(path), not row["ended"] and row["look"] < len(race.looks))


def _with_word(row: Row) -> Row:
    """Return a row of `looks.path` as a row of `change_path.judge`; `ended` is whether its look ended it."""
    verdict = row["verdict"]
    ended = verdict != looks.UNDECIDED
    if not ended and row["delta"] is None:
        verdict = "no result"
    elif not ended and row["delta_low"] is None:
        verdict = "no interval"
    return {**row, "p": None, "p_holm": row["p"], "verdict": verdict, "ended": ended}
