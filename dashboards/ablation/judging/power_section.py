"""The section on power: the difference that the seeds of a run find, and what smaller differences need.

The spread of the paired differences so far decides it, see `studies.analysis.power`. Disk space is not in the record of
a run, so only `--dry-run` tells it.
"""

from dashboards.ablation.judging import rule_words
from dashboards.ablation.judging.judgement import JudgedCells
from dashboards.ablation.view import View
from dashboards.html import Cell, Column, Section, Table, formats, section, tag
from raysearch.runs.power_plan import CellCost, PowerPlan
from raysearch.studies.analysis import power

_SHARES = (1.0, 0.5, 0.25)  # of the smallest difference that the planned seeds find
_NOTE = (
    "Seeds per variant that find a difference with 80 % power, after Holm's correction and by the spread of the paired "
    "differences. Cells: those of all variants that have not ended yet. A number of seeds that is raised now is "
    "one more look: a study that may need more seeds declares its looks first, with --seeds adaptive."
)


def power_section(run: View) -> Section | None:
    """Return the section; None where the cells so far show no spread of differences."""
    plan = power_plan(run)
    if plan is None:
        return None
    return section("power", "Power", tag("p", f"{plan.describe()}.", class_="note"), _table(run, plan).to_html())


def power_plan(run: View) -> PowerPlan | None:
    """Return the power of the run's plan; None where the cells so far show no spread of differences."""
    cells = JudgedCells(run.study, run.rows, run.metric, run.mode, run.references)
    spread = power.paired_spread(cells.table(), run.metric, run.references) if run.status("finished") else None
    if spread is None:
        return None
    distinct = {row["cell"]: row for row in run.rows}.values()
    computed = len(distinct) - (run.study.adopted or 0)
    seconds = [row["seconds"] for row in distinct if row.get("seconds")]
    wall = run.study.wall_seconds
    dollars = run.study.cost.dollars
    cost = CellCost(
        hours=wall / computed / 3600 if wall and computed > 0 else None,
        worker_hours=sum(seconds) / len(seconds) / 3600 if seconds else None,
        dollars=dollars / computed if dollars and computed > 0 else None,
    )
    return PowerPlan(
        metric=formats.metric_name(run.metric),
        spread=spread,
        seeds=run.study.looks[-1] if run.study.looks else len(rule_words.seed_numbers(run)),
        variants=len(run.variants),
        comparisons=max(1, run.comparisons[1]),
        counts=run.study.looks,
        ended=len(distinct),
        cost=cost,
    )


def _table(run: View, plan: PowerPlan) -> Table[float]:
    smallest = plan.smallest_effect()
    effects = [share * smallest for share in _SHARES] if smallest is not None else [plan.spread]
    if run.study.margin is not None:
        effects.append(run.study.margin)
    columns: list[Column[float]] = [
        Column(f"Difference in {plan.metric}", lambda effect: f"{effect:.2g}", "name"),
        Column("Seeds", lambda effect: _seeds(plan, effect)),
        Column("Cells", lambda effect: _cells(plan, effect)),
        Column("Cost", lambda effect: plan.cost.describe(plan.further_cells(effect) or 0), "text"),
    ]
    return Table(columns, sorted(set(effects), reverse=True), _NOTE)


def _seeds(plan: PowerPlan, effect: float) -> Cell:
    seeds = plan.seeds_for(effect)
    return Cell(f"more than {power.MOST_SEEDS:,}" if seeds is None else f"{seeds:,}", sort_key=seeds)


def _cells(plan: PowerPlan, effect: float) -> Cell:
    cells = plan.further_cells(effect)
    return Cell("" if cells is None else f"{cells:,} more", sort_key=cells)
