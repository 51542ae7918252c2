"""Forecast which comparisons the running look will leave undecided.

Free slots run cells of the next look for them. A forecast changes no verdict, because a look uses only the cells of its
own seeds. A cell that was not needed after all counts for nothing.
"""

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from raysearch.core import UserError
from raysearch.studies.analysis import comparisons as paired
from raysearch.studies.analysis.t_tests import LEVEL


def likely_undecided(
    table: pa.Table,
    metric: str,
    references: Mapping[str, str],
    seeds: Sequence[int],
    weight: float,
    margin: float | None = None,
) -> list[str]:
    """Return the variants that a look will probably leave undecided, the largest p-value first.

    Such a variant would stay undecided if the look had only the cells that have ended. Its paired t-test is not
    significant even without Holm's correction. Its 95 % interval is not inside the margin. Fewer than three common
    seeds give no test, so the variant counts with a p-value of 1.

    Args:
        table: the cells that have ended, see `statistics.compare`.
        metric: the column to compare.
        references: undecided variant -> its reference.
        seeds: of the look.
        weight: the look's share of the level, see `looks.weights`.
        margin: a difference that does not matter.
    """
    p_values = dict.fromkeys(references, 1.0)
    cells = table.filter(pc.is_in(table["seed"], pa.array(seeds, pa.int64())))
    for row in _compare(cells, metric, references):
        name = row["variant"]
        if name not in references or row["p"] is None:
            continue
        p_values[name] = row["p"]
        low = row["delta_low"]
        if margin is not None and low is not None and -margin <= low and row["delta_high"] <= margin:
            p_values[name] = 0.0
    undecided = [name for name, p in p_values.items() if p > (1 - LEVEL) * weight]
    return sorted(undecided, key=lambda name: -p_values[name])


def _compare(cells: pa.Table, metric: str, references: Mapping[str, str]) -> list[dict]:
    """Return the comparisons that the cells allow; none where they have no metric yet."""
    names = set(cells["variant"].to_pylist())
    pairs = {name: other for name, other in references.items() if {name, other} <= names}
    compared = {*pairs, *pairs.values()}
    try:
        rows = [row for row in paired.read_rows(cells, metric) if row["variant"] in compared]
    except UserError:  # no cell has finished
        return []
    return paired.compare_rows(rows, metric, pairs | {other: other for other in pairs.values()})
