"""The driver of an ablation: it runs the cells that are missing, each to its end."""

from collections.abc import Sequence

from raysearch.engine.options import RunContext
from raysearch.runs import StudyRecord, Surroundings, describe, results
from raysearch.studies.design import AblationPlan, Cell, pre_trainings


def open_driver(plan: AblationPlan) -> "AblationDriver":
    """Return the driver of a planned ablation."""
    return AblationDriver(plan)


class AblationDriver:
    """Runs an ablation.

    Args:
        plan: all of its cells.
    """

    def __init__(self, plan: AblationPlan) -> None:
        self._plan = plan

    def validate(self) -> None:
        """Do nothing: planning checks everything."""

    def describe(self, surroundings: Surroundings) -> StudyRecord:
        """Return the record of the study."""
        return describe.describe_ablation(self._plan, surroundings)

    def dry_run(self, context: RunContext) -> None:
        """Print every cell, whether it has ended, and what the rest will cost."""
        reader = results.CellReader(context.run.cells)
        ended = self._ended(context, reader)
        starts = pre_trainings(cell for cell in self._plan.cells if cell.hash not in ended)
        _print_cells(starts, reader.read([cell.hash for cell in starts]), context)
        _print_cells(self._plan.cells, ended, context)
        seconds = [record["seconds"] for record in ended.values() if record["status"] == "finished"]
        remaining = len(self._plan.cells) - len(ended)
        if not remaining:
            cost = "which costs nothing"
        elif seconds:
            cost = f"about {remaining * sum(seconds) / len(seconds):.0f} worker seconds"
        else:
            cost = "of a cost not known yet"
        context.console.print(f"{len(self._plan.cells)} cells: {len(ended)} ended, {remaining} to run, {cost}")

    def run(self, context: RunContext) -> bool:
        """Run the missing cells; return False when the user stopped it. Ray starts only if there are any."""
        plan = self._plan
        record = context.run.record
        missing, adopted = self._find_missing(context)
        context.run.continue_record()
        record.adopted = (record.adopted or 0) + adopted
        context.run.write_record()
        if not missing:
            context.console.print(f"all {len(plan.cells)} cells had ended before; nothing to run")
            return True
        from raysearch.engine.drivers import session

        session.print_study(context)
        context.console.print(
            f"{len(plan.cells)} cells, {len(plan.variants)} variants x {len(plan.seeds)} seeds; {len(missing)} to run"
        )
        with session.open_session(context, [variant.config for variant in plan.variants]) as open_session:
            record.metric_id = open_session.metric_ids(plan.reference_config).get(plan.ablation.metric)
            if not open_session.prepare(missing, plan.ablation.step_limit):
                return False
            stage = session.Stage(
                jobs=session.fixed_jobs(missing),
                done=len(plan.cells) - len(missing),
                total=len(plan.cells),
                objective=session.held_out_objective(plan.task),
                limit=plan.ablation.step_limit,
                shown=session.Objective(plan.ablation.metric, plan.ablation.mode),
            )
            return open_session.execute(stage)

    def _find_missing(self, context: RunContext) -> tuple[list[Cell], int]:
        """Return the cells to run, and how many were taken over from runs beside this one."""
        reader = results.CellReader(context.run.cells)
        ended = self._ended(context, reader)
        adopted = results.adopt(
            context.run.directory, [cell.hash for cell in self._plan.cells if cell.hash not in ended]
        )
        if adopted:
            ended = self._ended(context, reader)
        return [cell for cell in self._plan.cells if cell.hash not in ended], adopted

    def _ended(self, context: RunContext, reader: results.CellReader) -> dict[str, dict]:
        """Return the cells that need not run. A cell that a search stopped early continues from its checkpoint."""
        records = reader.read(cell.hash for cell in self._plan.cells)
        accepted = context.options.accepted_statuses
        return {cell: record for cell, record in records.items() if record["status"] in accepted}


def _print_cells(cells: Sequence[Cell], ended: dict[str, dict], context: RunContext) -> None:
    for cell in cells:
        status = ended[cell.hash]["status"] if cell.hash in ended else "to run"
        context.console.print(f"{cell.hash}  {status:9}  seed {cell.seed}  {cell.variant.name}")
