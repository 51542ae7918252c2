"""The configs that Optuna suggests, as jobs; and the outcome of those jobs, reported to Optuna.

Every suggestion is a trial of an Optuna study in a file beside the run, which optuna-dashboard opens. The trial's
attributes hold the config that it became. The cells are the record: the state of a trial follows from its cells. When a
driver dies, the next one answers its unfinished trials from the results, or runs them again.
"""

import hashlib
import inspect
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.trial import FrozenTrial, TrialState

from raysearch.core.errors import UserError
from raysearch.engine.drivers import samplers, session
from raysearch.engine.trials.jobs import Job, Listener
from raysearch.runs.checkpoints import Checkpoints, decode_state
from raysearch.studies.design import Cell, Variant
from raysearch.studies.design.search_methods import SAMPLERS
from raysearch.studies.design.search_plan import Group, SearchPlan, describe_settings

_SERIES = "searched"  # label of metrics of a search that has no groups
_MAX_REPEATS = 100  # suggestions in a row that were known already or cannot be run: the space is exhausted
_LOCK_SECONDS = 60  # that SQLite waits for another driver


@dataclass
class SuggestedConfig:
    """A suggestion: a variant with a cell per seed, and what has come of them."""

    number: int  # in the order of suggestion
    variant: Variant
    cells: tuple[Cell, ...]
    trial: optuna.Trial | None = None  # Optuna's, until its value has been reported
    twins: list[optuna.Trial] = field(default_factory=list)  # trials that asked for the same config meanwhile
    records: dict[str, dict[str, Any]] = field(default_factory=dict)  # cell -> record

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
        plan: what the cells are made from.
        group: of the search.
        location: file of the Optuna study.
        checkpoints: path or URI of the run's checkpoints, which hold the settings that a population has moved to.
        retry_failed: try configs again that failed before.

    Attributes:
        study: Optuna's.
        study_name: its name in the file, unique to everything that decides the values.
        configs: in the order of suggestion.
        duplicates: suggestions that were known already.

    Raises:
        UserError: a distribution that cannot be searched, or a starting point that does not fit the space.
    """

    def __init__(
        self, plan: SearchPlan, group: Group, location: Path, checkpoints: str, retry_failed: bool = False
    ) -> None:
        search = plan.search
        self._plan = plan
        self._group = group
        self._checkpoints = checkpoints
        self._space: Any = search.space
        if not callable(self._space):
            self._space = samplers.distributions(self._space, search.sampler)
        self.study_name = _study_name(plan, group, self._space)
        storage = _open_storage(location)
        trials_before = _count_trials(storage, self.study_name)
        # A sampler that starts anew with the same seed would suggest the same again.
        sampler = samplers.build_sampler(search.sampler, search.sampler_options, seed=trials_before)
        self.study = optuna.create_study(
            storage=storage,
            sampler=sampler,
            pruner=optuna.pruners.NopPruner(),
            study_name=self.study_name,
            directions=["minimize" if mode == "min" else "maximize" for mode in search.modes],
            load_if_exists=True,
        )
        if not trials_before:
            self._enqueue_starts()
        self.configs: list[SuggestedConfig] = []
        self.duplicates = 0
        self._by_config: dict[str, SuggestedConfig] = {}
        self._by_cell: dict[str, SuggestedConfig] = {}
        self._queue: list[tuple[SuggestedConfig, Cell]] = []
        self._repeats = 0
        self._last_error = ""
        self._reopen(storage, retry_failed)

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

    def stepped(self, job: Job, report: dict[str, Any], steps: int) -> None:
        config = self._by_cell.get(job.cell)
        metrics = self._plan.search.metrics
        # Optuna has no intermediate values for several metrics, and one series of them per trial.
        if config is None or config.trial is None or job.seed != self._plan.seeds[0] or len(metrics) > 1:
            return
        value = report.get(metrics[0])
        if value is not None:
            config.trial.report(value, report["iteration"])

    def ended(self, job: Job, record: dict[str, Any]) -> None:
        config = self._by_cell.get(job.cell)
        if config is None:
            return
        config.records[job.cell] = record
        if config.status is None:
            missing = next(cell for cell in config.cells if cell.hash not in config.records)
            self._queue.insert(0, (config, missing))
        else:
            self._report(config)

    def front(self) -> list[str]:
        """Return the names of the variants that no other beats in all metrics."""
        names = [trial.user_attrs.get("variant") for trial in self.study.best_trials]
        return [name for name in names if name is not None]

    def _is_full(self) -> bool:
        return len(self.configs) >= self._plan.trials or self._repeats >= _MAX_REPEATS

    def _enqueue_starts(self) -> None:
        for number, start in enumerate(self._plan.search.starts, start=1):
            if not callable(self._space) and set(start) != set(self._space):
                raise UserError(f"start {number} must set every path of the space: {', '.join(sorted(self._space))}")
            self.study.enqueue_trial(dict(start))

    def _ask(self) -> tuple[optuna.Trial, dict[str, Any]]:
        """Return a new trial of Optuna and the settings that it suggests."""
        if not callable(self._space):
            trial = self.study.ask(fixed_distributions=self._space)
            return trial, trial.params
        trial = self.study.ask()
        further = self._space(trial)
        return trial, {**trial.params, **(further or {})}

    def _suggest(self) -> None:
        """Ask for a config. A config that is known is answered from its cells and costs nothing."""
        trial, settings = self._ask()
        number = len(self.configs)
        try:
            variant = self._variant(number, settings)
        except UserError as error:
            if "unknown config path" in str(error):
                raise
            self._last_error = str(error)
            self._repeats += 1
            self.study.tell(trial, state=TrialState.FAIL)
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
        trial.set_user_attr("settings", settings)
        trial.set_user_attr("variant", variant.name)
        self._add(variant).trial = trial

    def _variant(self, number: int, settings: Mapping[str, Any]) -> Variant:
        return self._plan.variant(self._group, f"{number}: {describe_settings(settings)}", settings)

    def _add(self, variant: Variant) -> SuggestedConfig:
        """Add a config and queue its first cell."""
        seeds = self._plan.seeds
        if self._plan.search.trains_population:
            cells = [self._plan.member(variant, self._group, seeds[0])]
        else:
            cells = [self._plan.cell(variant, seed) for seed in seeds]
        config = SuggestedConfig(len(self.configs), variant, tuple(cells))
        self.configs.append(config)
        self._by_config[_canonical(variant)] = config
        self._by_cell |= {cell.hash: config for cell in cells}
        self._queue.append((config, cells[0]))
        return config

    def _reopen(self, storage: optuna.storages.BaseStorage, retry_failed: bool) -> None:
        """Take over the trials of earlier drivers. Their cells are answered from the results, or run."""
        study_id = storage.get_study_id_from_name(self.study_name)
        for trial in self.study.get_trials(deepcopy=False):
            settings = trial.user_attrs.get("settings")
            if settings is None:
                if trial.state == TrialState.RUNNING:  # its driver died before it noted what the trial became
                    self.study.tell(trial.number, state=TrialState.FAIL)
                continue
            config = self._add(self._variant(len(self.configs), settings))
            if retry_failed and trial.state == TrialState.FAIL:
                config.trial = self._repeat(trial)
            elif not trial.state.is_finished():
                trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, trial.number)
                config.trial = optuna.Trial(self.study, trial_id)

    def _repeat(self, trial: FrozenTrial) -> optuna.Trial:
        """Return a new trial with the parameters of a failed one: the state of an ended trial cannot change."""
        self.study.enqueue_trial(trial.params, user_attrs=trial.user_attrs)
        return self.study.ask(trial.distributions)

    def _report(self, config: SuggestedConfig) -> None:
        """Report a config that has ended to Optuna, for every trial that asked for it."""
        trials = [trial for trial in (config.trial, *config.twins) if trial is not None]
        config.trial = None
        config.twins = []
        for trial in trials:
            self._tell(trial, config)

    def _tell(self, trial: optuna.Trial, config: SuggestedConfig) -> None:
        """Give a trial the outcome of a config. Another driver of the same search may have done so already."""
        search = self._plan.search
        if config.status == "stopped" and len(search.metrics) == 1 and not SAMPLERS[search.sampler].learns_from_pruned:
            # Other samplers ignore pruned trials, and would suggest the same again.
            trial.set_user_attr("stopped", True)
            (record,) = (record for record in config.records.values() if record["status"] == "stopped")
            values = [record.get(search.metrics[0])]
        else:
            values = [config.value(metric) for metric in search.metrics]
        if all(value is not None and math.isfinite(value) for value in values):
            self.study.tell(trial, values, state=TrialState.COMPLETE, skip_if_finished=True)
        elif config.status == "stopped":
            self.study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
        else:
            self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)

    def _moves(self, config: SuggestedConfig) -> Mapping[str, Any]:
        """Return the settings that a population may move, at the values that the config has reached."""
        if not self._plan.search.trains_population:
            return {}
        saved = Checkpoints(self._checkpoints, config.cells[0].hash).read()
        if saved:
            return json.loads(decode_state(saved, torch.device("cpu"))["settings"])
        return {path: config.variant.settings[path] for path in self._space}


def _canonical(variant: Variant) -> str:
    return json.dumps(variant.config.canonical(), sort_keys=True)


def _open_storage(location: Path) -> optuna.storages.RDBStorage:
    """Return the file of Optuna's studies. Two drivers may write to it; SQLite's own locks keep them apart."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    location.parent.mkdir(parents=True, exist_ok=True)
    return optuna.storages.RDBStorage(
        f"sqlite:///{location.resolve()}", engine_kwargs={"connect_args": {"timeout": _LOCK_SECONDS}}
    )


def _count_trials(storage: optuna.storages.RDBStorage, name: str) -> int:
    """Return the number of trials of a study, which may not exist yet."""
    summaries = {summary.study_name: summary for summary in optuna.get_all_study_summaries(storage)}
    return summaries[name].n_trials if name in summaries else 0


def _study_name(plan: SearchPlan, group: Group, space: Any) -> str:
    """Return the name of an Optuna study whose trials may be compared: it covers what decides values, and the space."""
    reference = plan.reference(group)
    identity = {
        "config": reference.config.canonical(),
        "cell": plan.cell(reference, 0).hash,
        "seeds": plan.seeds,
        "metrics": [plan.search.metrics, plan.search.modes],
        "space": _source(space) if callable(space) else {path: repr(value) for path, value in space.items()},
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()[:8]
    label = f" {group.label}" if group.label else ""
    return f"{plan.study}{label} {digest}"


def _source(space: Any) -> str:
    """Return the text of a space that is a function, or its name where the text is not known."""
    try:
        return inspect.getsource(space)
    except OSError:
        return getattr(space, "__qualname__", repr(space))
