"""A search from its first suggestion to the judgement: each group by itself, then the best configs on fresh seeds."""

import json
import time
from typing import Any

import optuna
from ray.tune.schedulers import TrialScheduler
from rich.console import Console

from raysearch.core.errors import UserError
from raysearch.core.interrupt import Interrupt
from raysearch.engine.drivers import samplers, session
from raysearch.engine.drivers.ablation import print_plan, terminal_table
from raysearch.engine.drivers.suggestions import SuggestedConfig, Suggestions
from raysearch.engine.options import Options, Run
from raysearch.engine.trials import schedulers
from raysearch.engine.trials.jobs import FixedJobs, Job, Listener
from raysearch.runs import results
from raysearch.runs.objective import Objective
from raysearch.runs.study_record import CellRecord, VariantRecord
from raysearch.studies.design.plan import Cell, Variant
from raysearch.studies.design.search_plan import Group, SearchPlan

OPTUNA_FILE = "optuna.db"


def run_search(
    plan: SearchPlan,
    run: Run,
    options: Options,
    console: Console,
    interrupt: Interrupt,
    retry_failed: bool = False,
) -> bool:
    """Search and judge; returns False when the user stopped it.

    Args:
        plan: what is searched.
        run: where the cells are stored, and the data.
        options: where and how wide.
        console: where to show what goes on.
        interrupt: whether the user wants to stop.
        retry_failed: run configs again that failed before.
    """
    search = plan.search
    print_plan(search.question, run.record, console)
    seeds = f" x {len(plan.seeds)} seeds" if len(plan.seeds) > 1 else ""
    console.print(
        f"{plan.trials} configs{seeds} by {search.sampler}"
        + (f", stopped early by {search.scheduler}" if search.scheduler else "")
        + (f", for each of {', '.join(group.label for group in plan.groups)}" if search.group else "")
    )
    configs = [plan.reference(group).config for group in plan.groups]
    record = _Record(plan, run)
    with session.open_session(run, options, configs, console, interrupt, terminal_table(run)) as opened:
        complete = opened.prepare(plan.referring(), search.step_limit)
        for group in plan.groups:
            complete = complete and _search_group(plan, group, run, opened, record, retry_failed)
        if complete:
            complete = _judge(plan, opened, record, retry_failed)
        record.write()
    return complete


def _search_group(
    plan: SearchPlan, group: Group, run: Run, opened: session.Session, record: "_Record", retry_failed: bool
) -> bool:
    search = plan.search
    suggestions = Suggestions(plan, group, run.directory / OPTUNA_FILE, opened.storage, retry_failed)
    record.groups[group.label] = suggestions
    objective = Objective(search.metrics[0], search.modes[0])
    if objective.metric == "epoch_seconds":  # known at the end alone
        objective = session.held_out_objective(search.task)
    scheduler = None
    accept = ["finished"] if retry_failed else ["finished", "failed"]
    if search.scheduler:
        scheduler = _scheduler(plan, group, objective)
        accept.append("stopped")
        before = results.read_cells(
            run.directory / "cells", [cell.hash for config in suggestions.configs for cell in config.cells]
        )
        if search.scheduler != "pbt":
            schedulers.replay_cells(scheduler, objective, [one for one in before.values() if one["status"] in accept])
    return opened.execute(
        suggestions,
        done=record.done(),
        total=record.total(),
        objective=objective,
        limit=search.step_limit,
        listeners=[suggestions, record],
        scheduler=scheduler,
        accept=accept,
    )


def _scheduler(plan: SearchPlan, group: Group, objective: Objective) -> TrialScheduler:
    search = plan.search
    assert search.scheduler is not None
    mutations = search.space if search.scheduler == "pbt" else None
    assert not callable(mutations)
    steps = plan.reference(group).config.steps
    return schedulers.build_scheduler(search.scheduler, objective, steps, search.scheduler_options, mutations)


def _judge(plan: SearchPlan, opened: session.Session, record: "_Record", retry_failed: bool) -> bool:
    """Let the best config of each group and its reference meet on seeds that chose nothing."""
    cells: list[Cell] = []
    if plan.search.judge_seeds and plan.search.scheduler != "pbt":
        for group in plan.groups:
            best = best_config(record.groups[group.label].configs, plan)
            if best is not None:
                cells += plan.judging([plan.reference(group), plan.best(group, best.variant.declared)])
    record.judging = cells
    record.write()
    unique = {cell.hash: cell for cell in cells}  # the best may be the reference itself
    return opened.execute(
        FixedJobs(session.make_job(cell) for cell in unique.values()),
        done=record.done(),
        total=record.total(),
        objective=session.held_out_objective(plan.search.task),
        limit=plan.search.step_limit,
        listeners=[record],
        accept=("finished",) if retry_failed else ("finished", "failed"),
    )


def best_config(configs: list[SuggestedConfig], plan: SearchPlan) -> SuggestedConfig | None:
    """The finished config with the best first metric; the earliest of equals."""
    metric, mode = plan.search.metrics[0], plan.search.modes[0]
    found = [(value, config) for config in configs if (value := config.value(metric)) is not None]
    sign = 1 if mode == "max" else -1
    return max(found, key=lambda one: sign * one[0])[1] if found else None


class _Record(Listener):
    """Keeps `study.json` up to date with what was suggested, and says how far the search is."""

    def __init__(self, plan: SearchPlan, run: Run) -> None:
        self._plan, self._run = plan, run
        self.groups: dict[str, Suggestions] = {}
        self.judging: list[Cell] = []
        self._written, self._took = 0.0, 0.0

    def ended(self, job: Job, record: dict[str, Any]) -> None:
        # Never more than a twentieth of the time goes into writing, however long the list has become.
        if time.monotonic() - self._written > 20 * self._took:
            self.write()

    def total(self) -> int:
        """Cells that there will be, if nothing is stopped."""
        plan = self._plan
        judging = 2 * plan.search.judge_seeds if plan.search.scheduler != "pbt" else 0
        return len(plan.groups) * (plan.trials * len(plan.seeds) + judging)

    def done(self) -> int:
        return sum(len(config.records) for one in self.groups.values() for config in one.configs)

    def write(self) -> None:
        started = time.monotonic()
        for key, value in self._describe().items():
            setattr(self._run.record, key, value)
        results.write_study(self._run.directory, self._run.record)
        self._written, self._took = time.monotonic(), time.monotonic() - started

    def _describe(self) -> dict[str, Any]:
        plan = self._plan
        variants: dict[str, Variant] = {}
        cells = []
        for suggestions in self.groups.values():
            for config in suggestions.configs:
                name = config.variant.name if len(plan.groups) == 1 else self._named(suggestions, config)
                variants[name] = config.variant
                cells += [_cell(cell, name, "search") for cell in config.cells]
        for cell in self.judging:
            variants.setdefault(cell.variant.name, cell.variant)
            cells.append(_cell(cell, cell.variant.name, "judge"))
        return {
            "variants": [_variant(name, variant) for name, variant in variants.items()],
            "cells": cells,
            "factors": sorted({path for variant in variants.values() for path in variant.settings}),
            "best": [self._best(label, one) for label, one in self.groups.items()],
            "epochs": self._epochs(),
            "duplicates": sum(one.duplicates for one in self.groups.values()),
            "optuna": {label: one.study_name for label, one in self.groups.items()},
        }

    def _named(self, suggestions: Suggestions, config: SuggestedConfig) -> str:
        label = next(label for label, one in self.groups.items() if one is suggestions)
        return f"{label} {config.variant.name}"

    def _best(self, label: str, suggestions: Suggestions) -> dict[str, Any]:
        plan, search = self._plan, self._plan.search
        best = best_config(suggestions.configs, plan)
        group = next(group for group in plan.groups if group.label == label)
        # Of one metric the front is the best; a sampler may have been told more of what was stopped.
        front = suggestions.front() if len(search.metrics) > 1 else [best.variant.name] if best else []
        prefix = f"{label} " if len(plan.groups) > 1 else ""
        return {
            "group": label or None,
            "variant": prefix + best.variant.name if best else None,
            "settings": dict(best.variant.declared) if best else None,
            "config": best.variant.config.model_dump(mode="json") if best else None,
            "value": {metric: best.value(metric) for metric in search.metrics} if best else None,
            "front": [prefix + name for name in front],
            "reference": plan.reference(group).name,
            "judged": plan.best(group, {}).name,
        }

    def _epochs(self) -> dict[str, int]:
        """What early stopping saved: epochs that were run after the warm-up, and those of the same configs in full."""
        run = full = 0
        for suggestions in self.groups.values():
            for config in suggestions.configs:
                for record in config.records.values():
                    if record["status"] in ("finished", "stopped"):
                        asked = config.variant.config
                        run += schedulers.count_trained(json.loads(record["history"])) * asked.epochs // asked.steps
                        full += asked.epochs
        return {"run": run, "full": full}


def _variant(name: str, variant: Variant) -> VariantRecord:
    return VariantRecord(
        name=name,
        settings=dict(variant.settings),
        declared=dict(variant.declared),
        config=variant.config.model_dump(mode="json"),
    )


def _cell(cell: Cell, variant: str, stage: str) -> CellRecord:
    return CellRecord(cell=cell.hash, variant=variant, seed=cell.seed, stage=stage)


def space_of(plan: SearchPlan) -> dict[str, str]:
    """The space as text, for the report; checked on the way."""
    space = plan.search.space
    if callable(space):
        return {}
    return {path: repr(one) for path, one in samplers.distributions(space, plan.search.sampler).items()}


def check(plan: SearchPlan) -> None:
    """Find before the first trial what could not be searched: wrong options, spaces and names.

    Raises:
        UserError: as the parts say.
    """
    search = plan.search
    samplers.build_sampler(search.sampler, search.sampler_options, seed=0)
    space_of(plan)
    group = plan.groups[0]
    if search.scheduler:
        try:
            _scheduler(plan, group, session.held_out_objective(search.task))
        except (TypeError, AssertionError) as error:
            raise UserError(f"scheduler '{search.scheduler}': {error}") from None
    if callable(search.space):
        _try_out(plan, group)


def _try_out(plan: SearchPlan, group: Group, draws: int = 20) -> None:
    """Ask a space that is a function a few times at random: a wrong path should not wait for its turn."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    errors = []
    for _ in range(draws):
        trial = study.ask()
        assert callable(plan.search.space)
        try:
            more = plan.search.space(trial)
            plan.variant(group, "a first draw", {**trial.params, **(more or {})})
        except UserError as error:
            if "unknown config path" in str(error):
                raise
            errors.append(error)
        except Exception as error:
            raise UserError(f"space: the function raised {type(error).__name__}: {error}") from None
    if len(errors) == draws:
        raise UserError(f"space: none of {draws} draws can be run: {errors[0]}")
