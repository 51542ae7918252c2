"""The driver of an explanation: it chooses the path from a reference to a best config, and judges it on fresh seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

from raysearch.engine.drivers import forecast
from raysearch.engine.drivers.explanation_cells import ExplanationCells, PlannedCells
from raysearch.engine.options import RunContext
from raysearch.messages import PlanMessage
from raysearch.runs import StudyRecord, Surroundings, describe, results
from raysearch.studies.design import Cell, ExplanationPlan


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
        ended = self._read(context, results.CellReader(context.run.cells), set())
        context.console.print(f"at most {plan.most_cells} cells: {len(ended)} ended")

    def plan(self, context: RunContext, place: str) -> PlanMessage:
        """Return the plan for programs; `place` is the path or URI that names the run."""
        ended = self._read(context, results.CellReader(context.run.cells), set())
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
        ran: set[str] = set()
        planned, missing = self._advance(context, cells, reader, ran)
        looked = self._count_looks(context)
        run.continue_record()
        if looked:
            run.record.looked = looked
        self._write(context, planned)
        if not missing:
            console.print(f"all {len(planned.cells)} cells had ended before; nothing to run")
            return True
        from raysearch.engine.drivers import session  # which imports Ray

        session.print_study(context)
        configs = [group.variant(made).config for group in plan.groups for made in ((), group.names)]
        with session.open_session(context, configs) as open_session:
            run.record.metric_id = open_session.metric_ids(plan.reference_config).get(plan.metric)
            while missing:
                console.print(self._describe_stage(planned, missing), markup=False)
                if not open_session.prepare(missing, None):
                    return False
                stage = session.Stage(
                    jobs=session.fixed_jobs(missing),
                    done=len(planned.cells) - len(missing),
                    total=len(planned.cells),
                    objective=session.held_out_objective(plan.task),
                    limit=None,
                    listeners=session.checkpoint_reducers(context, planned.cells),
                    accept=context.options.accepted_statuses,
                    shown=session.Objective(plan.metric, plan.mode),
                )
                if not open_session.execute(stage):
                    return False
                ran |= {cell.hash for cell in missing}
                planned, missing = self._advance(context, cells, reader, ran)
                self._write(context, planned)
                if missing and ran.issuperset(cell.hash for cell in missing):
                    console.print(f"{len(missing)} cells failed for a reason that is no result; the path ends here")
                    return True
        return True

    def _advance(
        self, context: RunContext, cells: ExplanationCells, reader: results.CellReader, ran: set[str]
    ) -> tuple[PlannedCells, list[Cell]]:
        """Return what is planned after all that has ended, here or in a run beside this one; and what is missing."""
        while True:
            ended = self._read(context, reader, ran, cells)
            planned = cells.planned(ended)
            missing = planned.missing(ended)
            adopted: Mapping[str, int] = {}
            if missing and context.options.adopt:
                adopted = results.adopt(context.run.directory, [cell.hash for cell in missing], context.run.device)
            if not adopted:
                return planned, missing
            context.run.note_adopted(adopted)
            for source, count in adopted.items():
                context.console.print(
                    f"{count} cells were taken over from {source}, which had finished them", markup=False
                )

    def _read(
        self, context: RunContext, reader: results.CellReader, ran: set[str], cells: ExplanationCells | None = None
    ) -> dict[str, dict[str, Any]]:
        """Return the rows of cells that need not run, stage by stage until one has a cell that is missing.

        Args:
            context: of the run.
            reader: of the run's cells.
            ran: cells that ran in this call. A failure among them is a result.
            cells: finds them; None: with the paths that were recorded.
        """
        cells = cells or ExplanationCells(self._plan, self._recorded_paths(context))
        ended: dict[str, dict[str, Any]] = {}
        while True:
            hashes = [cell.hash for cell in cells.planned(ended).cells if cell.hash not in ended]
            rows = {
                cell: row
                for cell, row in reader.read(hashes).items()
                if context.accepts(row) or (cell in ran and context.is_result(row))
            }
            if not rows:
                return ended
            ended |= rows

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

    def _describe_stage(self, planned: PlannedCells, missing: Sequence[Cell]) -> str:
        if planned.complete:
            return f"the path is chosen; {len(missing)} cells to run judge it"
        taken = [f"{label}: {', '.join(path)}" if label else ", ".join(path) for label, path in planned.paths.items()]
        so_far = "; ".join(text for text in taken if text.rpartition(": ")[2])
        return f"{len(missing)} cells to run choose the next change{f'; so far {so_far}' if so_far else ''}"
