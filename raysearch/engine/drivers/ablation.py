"""The driver of an ablation: it runs the cells that are missing, each to its end."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from raysearch.engine.drivers import forecast
from raysearch.engine.options import RunContext
from raysearch.messages import PlanMessage
from raysearch.runs import StudyRecord, Surroundings, continuation, describe, power_plan, raised_seeds, results
from raysearch.studies.design import AblationPlan, Cell, pre_trainings


def open_driver(plan: AblationPlan) -> "AblationDriver":
    """Return the driver of a planned ablation, whose number of seeds is fixed or follows from looks."""
    if plan.adaptive is None:
        return AblationDriver(plan)
    from raysearch.engine.drivers.adaptive import AdaptiveDriver  # which is an AblationDriver

    return AdaptiveDriver(plan)


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
        print_cells(self._plan.cells, ended, reader, context)
        remaining = len(self._plan.cells) - len(ended)
        cost = describe_cost(remaining, ended)
        self._print_power(context)
        context.console.print(f"{len(self._plan.cells)} cells: {len(ended)} ended, {remaining} to run, {cost}")
        self._print_disk(context, self._plan.cells, ended)
        if remaining:
            self._print_reason_to_run_again(context)

    def _print_disk(self, context: RunContext, cells: Sequence[Cell], ended: Mapping[str, Mapping[str, Any]]) -> None:
        """Print the disk space of the checkpoints, if it is known."""
        disk = forecast.ablation_disk(context, cells, ended)
        if disk is not None:
            context.console.print(disk.describe())

    def _print_power(self, context: RunContext) -> None:
        """Print the effect that the planned seeds find, and the seeds and cost of a smaller one, if that is known.

        Raises:
            UserError: a pilot that is no run, or compares by another metric.
        """
        options = context.options
        record = describe.describe_ablation(self._plan)
        power = power_plan.plan_power(record, context.run.directory, options.pilot)
        if power is not None:
            context.console.print(power.describe(options.effect))
        elif options.effect is not None or options.pilot is not None:
            context.console.print(
                "how much seeds differ is not known: no variant has two seeds in common with its reference; --pilot "
                "RUN takes it from another run, and --seeds adaptive needs no plan"
            )

    def _print_reason_to_run_again(self, context: RunContext) -> None:
        """Print why cells of an earlier call do not stand for those of this plan; nothing if none was replaced."""
        reason = self._reason_to_run_again(context)
        if reason:
            context.console.print(reason, markup=False)

    def plan(self, context: RunContext, place: str) -> PlanMessage:
        """Return the plan for programs; `place` is the path or URI that names the run."""
        ended = self._ended(context, results.CellReader(context.run.cells))
        statuses = {cell: str(record["status"]) for cell, record in ended.items()}
        seconds = [record["seconds"] for record in ended.values() if record["status"] == "finished"]
        disk = forecast.ablation_disk(context, self._plan.cells, ended)
        expected = forecast.forecast(len(self._plan.cells), len(ended), seconds, disk)
        return forecast.plan_message(context, expected, statuses, place)

    def _reason_to_run_again(self, context: RunContext) -> str:
        """Return why cells of an earlier call do not stand for those of this plan; empty if none was replaced."""
        if not (context.run.directory / "study.json").exists():
            return ""
        earlier = results.read_study(context.run.directory)
        known = {(cell.variant, cell.seed): cell.cell for cell in earlier.cells}
        replaced = [
            known[cell.variant.name, cell.seed]
            for cell in self._plan.cells
            if known.get((cell.variant.name, cell.seed), cell.hash) != cell.hash
        ]
        ended = len(results.read_cells(context.run.cells, replaced))
        if not ended:
            return ""
        now = context.run.record.code
        files = [name for name in {**earlier.code, **now} if earlier.code.get(name) != now.get(name)]
        if files:
            cause = f"{', '.join(sorted(files))} changed"
        elif earlier.code_version != context.run.record.code_version:
            cause = "the code of the task changed"
        else:
            cause = "their config, data or number of workers changed"
        return f"{ended} cells of an earlier call run again: {cause}"

    def run(self, context: RunContext) -> bool:
        """Run the missing cells; return False when the user stopped it. Ray starts only if there are any."""
        plan = self._plan
        record = context.run.record
        console = context.console
        self._keep_rows(context)
        missing, adopted = self._find_missing(context)
        looked = self._count_looks(context, adopted)
        context.run.continue_record()
        if looked:
            record.looked = looked
        context.run.note_adopted(adopted)
        record.metric_id = self._metric_id(context)
        context.run.write_record()
        for source, count in adopted.items():
            console.print(f"{count} cells were taken over from {source}, which had finished them", markup=False)
        if not missing:
            console.print(f"all {len(plan.cells)} cells had ended before; nothing to run")
            return True
        from raysearch.engine.drivers import session

        session.print_study(context)
        console.print(
            f"{len(plan.cells)} cells, {len(plan.variants)} variants x {len(plan.seeds)} seeds; {len(missing)} to run"
        )
        with session.open_session(context, plan.variants) as open_session:
            record.metric_id = open_session.metric_ids(plan.reference_config).get(plan.ablation.metric)
            missing = [cell for cell in missing if open_session.can_run(cell)]
            if not open_session.prepare(missing, plan.ablation.step_limit):
                return False
            stage = session.Stage(
                jobs=session.fixed_jobs(missing),
                done=len(plan.cells) - len(missing),
                total=len(plan.cells),
                objective=session.held_out_objective(plan.task),
                limit=plan.ablation.step_limit,
                listeners=session.checkpoint_reducers(context, plan.cells),
                shown=session.Objective(plan.ablation.metric, plan.ablation.mode),
            )
            return open_session.execute(stage)

    def _keep_rows(self, context: RunContext) -> None:
        """Add to the record the cells of earlier calls that ended: fewer seeds or levels must not delete rows."""
        run = context.run
        if not (run.directory / "study.json").exists():
            return
        earlier = results.read_study(run.directory)
        planned = {cell.hash for cell in self._plan.cells}
        others = [cell.cell for cell in earlier.cells if cell.cell not in planned]
        ended = results.read_cells(run.cells, others)
        if not ended:
            return
        wider = self._plan.with_cells_of(ended, [cell.seed for cell in earlier.cells])
        older = {cell.hash for cell in wider.cells} - planned
        if older:
            fields = describe.describe_ablation(wider)
            for name in ("variants", "cells", "seeds", "references", "reference", "comparisons"):
                setattr(run.record, name, getattr(fields, name))
            context.console.print(
                f"the report also has {len(older)} cells of earlier calls: it covers {len(wider.variants)} variants "
                f"and {len(wider.seeds)} seeds"
            )
        if len(older) < len(ended):
            names = dict.fromkeys(cell.variant for cell in earlier.cells if cell.cell in ended.keys() - older)
            context.console.print(
                f"{len(ended) - len(older)} cells of earlier calls are not in the study any more, and leave the "
                f"report: {', '.join(names)}",
                markup=False,
            )

    def _count_looks(self, context: RunContext, adopted: Iterable[str]) -> list[int]:
        """Return the numbers of seeds that earlier plans had, if their results existed when the plan grew.

        Args:
            context: of the run.
            adopted: runs that had finished cells of this one. Those of the same question are earlier plans too.
        """
        run = context.run
        looked: set[int] = set()
        if (run.directory / "study.json").exists():
            looked |= set(_looks_of(run.directory, run.record))
        for directory in continuation.same_question(adopted, run.record):
            looked |= set(_looks_of(directory, run.record))
        return sorted(looked)

    def _metric_id(self, context: RunContext) -> str | None:
        """Return the definition of the study's metric, as the cells that ended have it."""
        reference = self._plan.reference.name
        cells = sorted(self._plan.cells, key=lambda cell: cell.variant.name != reference)
        records = results.read_cells(context.run.cells, [cell.hash for cell in cells]).values()
        ids = (json.loads(record.get("metric_ids") or "{}").get(self._plan.ablation.metric) for record in records)
        return next((str(metric_id) for metric_id in ids if metric_id), None)

    def _find_missing(self, context: RunContext) -> tuple[list[Cell], dict[str, int]]:
        """Return the cells to run, and how many were taken over, by the run beside this one that had finished them."""
        reader = results.CellReader(context.run.cells)
        ended = self._ended(context, reader)
        adopted: dict[str, int] = {}
        if context.options.adopt:
            missing = [cell.hash for cell in self._plan.cells if cell.hash not in ended]
            adopted = results.adopt(context.run.directory, missing, context.run.device)
        if adopted:
            ended = self._ended(context, reader)
        missing_cells = [cell for cell in self._plan.cells if cell.hash not in ended]
        _print_retries(missing_cells, reader, context)
        return missing_cells, adopted

    def _ended(self, context: RunContext, reader: results.CellReader) -> dict[str, dict]:
        """Return the cells that need not run. A cell that a search stopped early continues from its checkpoint."""
        records = reader.read(cell.hash for cell in self._plan.cells)
        return {cell: record for cell, record in records.items() if context.accepts(record)}


def _print_retries(missing: Sequence[Cell], reader: results.CellReader, context: RunContext) -> None:
    """Print which cells failed before and run again."""
    failed = [record for record in reader.read(cell.hash for cell in missing).values() if record["status"] == "failed"]
    by_input = [record for record in failed if results.failed_by_input(context.run.cells, record)]
    if by_input:
        context.console.print(
            f"{len(by_input)} cells run again, which failed for a reason that is no result: {by_input[0]['error']}",
            markup=False,
        )


def _looks_of(directory: Path, record: StudyRecord) -> list[int]:
    earlier = results.read_study(directory)
    ended = results.read_cells(directory / "cells", [cell.cell for cell in earlier.cells])
    return raised_seeds.count_looks(earlier, record, ended)


def print_cells(
    cells: Sequence[Cell], ended: Mapping[str, Mapping[str, Any]], reader: results.CellReader, context: RunContext
) -> None:
    """Print cells and whether they have ended, after the pre-trainings of those that have not.

    Args:
        cells: in the order to print.
        ended: cell -> its row, of those that need not run.
        reader: of the run's cells.
        context: of the run.
    """
    starts = pre_trainings(cell for cell in cells if cell.hash not in ended)
    rows = {**reader.read([cell.hash for cell in starts]), **ended}
    for cell in [*starts, *cells]:
        status = rows[cell.hash]["status"] if cell.hash in rows else "to run"
        context.console.print(f"{cell.hash}  {status:9}  seed {cell.seed}  {cell.variant.name}")


def describe_cost(cells: int, ended: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what a number of cells will cost, by the mean of those that have finished.

    Args:
        cells: to run.
        ended: cell -> its row.
    """
    seconds = [row["seconds"] for row in ended.values() if row["status"] == "finished"]
    if not cells:
        return "which costs nothing"
    if not seconds:
        return "of a cost not known yet"
    return f"about {cells * sum(seconds) / len(seconds):.0f} worker seconds"
