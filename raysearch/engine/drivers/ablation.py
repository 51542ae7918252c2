"""The missing cells of an ablation, each to its end."""

from collections.abc import Callable

from rich.console import Console, RenderableType

from raysearch.core.interrupt import Interrupt
from raysearch.engine.drivers import session
from raysearch.engine.options import Options, Run
from raysearch.engine.trials.jobs import FixedJobs
from raysearch.runs import results
from raysearch.runs.study_record import StudyRecord
from raysearch.studies.design.ablation_plan import AblationPlan
from raysearch.studies.design.plan import Cell


def run_missing(
    plan: AblationPlan, missing: list[Cell], run: Run, options: Options, console: Console, interrupt: Interrupt
) -> bool:
    """Run the missing cells of a plan; returns False when the user stopped it.

    Args:
        plan: all cells.
        missing: those to run.
        run: where the cells are stored, and the data.
        options: where and how wide.
        console: where to show what goes on.
        interrupt: whether the user wants to stop.
    """
    asked = plan.ablation
    print_plan(asked.question, run.record, console)
    console.print(
        f"{len(plan.cells)} cells, {len(plan.variants)} variants x {len(plan.seeds)} seeds; {len(missing)} to run"
    )
    configs = [variant.config for variant in plan.variants]
    with session.open_session(run, options, configs, console, interrupt, terminal_table(run)) as open_session:
        run.record.metric_id = open_session.metric_ids(plan.reference.config).get(asked.metric)
        if not open_session.prepare(missing, asked.step_limit):
            return False
        return open_session.execute(
            FixedJobs(session.make_job(cell) for cell in missing),
            done=len(plan.cells) - len(missing),
            total=len(plan.cells),
            objective=session.held_out_objective(asked.task),
            limit=asked.step_limit,
        )


def terminal_table(run: Run) -> Callable[[], RenderableType]:
    """Draws what came out so far; a cell's file is opened once."""
    from dashboards.ablation import tables

    reader = results.CellReader(run.directory / "cells")

    def draw() -> RenderableType:
        table = results.table(run.record, reader.read(cell.cell for cell in run.record.cells))
        return tables.terminal(run.record, table) if table.num_rows else ""

    return draw


def print_plan(question: str, record: StudyRecord, console: Console) -> None:
    """What is asked, of what data."""
    data = record.data
    console.print(f"[bold]{question}[/bold]")
    console.print(f"profile {record.profile}: {record.profile_reason}")
    console.print(f"data: {data.name}, {data.images} images of {data.classes} classes, {data.path}")
