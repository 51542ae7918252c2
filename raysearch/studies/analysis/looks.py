"""Adaptive studies: comparisons judged at planned looks, with levels that hold over all of them.

Look k has the first n_k of n_K seeds. Its share of the level is w_k = t_k^2 - t_(k-1)^2 with t_k = n_k / n_K, so the
last looks have most of it. Look j gives the p-value p_j of the paired t-test. The sequential p-value of a comparison is
the smallest p_j / w_j of its looks so far. The shares add up to one, so by Bonferroni's inequality it is a p-value
whenever a study stops. Holm's correction over all planned comparisons follows. The interval at look k has the
level 1 - 0.05 w_k. The intervals of a comparison hold at all looks together in 95 % of studies.

Alpha spending: Jennison and Turnbull, "Interim Analyses: The Repeated Confidence Interval Approach", Journal of the
Royal Statistical Society B 1989, and "Group Sequential Methods", 2000. Several hypotheses: Maurer and Bretz, "Multiple
Testing in Group Sequential Trials Using Graphical Approaches", Statistics in Biopharmaceutical Research 2013, and
Tamhane, Xi and Gou, "Group Sequential Holm and Hochberg Procedures", Statistics in Medicine 2021. Departure: they use
the joint distribution of the looks, which is known for a normal statistic with a known variance. Bonferroni needs no
joint distribution, so it holds for Student's t with three seeds. It costs about a point of power.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from raysearch.studies.analysis.look_replay import SEEDS, UNDECIDED, WITHIN, Replay, weights

__all__ = ["SEEDS", "UNDECIDED", "WITHIN", "adaptive", "path", "undecided", "weights"]

_SCHEMA = pa.schema(
    [("variant", pa.string()), ("look", pa.int64()), ("seeds", pa.int64())]
    + [(name, pa.float64()) for name in ("delta", "delta_low", "delta_high", "p")]
    + [("decided", pa.bool_()), ("verdict", pa.string())]
    + [(name, pa.float64()) for name in ("level", "mean", "ci_low", "ci_high")]
    + [("failed", pa.int64()), ("stopped", pa.int64()), ("refused", pa.string())]
)


def adaptive(
    table: pa.Table,
    metric: str,
    reference: str | Mapping[str, str],
    looks: Sequence[int],
    margin: float | None = None,
    mode: str = "max",
    comparisons: int | None = None,
    seeds: Sequence[int] | None = None,
) -> pa.Table:
    """Compare every variant of an adaptive study with its reference.

    A look is reached when all cells of its seeds have ended, of every comparison that is still open and of their
    references. A cell that failed for a reason that is not a result, such as a full disk, has not ended: it will run
    again. A comparison is decided at a look when its sequential p-value, corrected by Holm over all comparisons of the
    study, is at most 0.05. Its direction is that of the look with the smallest p_j / w_j.

    Args:
        table: results, one row per cell, see `statistics.compare`. Rows without a seed are not cells.
        metric: the column to compare.
        reference: the variant that the others are compared with; or variant -> its reference, where a reference maps
            to itself. A variant of the mapping without a cell is an open comparison.
        looks: numbers of seeds at which the study is judged.
        margin: a comparison whose interval is inside ±margin ends as "within margin".
        mode: "max" if a higher metric is better, "min" if a lower one is.
        comparisons: number of comparisons of the whole study, over which Holm corrects. None: as the table records it,
            or all that are here.
        seeds: of the study, in the order in which looks take them. None: as the table records them, or those of the
            table in ascending order.

    Returns:
        One row per variant in the table, references first. A row shows the look at which the variant was decided or
        ended within the margin, else the last look that was reached. Its columns: variant, look (counted from 1; 0 if
        none was reached), seeds (finished), delta (variant minus reference), delta_low, delta_high, p (sequential,
        corrected), decided, verdict ("better", "worse", "within margin", "undecided"), level (of the intervals), mean,
        ci_low, ci_high, failed, stopped, refused. A reference has no delta and no verdict.

    Raises:
        UserError: looks that do not rise, a first look under three seeds, a margin that is not above zero, and the
            errors of `statistics.compare`.
    """
    replay = Replay.from_table(table, metric, reference, looks, margin, mode, comparisons, seeds)
    last: dict[str, dict[str, Any]] = {}
    for row in replay.rows():
        last[row["variant"]] = row
    in_table = dict.fromkeys(row["variant"] for row in replay.cells)
    rows = [last.get(name) or replay.empty_row(name) for name in in_table]
    rows.sort(key=lambda row: not replay.is_reference(row["variant"]))
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def path(
    table: pa.Table,
    metric: str,
    reference: str | Mapping[str, str],
    looks: Sequence[int],
    margin: float | None = None,
    mode: str = "max",
    comparisons: int | None = None,
    seeds: Sequence[int] | None = None,
) -> pa.Table:
    """Return the rows of `adaptive` at every look that was reached, as long as a comparison was open before it.

    Args:
        table: see `adaptive`.
        metric: see `adaptive`.
        reference: see `adaptive`.
        looks: see `adaptive`.
        margin: see `adaptive`.
        mode: see `adaptive`.
        comparisons: see `adaptive`.
        seeds: see `adaptive`.

    Returns:
        One row per look and variant, in the order of looks; within a look references first.

    Raises:
        UserError: see `adaptive`.
    """
    replay = Replay.from_table(table, metric, reference, looks, margin, mode, comparisons, seeds)
    return pa.Table.from_pylist(list(replay.rows()), schema=_SCHEMA)


def undecided(
    table: pa.Table,
    metric: str,
    reference: str | Mapping[str, str],
    looks: Sequence[int],
    margin: float | None = None,
    comparisons: int | None = None,
    seeds: Sequence[int] | None = None,
) -> tuple[str, ...]:
    """Return the variants that the next look needs, without their references; none if the study has ended.

    Args:
        table: see `adaptive`. It may lack the metric while no cell has finished.
        metric: see `adaptive`.
        reference: see `adaptive`.
        looks: see `adaptive`.
        margin: see `adaptive`.
        comparisons: see `adaptive`.
        seeds: see `adaptive`.

    Raises:
        UserError: see `adaptive`.
    """
    replay = Replay.from_table(table, metric, reference, looks, margin, "max", comparisons, seeds)
    reached = max((row["look"] for row in replay.rows()), default=0)
    return tuple(replay.open_names()) if reached < len(looks) else ()
