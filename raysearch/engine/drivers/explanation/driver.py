"""The driver of an explanation: it chooses the path from a reference to a best config, and judges it on fresh seeds."""

from collections.abc import Callable
from typing import Any

from raysearch.engine.drivers import forecast
from raysearch.engine.drivers.explanation.jobs import ExplanationJobs
from raysearch.engine.drivers.explanation.planned_cells import ExplanationCells, PlannedCells, Row
from raysearch.engine.drivers.explanation.race import expected_cells
from raysearch.engine.drivers.study_looks import late_looks_warnings
from raysearch.engine.options import RunContext
from raysearch.engine.trials.jobs import Listener
from raysearch.messages import PlanMessage
from raysearch.runs import StudyRecord, Surroundings, describe, results
from raysearch.studies.design import ExplanationPlan, pre_trainings


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
        if plan.adaptive is not None:
            context.console.print(f"judged at {', '.join(map(str, plan.adaptive.looks))} seeds, where still undecided")
        cells = ExplanationCells(plan, self._recorded_paths(context))
        ended = self._ended(context, cells, results.CellReader(context.run.cells))
        planned = cells.planned(ended)
        if planned.looks is not None and planned.state is not None and planned.state.judged:
            context.console.print(planned.looks.describe(planned.state))
        expected = self._expected(planned)
        if expected is not None:
            context.console.print(
                f"about {expected} cells, if a third of the changes earn the gain that the search has measured"
            )
        context.console.print(f"at most {cells.count_most(ended)} cells: {len(ended)} ended")

    def plan(self, context: RunContext, place: str) -> PlanMessage:
        """Return the plan for programs; `place` is the path or URI that names the run."""
        cells = ExplanationCells(self._plan, self._recorded_paths(context))
        ended = self._ended(context, cells, results.CellReader(context.run.cells))
        seconds = [row["seconds"] for row in ended.values() if row["status"] == "finished"]
        statuses = {cell: str(row["status"]) for cell, row in ended.items()}
        expected = forecast.forecast(cells.count_most(ended), len(ended), seconds)
        expected = expected.model_copy(update={"expected_cells": self._expected(cells.planned(ended))})
        return forecast.plan_message(context, expected, statuses, place)

    def _expected(self, planned: PlannedCells) -> int | None:
        """Return the expected number of cells before the first look; None after it, and for fixed seeds."""
        if self._plan.adaptive is None or (planned.state is not None and planned.state.judged):
            return None
        return expected_cells(self._plan)

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
        warnings = late_looks_warnings(run.record) if plan.adaptive is not None else []
        run.record.warnings = warnings
        for warning in warnings:
            console.print(warning, style="yellow", markup=False)

        def _changed() -> None:
            self._write(context, jobs.planned)
            for line in _describe_step(jobs):
                console.print(line, markup=False)

        jobs = ExplanationJobs(cells, ended, reader.read, context.is_result, _changed)
        self._write(context, jobs.planned)
        if not jobs.missing():
            for line in _describe_step(jobs):
                console.print(line, markup=False)
            console.print(f"all {jobs.count_cells()} cells had ended before; nothing to run")
            return True
        from raysearch.engine.drivers import session  # which imports Ray

        session.print_study(context)
        for line in _describe_step(jobs):
            console.print(line, markup=False)
        ends = [group.variant(made) for group in plan.groups for made in ((), group.names)]
        with session.open_session(context, ends) as open_session:
            run.record.metric_id = open_session.metric_ids(plan.reference_config).get(plan.metric)
            run.record.warnings = list(dict.fromkeys([*run.record.warnings, *warnings]))  # beside those of the session
            listeners: list[Listener] = [jobs, *session.checkpoint_reducers(context, ())]
            complete = True
            while complete and jobs.missing() and not jobs.blocked:  # a later look may need further pre-trainings
                # No search varies what a pre-training depends on: that of the reference serves all configs of a seed.
                seeds = {*plan.choosing_seeds, *plan.first_seeds, *plan.whole_seeds}
                wanted = [*plan.cells(ends, sorted(seeds)), *jobs.missing()]
                if not open_session.prepare(wanted, None):
                    return False
                jobs.set_prepared(pre_trainings(wanted))
                stage = session.Stage(
                    jobs=jobs,
                    done=jobs.count_ended(),
                    total=jobs.count_cells,
                    objective=session.held_out_objective(plan.task),
                    limit=None,
                    listeners=listeners,
                    accept=context.options.accepted_statuses,
                    shown=session.Objective(plan.metric, plan.mode),
                )
                complete = open_session.execute(stage)
            self._write(context, jobs.planned)
        if complete and jobs.blocked:
            console.print(f"the path ends here: {jobs.blocked} cells failed for a reason that is no result")
        return complete

    def _adopt(
        self, context: RunContext, cells: ExplanationCells, reader: results.CellReader
    ) -> dict[str, dict[str, Any]]:
        """Take over, step by step, the cells that runs beside this one have finished; return all that has ended."""
        while True:
            ended = self._ended(context, cells, reader)
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

    def _ended(
        self, context: RunContext, cells: ExplanationCells, reader: results.CellReader
    ) -> dict[str, dict[str, Any]]:
        """Return the rows of cells that need not run. Failed cells of a look that was judged stay as they are."""
        accepted = _follow(cells, reader, context.accepts)
        if self._plan.adaptive is None or not context.options.retry_failed:
            return accepted
        rows = _follow(cells, reader, context.is_result)
        looks = cells.planned(rows).looks
        if looks is None:
            return accepted
        retried = set(looks.retried(rows))
        judging = {cell.hash for cell in cells.planned(rows).judging}
        frozen = {cell for cell, row in rows.items() if row["status"] == "failed" and cell in judging - retried}
        return _follow(cells, reader, lambda row: context.accepts(row) or row["cell"] in frozen)

    def _recorded_paths(self, context: RunContext) -> dict[str, list[str]]:
        """Return the paths that an earlier call has chosen."""
        if not (context.run.directory / "study.json").exists():
            return {}
        earlier = results.read_study(context.run.directory).explanation
        return {} if earlier is None else {group.label: list(group.path) for group in earlier.groups}

    def _count_looks(self, context: RunContext) -> list[int]:
        """Return the numbers of seeds of earlier calls, if their results existed when the seeds were raised."""
        run = context.run
        if self._plan.adaptive is not None or not (run.directory / "study.json").exists():
            return []  # looks that were declared
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
        for name in ("variants", "cells", "explanation", "seeds"):
            setattr(record, name, getattr(complete, name))
        context.run.write_record()


def _follow(
    cells: ExplanationCells, reader: results.CellReader, accepts: Callable[[Row], bool]
) -> dict[str, dict[str, Any]]:
    """Return the rows of cells that are accepted, step by step until one has a cell that is missing."""
    ended: dict[str, dict[str, Any]] = {}
    while True:
        hashes = [cell.hash for cell in cells.planned(ended).cells if cell.hash not in ended]
        rows = {cell: row for cell, row in reader.read(hashes).items() if accepts(row)}
        if not rows:
            return ended
        ended |= rows


def _describe_step(jobs: ExplanationJobs) -> list[str]:
    """Return what the last step gave, and what the running one does, in a line each."""
    number = len(jobs.missing())
    planned = jobs.planned
    if planned.looks is not None and planned.state is not None and planned.state.judged:
        outcome = planned.looks.describe(planned.state)
        return [f"{outcome}; {number} cells to run"] if number else [outcome]
    if not number:
        return []
    if planned.complete:
        return [f"the path is chosen; {number} cells to run judge it"]
    paths = [f"{label} {', '.join(path)}".strip() for label, path in planned.paths.items() if path]
    so_far = f"; so far {'; '.join(paths)}" if paths else ""
    return [f"{number} cells to run choose the next change{so_far}"]
