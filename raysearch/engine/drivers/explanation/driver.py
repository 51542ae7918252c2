"""The driver of an explanation: it chooses the path from a reference to a best config, and judges it on fresh seeds."""

from typing import Any

from raysearch.engine.drivers import forecast
from raysearch.engine.drivers.explanation.jobs import ExplanationJobs
from raysearch.engine.drivers.explanation.planned_cells import ExplanationCells, PlannedCells
from raysearch.engine.options import RunContext
from raysearch.messages import PlanMessage
from raysearch.runs import StudyRecord, Surroundings, describe, results
from raysearch.studies.design import ExplanationPlan


def open_driver(plan: ExplanationPlan) -> "ExplanationDriver":
    """Return the driver of a planned explanation."""
    return ExplanationDriver(plan)


class ExplanationDriver:
    """Runs an explanation.

    Args:
        plan: the changes and the seeds.
    """

    def __init__(self, plan: ExplanationPlan) -> None:
        self._plan = plan

    def validate(self) -> None:
        """Do nothing: planning checks everything."""

    def describe(self, surroundings: Surroundings) -> StudyRecord:
        """Return the record of the explanation; its variants and cells are added while it runs."""
        return describe.describe_explanation(self._plan, surroundings)

    def dry_run(self, context: RunContext) -> None:
        """Print the changes, and at most how many cells the path takes. The configs are not known beforehand."""
        plan = self._plan
        for group in plan.groups:
            place = f" of {group.label}" if group.label else ""
            context.console.print(f"changes{place}: {', '.join(group.names)}", markup=False)
        context.console.print(
            f"their order is chosen on seeds {list(plan.choosing_seeds)}, and judged on seeds {list(plan.seeds)}"
        )
        ended = self._ended(context)
        context.console.print(f"at most {plan.most_cells} cells: {len(ended)} ended")

    def plan(self, context: RunContext, place: str) -> PlanMessage:
        """Return the plan for programs; `place` is the path or URI that names the run."""
        ended = self._ended(context)
        seconds = [row["seconds"] for row in ended.values() if row["status"] == "finished"]
        statuses = {cell: str(row["status"]) for cell, row in ended.items()}
        return forecast.plan_message(
            context, forecast.forecast(self._plan.most_cells, len(ended), seconds), statuses, place
        )

    def run(self, context: RunContext) -> bool:
        """Choose and judge; return False when the user stopped it. Ray starts only if a cell is missing."""
        plan = self._plan
        run = context.run
        console = context.console
        reader = results.CellReader(run.cells)
        cells = ExplanationCells(plan, self._recorded_paths(context))
        looked = self._count_looks(context)
        run.continue_record()
        if looked:
            run.record.looked = looked
        ended = self._adopt(context, cells, reader)

        def _changed() -> None:
            self._write(context, jobs.planned)
            if jobs.missing():
                console.print(_describe_step(jobs), markup=False)

        jobs = ExplanationJobs(cells, ended, reader.read, context.is_result, _changed)
        self._write(context, jobs.planned)
        if not jobs.missing():
            console.print(f"all {jobs.count_cells()} cells had ended before; nothing to run")
            return True
        from raysearch.engine.drivers import session  # which imports Ray

        session.print_study(context)
        console.print(_describe_step(jobs), markup=False)
        ends = [group.variant(made) for group in plan.groups for made in ((), group.names)]
        with session.open_session(context, ends) as open_session:
            run.record.metric_id = open_session.metric_ids(plan.reference_config).get(plan.metric)
            # No search varies what a pre-training depends on: that of the reference serves all configs of a seed.
            if not open_session.prepare(plan.cells(ends, [*plan.choosing_seeds, *plan.seeds]), None):
                return False
            stage = session.Stage(
                jobs=jobs,
                done=len(ended),
                total=jobs.count_cells,
                objective=session.held_out_objective(plan.task),
                limit=None,
                listeners=[jobs, *session.checkpoint_reducers(context, ())],
                accept=context.options.accepted_statuses,
                shown=session.Objective(plan.metric, plan.mode),
            )
            complete: bool = open_session.execute(stage)
            self._write(context, jobs.planned)
        if complete and jobs.blocked:
            console.print(f"the path ends here: {jobs.blocked} cells failed for a reason that is no result")
        return complete

    def _adopt(
        self, context: RunContext, cells: ExplanationCells, reader: results.CellReader
    ) -> dict[str, dict[str, Any]]:
        """Take over, step by step, the cells that runs beside this one have finished; return all that has ended."""
        while True:
            ended = self._read(context, cells, reader)
            missing = [cell.hash for cell in cells.planned(ended).missing(ended)]
            if not missing or not context.options.adopt:
                return ended
            adopted = results.adopt(context.run.directory, missing, context.run.device)
            if not adopted:
                return ended
            context.run.note_adopted(adopted)
            for source, count in adopted.items():
                context.console.print(
                    f"{count} cells were taken over from {source}, which had finished them", markup=False
                )

    def _read(
        self, context: RunContext, cells: ExplanationCells, reader: results.CellReader
    ) -> dict[str, dict[str, Any]]:
        """Return the rows of cells that need not run, step by step until one has a cell that is missing."""
        ended: dict[str, dict[str, Any]] = {}
        while True:
            hashes = [cell.hash for cell in cells.planned(ended).cells if cell.hash not in ended]
            rows = {cell: row for cell, row in reader.read(hashes).items() if context.accepts(row)}
            if not rows:
                return ended
            ended |= rows

    def _ended(self, context: RunContext) -> dict[str, dict[str, Any]]:
        """Return the rows of cells of earlier calls that need not run."""
        cells = ExplanationCells(self._plan, self._recorded_paths(context))
        return self._read(context, cells, results.CellReader(context.run.cells))

    def _recorded_paths(self, context: RunContext) -> dict[str, list[str]]:
        """Return the paths that an earlier call has chosen."""
        if not (context.run.directory / "study.json").exists():
            return {}
        earlier = results.read_study(context.run.directory).explanation
        return {} if earlier is None else {group.label: list(group.path) for group in earlier.groups}

    def _count_looks(self, context: RunContext) -> list[int]:
        """Return the numbers of seeds of earlier calls, if their results existed when the seeds were raised."""
        run = context.run
        if not (run.directory / "study.json").exists():
            return []
        earlier = results.read_study(run.directory)
        looked = list(earlier.looked)
        judged = [cell for cell in earlier.cells if cell.stage == "judge"]
        finished = results.read_cells(run.cells, [cell.cell for cell in judged]).values()
        grew = len(self._plan.seeds) > len(earlier.seeds)
        if grew and any(row["status"] == "finished" for row in finished):
            return [*looked, *({len(earlier.seeds)} - set(looked))]
        return looked

    def _write(self, context: RunContext, planned: PlannedCells) -> None:
        """Write to `study.json` the paths and cells so far."""
        record = context.run.record
        complete = describe.describe_explanation(self._plan, None, planned.paths, planned.choosing, planned.judging)
        for name in ("variants", "cells", "explanation"):
            setattr(record, name, getattr(complete, name))
        context.run.write_record()


def _describe_step(jobs: ExplanationJobs) -> str:
    """Return what the running step does, in one line."""
    number = len(jobs.missing())
    if jobs.planned.complete:
        return f"the path is chosen; {number} cells to run judge it"
    paths = [f"{label} {', '.join(path)}".strip() for label, path in jobs.planned.paths.items() if path]
    so_far = f"; so far {'; '.join(paths)}" if paths else ""
    return f"{number} cells to run choose the next change{so_far}"
