"""A path from the reference of a search to its best config, one change at a time, and what each change gains.

At each step the path takes the change that gains most, as in Fawcett and Hoos, "Analysing Differences Between Algorithm
Configurations Through Ablation", Journal of Heuristics 2016. The largest of several gains is partly luck. So the order
is chosen on seeds of its own, by the metric that the search chose by. Fresh seeds then judge the path as it is: each
step against the config before it, and the best config against itself without each change. The last step is one of
these, so n changes have 2n - 1 comparisons, the family of Holm's correction. Differences are paired by seed. Since the
order does not depend on the seeds that judge, the level of 5 % holds for all claims together.

Departures: the paper ranks by one run per instance and tests with the same instances. irace's `ablation()` does too.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from raysearch.studies.analysis import statistics

WITHIN = "within margin"

Values = Mapping[int, float]  # seed -> metric


@dataclass(frozen=True)
class Comparison:
    """A config with a change against the same config without it.

    Attributes:
        change: its name.
        kind: a step of the path, or the best config without the change.
        without: changes of the config without it.
        made: changes of the config with it.
    """

    change: str
    kind: Literal["step", "left out"]
    without: frozenset[str]
    made: frozenset[str]


def choose_next(current: Values, candidates: Mapping[str, Values], mode: str = "max") -> str:
    """Return the change that gains most on the seeds that a candidate has in common with the config before it.

    Of equal gains the first counts. A candidate without a common seed comes last.

    Args:
        current: of the config before.
        candidates: change -> values of the config with it.
        mode: "max" if a higher metric is better, "min" if a lower one is.

    >>> choose_next({0: 0.5, 1: 0.5}, {"a": {0: 0.5, 1: 0.6}, "b": {0: 0.7, 1: 0.6}, "c": {}})
    'b'
    """
    sign = 1 if mode == "max" else -1

    def _gain(change: str) -> float:
        common = [seed for seed in candidates[change] if seed in current]
        differences = [sign * (candidates[change][seed] - current[seed]) for seed in common]
        return math.fsum(differences) / len(differences) if differences else -math.inf

    return max(candidates, key=_gain)


def comparisons(path: Sequence[str]) -> list[Comparison]:
    """Return the comparisons of a path: its steps, and the best config without each change but the last.

    >>> [(comparison.change, comparison.kind) for comparison in comparisons(["a", "b"])]
    [('a', 'step'), ('b', 'step'), ('a', 'left out')]
    """
    stages = [frozenset(path[:length]) for length in range(len(path) + 1)]
    steps = [Comparison(change, "step", *stage_pair) for change, stage_pair in zip(path, pairwise(stages), strict=True)]
    best = frozenset(path)
    return [*steps, *(Comparison(change, "left out", best - {change}, best) for change in path[:-1])]


def pair_names(number: int) -> tuple[str, str]:
    """Return the names that `paired_table` gives to the variants of a pair: without a change, and with it.

    >>> pair_names(3)
    ('3 without', '3 with')
    """
    return f"{number} without", f"{number} with"


def paired_table(table: pa.Table, pairs: Sequence[tuple[str, str]]) -> tuple[pa.Table, dict[str, str]]:
    """Return the cells of each pair of variants under names of the pair, and the mapping of references.

    A variant may be the reference of one comparison and the variant of another, which `statistics.compare` does not
    know.

    Args:
        table: results, one row per cell.
        pairs: the variant without a change, and the one with it.
    """
    column = table.column_names.index("variant")
    parts = []
    references: dict[str, str] = {}
    for number, pair in enumerate(pairs):
        names = pair_names(number)
        for name, variant in zip(names, pair, strict=True):
            cells = table.filter(pc.equal(table["variant"], variant))
            parts.append(cells.set_column(column, "variant", pa.array([name] * cells.num_rows, pa.string())))
            references[name] = names[0]
    return pa.concat_tables(parts) if parts else table.slice(0, 0), references


def judge(
    table: pa.Table,
    metric: str,
    pairs: Sequence[tuple[str, str]],
    mode: str = "max",
    margin: float | None = None,
    family: int | None = None,
) -> list[dict[str, Any]]:
    """Return the gain of each pair, with Holm's correction over all of them.

    Args:
        table: results of the seeds that judge, one row per cell.
        metric: the column to compare.
        pairs: the variant without a change, and the one with it.
        mode: "max" if a higher metric is better, "min" if a lower one is.
        margin: a gain whose interval is inside ±margin is "within margin", unless it is decided.
        family: number of comparisons that are planned; None: the pairs.

    Returns:
        A row of `statistics.compare` per pair, and its verdict: "better", "worse", "within margin", "undecided", "no
        interval" or "no result". A pair without a cell has no numbers.

    Raises:
        UserError: see `statistics.compare`.
    """
    paired, references = paired_table(table, pairs)
    present = set(paired["variant"].to_pylist()) if paired.num_rows else set()
    usable = {name: reference for name, reference in references.items() if {name, reference} <= present}
    compared: dict[str, dict[str, Any]] = {}
    if usable and metric in paired.column_names:
        cells = paired.filter(pc.is_in(paired["variant"], pa.array(list(usable))))
        rows = statistics.compare(cells, metric, usable, max(family or 0, len(pairs))).to_pylist()
        compared = {row["variant"]: row for row in rows}
    judged = []
    for number in range(len(pairs)):
        row = compared.get(pair_names(number)[1]) or EMPTY
        judged.append({**row, "verdict": _verdict(row, mode, margin)})
    return judged


EMPTY: Mapping[str, Any] = {
    **dict.fromkeys(("mean", "ci_low", "ci_high", "delta", "delta_low", "delta_high", "p", "p_holm")),
    **{"seeds": 0, "decided": False, "failed": 0, "stopped": 0, "refused": "no cell has finished"},
}


def _verdict(row: Mapping[str, Any], mode: str, margin: float | None) -> str:
    if row["mean"] is None or row["delta"] is None:
        return "no result"
    if row["delta_low"] is None:
        return "no interval"
    if row["decided"]:
        return "better" if (row["delta"] > 0) == (mode == "max") else "worse"
    if margin is not None and -margin <= row["delta_low"] and row["delta_high"] <= margin:
        return WITHIN
    return "undecided"


def shapley_values(values: Mapping[frozenset[str], float], changes: Iterable[str]) -> dict[str, float]:
    """Return the Shapley value of each change: its gain, averaged over all orders of the changes.

    They add up to the difference of the config with all changes and that with none. Shapley, "A Value for n-Person
    Games", 1953.

    Args:
        values: changes of a config -> its metric, for every combination.
        changes: names of all changes.

    >>> worth = {frozenset(): 0.0, frozenset("a"): 1.0, frozenset("b"): 0.0, frozenset("ab"): 3.0}
    >>> shapley_values(worth, "ab")
    {'a': 2.0, 'b': 1.0}
    """
    names = list(changes)
    total = math.factorial(len(names))
    result = {}
    for change in names:
        gains = [
            math.factorial(len(made)) * math.factorial(len(names) - len(made) - 1) * (values[made | {change}] - worth)
            for made, worth in values.items()
            if change not in made
        ]
        result[change] = math.fsum(gains) / total
    return result
