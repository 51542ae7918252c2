"""The configs that Optuna suggests, as jobs; and the outcome of those jobs, reported to Optuna.

The cells are the record: the state of an Optuna trial follows from its cells. When a driver dies, the next one answers
its unfinished trials from the results, or runs them again.
"""

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.trial import FrozenTrial, TrialState

from raysearch.core import UserError
from raysearch.engine.drivers import earlier_configs, session
from raysearch.engine.drivers.learning import learned_trials
from raysearch.engine.drivers.learning.known_configs import Knowledge
from raysearch.engine.drivers.optuna_study import OptunaStudy
from raysearch.engine.drivers.space import SearchSpace
from raysearch.engine.trials.jobs import Job, Listener
from raysearch.runs import results
from raysearch.runs.checkpoints import Checkpoints, decode_state
from raysearch.studies.analysis import devices
from raysearch.studies.design import Cell, Group, SearchPlan, Variant
from raysearch.studies.design.search_plan import describe_settings

_SERIES = "searched"  # label of metrics of a search that has no groups
_MAX_REPEATS = 100  # suggestions in a row that were known already or cannot be run: the space is exhausted


@dataclass
class SuggestedConfig:
    """A suggestion: a variant with a cell per seed, and what has come of them."""

    variant: Variant
    cells: tuple[Cell, ...]
    trial: optuna.Trial | None = None  # Optuna's, until its value has been reported
    twins: list[optuna.Trial] = field(default_factory=list)  # trials that asked for the same config meanwhile
    records: dict[str, dict[str, Any]] = field(default_factory=dict)  # cell -> record
    is_known: bool = False  # other runs have finished all its cells, so that it costs nothing

    @property
    def status(self) -> str | None:
        """ "finished", "failed", "stopped", or None while a cell has not ended."""
        statuses = [record["status"] for record in self.records.values()]
        for status in ("failed", "stopped"):
            if status in statuses:
                return status
        return "finished" if len(statuses) == len(self.cells) else None

    def value(self, metric: str) -> float | None:
        """Return the mean over the seeds of a finished config; None if it has not finished or a value is not finite."""
        if self.status != "finished":
            return None
        values = [record.get(metric) for record in self.records.values()]
        finite = [value for value in values if value is not None and math.isfinite(value)]
        return sum(finite) / len(finite) if len(finite) == len(values) else None


class Suggestions(Listener):
    """The jobs of one group of a search. It must hear what becomes of them.

    Args:
        plan: the plan that cells are made from.
        group: a group of the search.
        location: the file of the Optuna study.
        checkpoints: path or URI of the run's checkpoints, which hold the settings that a population has moved to.
        retry_failed: try configs again that failed before.
        report: shows the user what was done to a file that is of no use.
        learn: returns what other runs know of the group.

    Attributes:
        optuna: the study that suggests.
        configs: the configs so far, in the order of suggestion.
        duplicates: suggestions that were known already.
        timed_on: the device on which times are compared: that of the first cell that finished. None before that, and
            for a search that chooses by no time.

    Raises:
        UserError: a distribution that cannot be searched, or a starting point that does not fit the space.
    """

    def __init__(
        self,
        plan: SearchPlan,
        group: Group,
        location: Path,
        checkpoints: str,
        retry_failed: bool = False,
        report: Callable[[str], object] = lambda message: None,
        learn: Callable[[SearchSpace], Knowledge] = lambda space: Knowledge(),
    ) -> None:
        self._plan = plan
        self._group = group
        self._checkpoints = checkpoints
        self._cells = location.parent / "cells"
        self._report = report
        self._times = [metric for metric in plan.search.metrics if devices.is_time(metric)]
        self.optuna = OptunaStudy(
            plan, group, location, lambda: earlier_configs.find_configs(plan, group, location.parent), report, learn
        )
        self.configs: list[SuggestedConfig] = []
        self.duplicates = 0
        self._by_config: dict[str, SuggestedConfig] = {}
        self._known = {_canonical(variant) for variant in self._whole_variants()}
        self._by_cell: dict[str, SuggestedConfig] = {}
        self._queue: list[tuple[SuggestedConfig, Cell]] = []
        self._repeats = 0
        self._last_error = ""
        self._reported_devices = False
        self.timed_on: str | None = self.optuna.timed_on() if self._times else None
        self._reopen(retry_failed)

    def next(self) -> Job | None:
        """Return the next seed of a config that goes well, or the first of a new one."""
        while not self._queue:
            if self._is_full():
                return None
            self._suggest()
        config, cell = self._queue.pop(0)
        # A time series per config would be too many: they share one.
        return replace(session.make_job(cell, self._moves(config)), series=self._group.label or _SERIES)

    def exhausted(self) -> bool:
        """Return whether every config has ended and none will follow.

        Raises:
            UserError: no suggestion could be run.
        """
        if self._repeats >= _MAX_REPEATS and not self.configs:
            raise UserError(f"no suggestion could be run: {self._last_error}")
        return self._is_full() and not self._queue and all(config.status for config in self.configs)

    def count_cells(self) -> int:
        """Return the number of cells that have ended or will be run, if nothing more is stopped or repeated."""
        seeds = len(self._plan.seeds)
        known = sum(seeds if config.status is None else len(config.records) for config in self.configs)
        return known + (0 if self._is_full() else (self._plan.trials - self._count_tried()) * seeds)

    def stepped(self, job: Job, report: dict[str, Any], steps: int) -> None:
        """Report a step's metric to Optuna's trial; only the first seed of a search with one metric is reported."""
        config = self._by_cell.get(job.cell)
        metrics = self._plan.search.metrics
        # Optuna has no intermediate values for several metrics, and one series of them per trial.
        if config is None or config.trial is None or job.seed != self._plan.seeds[0] or len(metrics) > 1:
            return
        value = report.get(metrics[0])
        if value is not None:
            self.optuna.report(config.trial, value, report["iteration"])

    def ended(self, job: Job, record: dict[str, Any]) -> None:
        """Add a cell's record to its config: queue the config's next seed, or report the complete config to Optuna."""
        config = self._by_cell.get(job.cell)
        if config is None:
            return
        config.records[job.cell] = self._without_foreign_times(record)
        if config.status is None:
            missing = next(cell for cell in config.cells if cell.hash not in config.records)
            self._queue.insert(0, (config, missing))
            return
        trials = [trial for trial in (config.trial, *config.twins) if trial is not None]
        config.trial = None
        config.twins = []
        for trial in trials:
            self._tell(trial, config)

    def _without_foreign_times(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return a cell's record; without the times that the search chooses by if another device measured them.

        A time on another device would be compared with those of other configs. Without it the config has no value.
        """
        if not self._times or record["status"] != "finished":
            return record
        device = devices.device_of(record)
        if self.timed_on is None and not devices.is_on_several(record):
            self.timed_on = self.optuna.fix_timed_on(device)
        if device == self.timed_on:
            return record
        if not self._reported_devices:
            self._reported_devices = True
            self._report(
                f"{', '.join(self._times)} is compared on {self.timed_on or 'one kind of device'} alone: configs on "
                f"another kind, here {device}, have no value; search on one kind"
            )
        return {**record, **dict.fromkeys(self._times)}

    def _is_full(self) -> bool:
        return self._count_tried() >= self._plan.trials or self._repeats >= _MAX_REPEATS

    def _count_tried(self) -> int:
        """Return the number of configs that count in the budget: all but those that other runs have finished."""
        return sum(not config.is_known for config in self.configs)

    def _suggest(self) -> None:
        """Ask for a config. A config that is known is answered from its cells and costs nothing."""
        trial, settings = self.optuna.ask()
        try:
            variant = self._make_variant(settings)
        except UserError as error:
            if "unknown config path" in str(error):
                raise
            self._last_error = str(error)
            self._repeats += 1
            self.optuna.tell(trial, [None])
            return
        known = None if self._plan.search.trains_population else self._by_config.get(_canonical(variant))
        if known is not None:
            self._repeats += 1
            self.duplicates += 1
            if known.status is None:
                known.twins.append(trial)
            else:
                self._tell(trial, known)
            return
        self._repeats = 0
        self.optuna.note(trial, settings, variant.name)
        self._add(variant).trial = trial

    def _make_variant(self, settings: Mapping[str, Any], recorded: bool = False) -> Variant:
        name = f"{len(self.configs)}: {describe_settings(settings)}"
        return self._plan.variant(self._group, name, settings, recorded)

    def _add(self, variant: Variant) -> SuggestedConfig:
        """Add a config and queue its first cell."""
        seeds = self._plan.seeds
        if self._plan.search.trains_population:
            cells = [self._plan.member(variant, self._group, seeds[0])]
        else:
            cells = [self._plan.cell(variant, seed) for seed in seeds]
        config = SuggestedConfig(variant, tuple(cells), is_known=_canonical(variant) in self._known)
        self.configs.append(config)
        self._by_config[_canonical(variant)] = config
        self._by_cell |= {cell.hash: config for cell in cells}
        self._queue.append((config, cells[0]))
        return config

    def _whole_variants(self) -> Iterator[Variant]:
        """Yield the configs whose cells other runs have finished."""
        for settings in learned_trials.whole_settings(self.optuna.study):
            with contextlib.suppress(UserError):
                yield self._make_variant(settings, recorded=True)

    def _reopen(self, retry_failed: bool) -> None:
        """Take over the trials of earlier drivers. Their cells are answered from the results, or run."""
        last_trials: dict[str, tuple[SuggestedConfig, FrozenTrial]] = {}
        for trial, settings in self.optuna.earlier_trials():
            try:
                variant = self._make_variant(settings, recorded=True)
            except UserError:  # such settings could be run by an earlier version, or in an earlier form of the study
                if not trial.state.is_finished():
                    self.optuna.abandon(trial)
                continue
            known = None if self._plan.search.trains_population else self._by_config.get(_canonical(variant))
            config = known or self._add(variant)
            last_trials[config.cells[0].hash] = (config, trial)
            if not trial.state.is_finished() and config.trial is None:
                config.trial = self.optuna.resume(trial)
            elif not trial.state.is_finished():
                config.twins.append(self.optuna.resume(trial))
        for config, trial in last_trials.values():
            if trial.state == TrialState.FAIL and (retry_failed or self._failed_by_input(config)):
                config.trial = self.optuna.repeat(trial)

    def _failed_by_input(self, config: SuggestedConfig) -> bool:
        """Return whether a config of an earlier driver failed for a reason that is no result."""
        records = results.read_cells(self._cells, [cell.hash for cell in config.cells]).values()
        return any(results.failed_by_input(self._cells, record) for record in records)

    def _tell(self, trial: optuna.Trial, config: SuggestedConfig) -> None:
        """Give a trial the outcome of a config that has ended."""
        metrics = self._plan.search.metrics
        if config.status == "stopped":
            (record,) = (record for record in config.records.values() if record["status"] == "stopped")
            self.optuna.tell_stopped(trial, record.get(metrics[0]))
        else:
            self.optuna.tell(trial, [config.value(metric) for metric in metrics])

    def _moves(self, config: SuggestedConfig) -> Mapping[str, Any]:
        """Return the settings that a population may move, at the values that the config has reached."""
        search = self._plan.search
        if not search.trains_population:
            return {}
        assert not callable(search.space)
        saved = Checkpoints(self._checkpoints, config.cells[0].hash).read()
        if saved:
            return json.loads(decode_state(saved, torch.device("cpu"))["settings"])
        return {path: config.variant.settings[path] for path in search.space}


def _canonical(variant: Variant) -> str:
    return json.dumps(variant.config.canonical(), sort_keys=True)
