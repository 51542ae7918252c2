"""The configs that Optuna suggests, as jobs; and what became of them, as what Optuna is told.

Every suggestion is a trial of an Optuna study that lies beside the run, in a file that optuna-dashboard opens, with the
config it became. The cells stay the record: what the file says of a trial follows from its cells, and a trial that was
suggested and not told when a driver died is run, or answered, again.
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
from ray.tune.result import TRAINING_ITERATION
from ray.tune.search.optuna import OptunaSearch

from raysearch.core.errors import UserError
from raysearch.engine.drivers import samplers, session
from raysearch.engine.trials.jobs import Job, Listener
from raysearch.runs.checkpoints import Checkpoints, decode_state
from raysearch.studies.design.plan import Cell, Variant
from raysearch.studies.design.search_plan import Group, SearchPlan, describe_settings

_SERIES = "searched"  # label of metrics of a search that has no groups
_SAME_AGAIN = 100  # suggestions in a row that were known already: the space is exhausted


@dataclass
class SuggestedConfig:
    """A suggestion: a variant with its cells, one a seed, and what has come of them."""

    number: int  # in the order of suggestion
    variant: Variant
    key: str  # the canonical config
    cells: tuple[Cell, ...]
    told: bool = False  # Optuna knows its value
    twins: list[str] = field(default_factory=list)  # Optuna's trials that asked for the same config meanwhile
    records: dict[str, dict[str, Any]] = field(default_factory=dict)  # cell -> record

    @property
    def status(self) -> str | None:
        """ "finished", "failed", "stopped", or None while it is open."""
        statuses = [record["status"] for record in self.records.values()]
        for status in ("failed", "stopped"):
            if status in statuses:
                return status
        return "finished" if len(statuses) == len(self.cells) else None

    def value(self, metric: str) -> float | None:
        """Mean over the seeds, of a finished config."""
        if self.status != "finished":
            return None
        values = [record.get(metric) for record in self.records.values()]
        numbers = [value for value in values if value is not None and math.isfinite(value)]
        return sum(numbers) / len(numbers) if len(numbers) == len(values) else None


class Suggestions(Listener):
    """Jobs of one group of a search; hears what becomes of them.

    Args:
        plan: what the cells are made from.
        group: of the search.
        location: file of the Optuna study.
        checkpoints: path or URI of the run's checkpoints, where a population's members say how far they moved.
        retry_failed: give configs that failed before another chance.
    """

    def __init__(
        self, plan: SearchPlan, group: Group, location: Path, checkpoints: str, retry_failed: bool = False
    ) -> None:
        search = plan.search
        self._plan, self._group, self._checkpoints = plan, group, checkpoints
        self._last_error = ""
        space: Any = search.space
        if not callable(space):
            space = samplers.distributions(space, search.sampler)
        self.study_name = _study_name(plan, group, space)
        storage = _storage(location)
        before = _count(storage, self.study_name)
        several = len(search.metrics) > 1
        self._optuna = OptunaSearch(
            space=space,
            metric=search.metrics if several else search.metrics[0],
            mode=search.modes if several else search.modes[0],
            # A sampler that begins anew with the same seed would suggest the same again.
            sampler=samplers.build_sampler(search.sampler, search.sampler_options, seed=before),
            study_name=self.study_name,
            storage=storage,
            points_to_evaluate=[dict(start) for start in search.starts] if not before else None,
        )
        self._study: optuna.Study = self._optuna._ot_study
        self.configs: list[SuggestedConfig] = []
        self._by_key: dict[str, SuggestedConfig] = {}
        self._by_cell: dict[str, SuggestedConfig] = {}
        self._queue: list[tuple[SuggestedConfig, Cell]] = []
        self._asked, self._same, self.duplicates = 0, 0, 0
        self._reopen(retry_failed)

    def next(self) -> Job | None:
        """The next seed of a config that goes well, or the first of a new one."""
        while not self._queue:
            if self._full():
                return None
            self._suggest()
        config, cell = self._queue.pop(0)
        # A time series for each config would be too many: they share one.
        return replace(session.make_job(cell, self._moves(config)), series=self._group.label or _SERIES)

    def exhausted(self) -> bool:
        if self._same >= _SAME_AGAIN and not self.configs:
            raise UserError(f"no suggestion could be run: {self._last_error}")
        return self._full() and not self._queue and all(config.status for config in self.configs)

    def stepped(self, job: Job, report: dict[str, Any], steps: int) -> None:
        config = self._by_cell.get(job.cell)
        if config is None or config.told or job.seed != self._plan.seeds[0]:
            return
        metric = self._plan.search.metrics[0]
        if report.get(metric) is not None:
            self._optuna.on_trial_result(
                _key(config), {metric: report[metric], TRAINING_ITERATION: report["iteration"]}
            )

    def ended(self, job: Job, record: dict[str, Any]) -> None:
        config = self._by_cell.get(job.cell)
        if config is None:
            return
        config.records[job.cell] = record
        left = [cell for cell in config.cells if cell.hash not in config.records]
        if config.status is None:
            self._queue.insert(0, (config, left[0]))
        else:
            self._tell(config)

    def front(self) -> list[str]:
        """Names of the variants that no other beats in all metrics."""
        names = [trial.user_attrs.get("variant") for trial in self._study.best_trials]
        return [name for name in names if name is not None]

    def _full(self) -> bool:
        return len(self.configs) >= self._plan.trials or self._same >= _SAME_AGAIN

    def _suggest(self) -> None:
        """Ask for a config. One that is known is answered from what is known of it and costs nothing."""
        key = f"ask-{self._asked}"
        self._asked += 1
        settings = dict(self._optuna.suggest(key))
        number = len(self.configs)
        try:
            variant = self._plan.variant(self._group, f"{number}: {describe_settings(settings)}", settings)
        except UserError as error:
            if "unknown config path" in str(error):
                raise
            self._last_error = str(error)
            self._same += 1
            self._optuna.on_trial_complete(key, error=True)
            return
        canonical = json.dumps(variant.config.canonical(), sort_keys=True)
        known = None if self._plan.search.scheduler == "pbt" else self._by_key.get(canonical)
        if known is not None:
            self._same += 1
            self.duplicates += 1
            if known.status is None:
                known.twins.append(key)
            else:
                self._report(key, known)
            return
        self._same = 0
        trial = self._optuna._ot_trials[key]
        trial.set_user_attr("settings", settings)
        trial.set_user_attr("variant", variant.name)
        self._optuna._ot_trials[f"config-{number}"] = self._optuna._ot_trials.pop(key)
        self._add(number, variant, canonical)

    def _add(self, number: int, variant: Variant, canonical: str) -> SuggestedConfig:
        if self._plan.search.scheduler == "pbt":
            cells = [self._plan.member(variant, self._group, self._plan.seeds[0])]
        else:
            cells = [self._plan.cell(variant, seed) for seed in self._plan.seeds]
        config = SuggestedConfig(number, variant, canonical, tuple(cells))
        self.configs.append(config)
        self._by_key[canonical] = config
        self._by_cell |= {cell.hash: config for cell in cells}
        self._queue.append((config, cells[0]))
        return config

    def _reopen(self, retry_failed: bool) -> None:
        """Take up the trials of earlier drivers: their cells are answered from the results, or run."""
        for trial in self._study.get_trials(deepcopy=False):
            settings = trial.user_attrs.get("settings")
            if settings is None:
                if trial.state == TrialState.RUNNING:  # killed between the suggestion and the note of what it became
                    self._study.tell(trial.number, state=TrialState.FAIL)
                continue
            number = len(self.configs)
            variant = self._plan.variant(self._group, f"{number}: {describe_settings(settings)}", settings)
            config = self._add(number, variant, json.dumps(variant.config.canonical(), sort_keys=True))
            again = retry_failed and trial.state == TrialState.FAIL
            config.told = trial.state.is_finished() and not again
            if again:
                self._optuna._ot_trials[_key(config)] = self._again(trial)
            elif not config.told:
                self._optuna._ot_trials[_key(config)] = optuna.trial.Trial(self._study, trial._trial_id)

    def _again(self, trial: FrozenTrial) -> optuna.trial.Trial:
        """A failed trial's parameters in a new trial: a trial that was told stays as it is."""
        self._study.enqueue_trial(trial.params, user_attrs=trial.user_attrs)
        return self._study.ask(trial.distributions)

    def _tell(self, config: SuggestedConfig) -> None:
        keys = ([] if config.told else [_key(config)]) + config.twins
        config.told, config.twins = True, []
        for key in keys:
            self._report(key, config)

    def _report(self, key: str, config: SuggestedConfig) -> None:
        """What Optuna is told of a config that has ended: its metrics, that it was stopped, or that it failed."""
        metrics = self._plan.search.metrics
        if config.status == "stopped" and self._plan.search.sampler != "tpe" and len(metrics) == 1:
            # Other samplers do not look at pruned trials, and would suggest the same again.
            self._optuna._ot_trials[key].set_user_attr("stopped", True)
            (record,) = (one for one in config.records.values() if one["status"] == "stopped")
            self._optuna.on_trial_complete(key, {metrics[0]: record.get(metrics[0])})
            return
        values = {metric: config.value(metric) for metric in metrics}
        complete = all(value is not None for value in values.values())
        failed = config.status == "failed" or (config.status == "finished" and not complete)
        self._optuna.on_trial_complete(key, values if complete else None, error=failed)

    def _moves(self, config: SuggestedConfig) -> Mapping[str, Any]:
        """What a population may change in a config, and where it had moved it when a driver died."""
        if self._plan.search.scheduler != "pbt":
            return {}
        initial = {path: config.variant.settings[path] for path in self._plan.search.space}  # type: ignore[union-attr]
        saved = Checkpoints(self._checkpoints, config.cells[0].hash).read()
        return json.loads(decode_state(saved, torch.device("cpu"))["settings"]) if saved else initial


def _key(config: SuggestedConfig) -> str:
    return f"config-{config.number}"


def _storage(location: Path) -> optuna.storages.RDBStorage:
    """The file of Optuna's studies. Two drivers may write to it; SQLite's own locks keep them apart."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    location.parent.mkdir(parents=True, exist_ok=True)
    return optuna.storages.RDBStorage(
        f"sqlite:///{location.resolve()}", engine_kwargs={"connect_args": {"timeout": 60}}
    )


def _count(storage: optuna.storages.RDBStorage, name: str) -> int:
    """Trials of a study that may not be there yet."""
    summaries = {summary.study_name: summary for summary in optuna.get_all_study_summaries(storage)}
    return summaries[name].n_trials if name in summaries else 0


def _study_name(plan: SearchPlan, group: Group, space: Any) -> str:
    """Of a study whose trials may be compared: what decides their values, and the space, are part of it."""
    reference = plan.reference(group)
    decides = {
        "config": reference.config.canonical(),
        "cell": plan.cell(reference, 0).hash,
        "seeds": plan.seeds,
        "metrics": [plan.search.metrics, plan.search.modes],
        "space": _source(space) if callable(space) else {path: repr(one) for path, one in space.items()},
    }
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True, default=str).encode()).hexdigest()[:8]
    label = f" {group.label}" if group.label else ""
    return f"{plan.study}{label} {digest}"


def _source(space: Any) -> str:
    """The text of a space that is a function; its name, where it has no text."""
    try:
        return inspect.getsource(space)
    except OSError:
        return getattr(space, "__qualname__", repr(space))
