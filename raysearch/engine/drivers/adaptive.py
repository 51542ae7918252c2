"""The driver of an adaptive study: an ablation whose undecided variants get more seeds at planned looks.

The looks are in `study.json` before the first cell begins. A cell of a look that was judged never runs again, not even
with `--retry-failed`, because its verdicts would change.
"""

from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console

from raysearch.core import UserError
from raysearch.engine.drivers import ablation
from raysearch.engine.drivers.look_jobs import LookJobs
from raysearch.engine.drivers.study_looks import StudyLooks, late_looks_warnings, looked_ablation
from raysearch.engine.options import RunContext
from raysearch.engine.trials.jobs import Job, Listener
from raysearch.runs import StudyRecord, describe, results
from raysearch.studies.design import AblationPlan, pre_trainings


class _LookReporter(Listener):
    """Prints the outcome of each look, and has the record written when the plan has grown.

    Args:
        jobs: the study's. They must hear of each end before.
        looks: describe an outcome.
        write: writes the record.
        console: where to print.
    """

    def __init__(self, jobs: LookJobs, looks: StudyLooks, write: Callable[[], object], console: Console) -> None:
        self._jobs = jobs
        self._looks = looks
        self._write = write
        self._console = console
        self._judged = jobs.state.judged
        self._planned = jobs.planned()

    def ended(self, job: Job, record: dict[str, Any]) -> None:
        """Look whether the cell's end has changed anything."""
        if self._jobs.planned() != self._planned:
            self._planned = self._jobs.planned()
            self._write()
        if self._jobs.state.judged > self._judged:
            self._judged = self._jobs.state.judged
            self._console.print(self._looks.describe(self._jobs.state))


def _check_data_sets(record: StudyRecord) -> None:
    """Check that all data sets of a study could be opened: a look without one of them could not be judged.

    Raises:
        UserError: one of them could not.
    """
    for name, of_set in record.data_sets.items():
        if of_set.error is not None:
            raise UserError(f"data set {name}: {of_set.error}; looks of an adaptive study cover all of its data sets")


class AdaptiveDriver(ablation.AblationDriver):
    """Runs an adaptive study.

    Args:
        plan: the looks, and the cells up to the last of them.
    """

    def __init__(self, plan: AblationPlan) -> None:
        super().__init__(plan)
        self._looks = StudyLooks(looked_ablation(plan))
        self._record = describe.describe_ablation(plan)  # with all cells; the run's has those that are planned so far

    def dry_run(self, context: RunContext) -> None:
        """Print the cells up to the running look, and what they and those of the last look will cost."""
        reader = results.CellReader(context.run.cells)
        records = reader.read(cell.hash for cell in self._plan.cells)
        ended = {cell: row for cell, row in records.items() if context.is_result(row)}
        state = self._looks.judge(ended)
        planned = self._looks.planned(state)
        ablation.print_cells(planned, ended, reader, context)
        if state.judged:
            context.console.print(self._looks.describe(state))
        if self._looks.is_over(state):
            return
        self._print_power(context)
        last = len(self._looks.counts)
        for look in dict.fromkeys((state.judged + 1, last)):
            cells = self._looks.planned(state, look)
            remaining = sum(cell.hash not in ended for cell in cells)
            most = "at most " if look == last and last > 1 else ""
            context.console.print(
                f"look {look} of {last}, {self._looks.counts[look - 1]} seeds: {most}{len(cells)} cells, "
                f"{len(cells) - remaining} ended, {remaining} to run, {ablation.describe_cost(remaining, ended)}"
            )
        self._print_disk(context, self._looks.planned(state, last), ended)
        self._print_reason_to_run_again(context)

    def run(self, context: RunContext) -> bool:
        """Run the cells that the looks need; return False when the user stopped it. Ray starts only if there are any.

        Returns:
            Also True if the running look cannot be judged in this call, because cells failed for a reason that is not
            a result.
        """
        run = context.run
        record = run.record
        console = context.console
        self._keep_rows(context)
        jobs = self._open_jobs(context)
        adopted = self._adopt(context, jobs)
        run.continue_record()
        run.note_adopted(adopted)
        warnings = late_looks_warnings(record)
        record.warnings = warnings
        record.metric_id = self._metric_id(context)
        self._update_record(context, jobs)
        for source, count in adopted.items():
            console.print(f"{count} cells were taken over from {source}, which had finished them", markup=False)
        for warning in warnings:
            console.print(warning, style="yellow", markup=False)
        if jobs.state.judged:
            console.print(self._looks.describe(jobs.state))
        if jobs.over:
            console.print("all cells that the looks need had ended before; nothing to run")
            return True
        from raysearch.engine.drivers import session

        session.print_study(context)
        look = jobs.state.judged + 1
        console.print(
            f"{len(self._plan.variants)} variants, judged at {self._counts()} seeds; {len(jobs.missing())} cells to "
            f"run until look {look}"
        )
        reporter = _LookReporter(jobs, self._looks, lambda: self._update_record(context, jobs), console)
        reducers = session.checkpoint_reducers(context, self._plan.cells)
        with session.open_session(context, self._plan.variants) as open_session:
            _check_data_sets(record)
            record.metric_id = open_session.metric_ids(self._plan.reference_config).get(self._plan.ablation.metric)
            record.warnings = [*record.warnings, *warnings]
            complete = True
            while complete and not jobs.over and not jobs.blocked:
                complete = self._run_looks(jobs, [jobs, reporter, *reducers], open_session)
            self._update_record(context, jobs)
        if complete and not jobs.over:
            console.print(
                f"look {jobs.state.judged + 1} was not judged: {jobs.blocked} of its cells failed for a reason that is "
                "no result"
            )
        return complete

    def _run_looks(self, jobs: LookJobs, listeners: Sequence[Listener], open_session: Any) -> bool:
        """Run looks until the study is over, or a look needs pre-trainings; return False when the user stopped it."""
        from raysearch.engine.drivers import session

        missing = jobs.missing()
        if not open_session.prepare(missing, self._plan.ablation.step_limit):
            return False
        jobs.set_prepared(pre_trainings(missing))
        stage = session.Stage(
            jobs=jobs,
            done=jobs.count_ended(),
            total=jobs.count_cells,
            objective=session.held_out_objective(self._plan.task),
            limit=self._plan.ablation.step_limit,
            listeners=listeners,
            shown=session.Objective(self._plan.ablation.metric, self._plan.ablation.mode),
        )
        complete: bool = open_session.execute(stage)
        return complete

    def _open_jobs(self, context: RunContext) -> LookJobs:
        """Return the jobs after what has ended in earlier calls."""
        reader = results.CellReader(context.run.cells)
        records = reader.read(cell.hash for cell in self._plan.cells)
        results_by_cell = {cell: row for cell, row in records.items() if context.is_result(row)}
        if context.options.retry_failed:
            failed = [cell for cell, row in results_by_cell.items() if row["status"] == "failed"]
            retried = self._looks.retried(results_by_cell)
            results_by_cell = {cell: row for cell, row in results_by_cell.items() if cell not in retried}
            if len(failed) > len(retried):
                context.console.print(
                    f"failed cells that stay as they are, because verdicts were given with them: "
                    f"{len(failed) - len(retried)}"
                )
        by_input = [row for cell, row in records.items() if results.failed_by_input(context.run.cells, row)]
        if by_input:
            context.console.print(
                f"{len(by_input)} cells run again, which failed for a reason that is no result: {by_input[0]['error']}",
                markup=False,
            )

        return LookJobs(self._looks, reader.read, results_by_cell, context.is_result)

    def _adopt(self, context: RunContext, jobs: LookJobs) -> dict[str, int]:
        """Take over, look by look, the cells that runs beside this one have finished; return the number by run."""
        counts: dict[str, int] = {}
        while context.options.adopt and not jobs.over:
            missing = [cell.hash for cell in jobs.missing()]
            adopted = results.adopt(context.run.directory, missing, context.run.device)
            if not adopted:
                break
            for source, count in adopted.items():
                counts[source] = counts.get(source, 0) + count
            jobs.add_ended(results.read_cells(context.run.cells, missing))
        return counts

    def _update_record(self, context: RunContext, jobs: LookJobs) -> None:
        """Write to `study.json` the cells that are planned so far. Another driver may have planned more."""
        run = context.run
        planned = jobs.planned()
        if (run.directory / "study.json").exists():
            planned |= {cell.cell for cell in results.read_study(run.directory).cells}
        run.record.cells = [cell for cell in self._record.cells if cell.cell in planned]
        seeds = {cell.seed for cell in run.record.cells}
        run.record.seeds = [seed for seed in self._plan.seeds if seed in seeds]
        run.write_record()

    def _counts(self) -> str:
        counts = [str(count) for count in self._looks.counts]
        return f"{', '.join(counts[:-1])} and {counts[-1]}" if len(counts) > 1 else counts[0]
