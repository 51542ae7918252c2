"""The driver of a search, from its first suggestion to the judgement.

Each group is searched separately. Then its best config and its reference meet on fresh seeds.
"""

from ray.tune.schedulers import TrialScheduler

from raysearch.engine.drivers import forecast, samplers, session
from raysearch.engine.drivers.learning import learned_trials
from raysearch.engine.drivers.learning.memory import SearchMemory, record_of
from raysearch.engine.drivers.search_record import SearchRecord, best_config, count_cells
from raysearch.engine.drivers.space import SearchSpace
from raysearch.engine.drivers.suggestions import Suggestions
from raysearch.engine.options import RunContext
from raysearch.engine.preflight import search_check
from raysearch.engine.trials import schedulers
from raysearch.engine.trials.jobs import Objective
from raysearch.messages import Forecast, PlanMessage
from raysearch.runs import StudyRecord, Surroundings, describe, results
from raysearch.runs.disk_forecast import DiskForecast, format_bytes
from raysearch.studies.design import Cell, Group, SearchPlan
from raysearch.studies.design.search_methods import SCHEDULERS

OPTUNA_FILE = "optuna.db"


def open_driver(plan: SearchPlan) -> "SearchDriver":
    """Return the driver of a planned search."""
    return SearchDriver(plan)


class SearchDriver:
    """Runs a search.

    Args:
        plan: the budget, the seeds and the groups.
    """

    def __init__(self, plan: SearchPlan) -> None:
        self._plan = plan

    def validate(self) -> None:
        """Find wrong options, distributions and names before the first trial.

        Raises:
            UserError: an option that the sampler or the scheduler does not have, or a space that cannot be searched.
        """
        search_check.check_search(self._plan.search, self._plan)

    def describe(self, surroundings: Surroundings) -> StudyRecord:
        """Return the record of the study; its variants and cells are added while it runs."""
        digest = SearchSpace(self._plan.search).digest() if callable(self._plan.search.space) else None
        return describe.describe_search(self._plan, self._describe_space(), surroundings, digest)

    def dry_run(self, context: RunContext) -> None:
        """Print what would be searched, and at most how many cells that takes. The configs are not known beforehand."""
        plan = self._plan
        search = plan.search
        for group in plan.groups:
            prefix = f"{group.label}: " if group.label else ""
            stopped = f", stopped early by {search.scheduler}" if search.scheduler else ""
            context.console.print(
                f"{prefix}{plan.trials} configs by {search.sampler}{stopped}, seeds {list(plan.seeds)}"
            )
            if search.judge_seeds and not search.trains_population:
                seeds = search.judging_seeds(list(plan.seeds))
                context.console.print(f"{prefix}the best of them against the reference on seeds {seeds}")
        if not (context.run.directory / OPTUNA_FILE).exists():  # a search learns before its first trial
            memory = SearchMemory(plan, context)
            for group in plan.groups:
                memory.learn(group, SearchSpace(search))
        expected = self._forecast(context)
        cost = "not known yet"
        if expected.worker_seconds is not None:
            cost = f"about {expected.worker_seconds:.0f} worker seconds"
        context.console.print(f"at most {expected.cells} cells: {expected.ended} ended, the cost of the rest is {cost}")
        disk = self._disk(context)
        if disk is not None:
            context.console.print(
                f"at most {format_bytes(disk.at_end)} of checkpoints, {format_bytes(disk.at_most)} while it runs"
            )

    def plan(self, context: RunContext, place: str) -> PlanMessage:
        """Return the plan for programs; `place` is the path or URI that names the run."""
        return forecast.plan_message(context, self._forecast(context), {}, place)

    def _forecast(self, context: RunContext) -> Forecast:
        seconds: list[float] = []
        ended = 0
        if (context.run.directory / "study.json").exists():
            table = results.load(context.run.directory)
            ended = table.num_rows
            seconds = [value for value in table["seconds"].to_pylist() if value] if ended else []
        return forecast.forecast(count_cells(self._plan), ended, seconds, self._disk(context))

    def _disk(self, context: RunContext) -> DiskForecast | None:
        finished: list[str] = []
        if (context.run.directory / "study.json").exists():
            rows = results.load(context.run.directory).to_pylist()
            finished = [row["cell"] for row in rows if row["status"] == "finished"]
        return forecast.search_disk(context, self._plan, finished)

    def run(self, context: RunContext) -> bool:
        """Search and judge; return False when the user stopped it."""
        plan = self._plan
        search = plan.search
        # Earlier results stay readable until this call has new ones.
        context.run.continue_record("variants", "cells", "best", "factors", "learned")
        context.run.write_record()
        session.print_study(context)
        seeds = f" x {len(plan.seeds)} seeds" if len(plan.seeds) > 1 else ""
        stopped = f", stopped early by {search.scheduler}" if search.scheduler else ""
        groups = f", for each of {', '.join(group.label for group in plan.groups)}" if search.group else ""
        context.console.print(f"{plan.trials} configs{seeds} by {search.sampler}{stopped}{groups}")
        record = SearchRecord(plan, context.run)
        memory = SearchMemory(plan, context)
        with session.open_session(context, [plan.reference(group) for group in plan.groups]) as open_session:
            complete = open_session.prepare(plan.reference_cells(), search.step_limit)
            for group in plan.groups:
                complete = complete and self._search_group(group, context, open_session, record, memory)
            if complete:
                complete = self._judge(context, open_session, record)
            record.write()
        return complete

    def _search_group(
        self,
        group: Group,
        context: RunContext,
        open_session: session.Session,
        record: SearchRecord,
        memory: SearchMemory,
    ) -> bool:
        """Search one group; return False when the user stopped it."""
        search = self._plan.search
        suggestions = Suggestions(
            self._plan,
            group,
            context.run.directory / OPTUNA_FILE,
            open_session.storage,
            context.options.retry_failed,
            lambda message: context.console.print(message, markup=False),
            lambda space: memory.learn(group, space),
        )
        record.groups[group.label] = suggestions
        if suggestions.optuna.learned is not None:
            record.note_learned(record_of(group, suggestions.optuna.learned, self._plan))
        objective = Objective(search.metrics[0], search.modes[0])
        if objective.metric == "epoch_seconds":  # which is known only when a cell has ended
            objective = session.held_out_objective(search.task) or objective
        scheduler = None
        accept = list(context.options.accepted_statuses)
        if search.scheduler:
            scheduler = _build_scheduler(self._plan, group, objective)
            accept.append("stopped")
            if SCHEDULERS[search.scheduler].resumable:
                cells = [cell.hash for config in suggestions.configs for cell in config.cells]
                ended = results.read_cells(context.run.cells, cells).values()
                accepted = [row for row in ended if row["status"] in accept]
                learned = learned_trials.cell_records(suggestions.optuna.study, objective.metric)
                schedulers.replay_cells(scheduler, objective, [*learned, *accepted])
        # A member of a population may still take over the state of one that has finished.
        reducers = [] if search.trains_population else session.checkpoint_reducers(context, ())
        stage = session.Stage(
            jobs=suggestions,
            done=record.done(),
            total=record.total,
            objective=objective,
            limit=search.step_limit,
            listeners=[suggestions, record, *reducers],
            scheduler=scheduler,
            accept=accept,
        )
        return open_session.execute(stage)

    def _judge(self, context: RunContext, open_session: session.Session, record: SearchRecord) -> bool:
        """Let the best config of each group and its reference meet on seeds that chose nothing."""
        plan = self._plan
        cells: list[Cell] = []
        if plan.search.judge_seeds and not plan.search.trains_population:
            for group in plan.groups:
                best = best_config(record.groups[group.label].configs, plan)
                if best is not None:
                    cells += plan.judging_cells([plan.reference(group), plan.best(group, best.variant.declared)])
        record.judging = cells
        record.write()
        distinct = {cell.hash: cell for cell in cells}  # the best may be the reference itself
        stage = session.Stage(
            jobs=session.fixed_jobs(distinct.values()),
            done=record.done(),
            total=record.total,
            objective=session.held_out_objective(plan.task),
            limit=plan.search.step_limit,
            listeners=[record, *session.checkpoint_reducers(context, ())],
            accept=context.options.accepted_statuses,
        )
        return open_session.execute(stage)

    def _describe_space(self) -> dict[str, str]:
        """Return path -> distribution in words; empty for a function. Distributions that cannot be used raise."""
        space = self._plan.search.space
        if callable(space):
            return {}
        distributions = samplers.distributions(space, self._plan.search.sampler)
        return {path: repr(distribution) for path, distribution in distributions.items()}


def _build_scheduler(plan: SearchPlan, group: Group, objective: Objective) -> TrialScheduler:
    search = plan.search
    assert search.scheduler is not None
    mutations = search.space if search.trains_population else None
    assert not callable(mutations)
    steps = plan.reference(group).config.steps
    return schedulers.build_scheduler(search.scheduler, objective, steps, search.scheduler_options, mutations)
