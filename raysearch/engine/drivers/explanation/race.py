"""The comparisons of a path as looks judge them, by the machinery of adaptive studies."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from raysearch.engine.drivers.study_looks import Ended, LookedStudy
from raysearch.runs import describe, raced_pairs, results
from raysearch.studies.analysis import change_path, race_forecast
from raysearch.studies.analysis.race_forecast import MeasuredPath
from raysearch.studies.design import Cell, ExplanationPlan


def looked_path(plan: ExplanationPlan, paths: Mapping[str, Sequence[str]], cells: Sequence[Cell]) -> LookedStudy:
    """Return the comparisons of complete paths.

    A config is with a change in a comparison, and without another one in the next. So the names are those of
    `change_path.paired_table`.

    Args:
        plan: with looks.
        paths: label of the group -> changes in the order in which they are taken.
        cells: that judge, up to the last look.
    """
    assert plan.adaptive is not None
    record = describe.describe_explanation(plan, None, paths, (), cells)
    assert record.explanation is not None
    pairs = raced_pairs.raced_pairs(record)
    variants: dict[str, str] = {}
    references: dict[str, str] = {}
    for number, pair in enumerate(pairs):
        without, made = change_path.pair_names(number)
        references |= {without: without, made: without}
        variants |= dict(zip((without, made), pair, strict=True))

    def _tabulate(ended: Ended) -> pa.Table:
        table = results.table(record, ended)
        return change_path.paired_table(table, pairs)[0] if table.num_rows else table

    return LookedStudy(
        adaptive=plan.adaptive,
        seeds=plan.seeds,
        cells=cells,
        references=references,
        variants=variants,
        family=raced_pairs.count_comparisons(record.explanation),
        metric=plan.metric,
        mode=plan.mode,
        tabulate=_tabulate,
    )


def expected_cells(plan: ExplanationPlan) -> int | None:
    """Return the expected number of cells, those that choose the paths included; None if it cannot be known.

    See `race_forecast` for what it assumes.

    Args:
        plan: with looks.
    """
    assert plan.adaptive is not None
    paths = [MeasuredPath(len(group.changes), *group.measured) for group in plan.groups if group.measured is not None]
    if len(paths) < len(plan.groups):
        return None
    raced = race_forecast.expected_cells(paths, plan.adaptive.looks, plan.adaptive.margin)
    at_most = sum(2 * len(group.changes) for group in plan.groups) * len(plan.seeds)
    return plan.most_cells - at_most + round(raced)
