"""The Optuna study of one group of a search, in a file beside the run, used by Optuna's public ask and tell.

optuna-dashboard opens the file. Each trial that became a config holds its settings, so that another driver can
continue.
"""

import hashlib
import inspect
import json
import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from raysearch.core import UserError
from raysearch.engine.drivers import samplers
from raysearch.studies.design import Group, SearchPlan
from raysearch.studies.design.search_methods import SAMPLERS

_LOCK_SECONDS = 60  # how long SQLite waits for another driver


class OptunaStudy:
    """Suggests settings, and takes the outcome of each suggestion.

    Args:
        plan: the search's plan.
        group: the group to search.
        location: the file of Optuna's studies.

    Attributes:
        name: the study's name in the file. It covers everything that decides the values.
        study: Optuna's own object.

    Raises:
        UserError: a distribution that cannot be searched, or a starting point that does not fit the space.
    """

    def __init__(self, plan: SearchPlan, group: Group, location: Path) -> None:
        search = plan.search
        self._search = search
        self._space: Any = search.space
        if not callable(self._space):
            self._space = samplers.distributions(self._space, search.sampler)
        self.name = _study_name(plan, group, self._space)
        self._storage = _open_storage(location)
        trials_before = _count_trials(self._storage, self.name)
        # A sampler that starts anew with the same seed would suggest the same again.
        sampler = samplers.build_sampler(search.sampler, search.sampler_options, seed=trials_before)
        self.study = optuna.create_study(
            storage=self._storage,
            sampler=sampler,
            pruner=optuna.pruners.NopPruner(),
            study_name=self.name,
            directions=["minimize" if mode == "min" else "maximize" for mode in search.modes],
            load_if_exists=True,
        )
        _name_metrics(self.study, search.metrics)
        if not trials_before:
            self._enqueue_starts()

    def ask(self) -> tuple[optuna.Trial, dict[str, Any]]:
        """Return a new trial and the settings that it suggests: dotted path -> value."""
        if not callable(self._space):
            trial = self.study.ask(fixed_distributions=self._space)
            return trial, trial.params
        trial = self.study.ask()
        further = self._space(trial)
        return trial, {**trial.params, **(further or {})}

    def note(self, trial: optuna.Trial, settings: dict[str, Any], variant: str) -> None:
        """Write what a trial became, so that another driver can continue it.

        Args:
            trial: a trial from `ask`.
            settings: the settings of the trial.
            variant: the config's name.
        """
        trial.set_user_attr("settings", settings)
        trial.set_user_attr("variant", variant)

    def tell(self, trial: optuna.Trial, values: Sequence[float | None]) -> None:
        """Report the metrics of a config that has ended; a missing or infinite one makes the trial a failure.

        Another driver of the same search may have reported the trial already; its report stays.
        """
        if _all_finite(values):
            self.study.tell(trial, values, state=TrialState.COMPLETE, skip_if_finished=True)
        else:
            self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)

    def tell_stopped(self, trial: optuna.Trial, last_value: float | None) -> None:
        """Report a config that a scheduler stopped.

        Args:
            trial: a trial from `ask`.
            last_value: the last value of the first metric.
        """
        if len(self._search.metrics) == 1 and not SAMPLERS[self._search.sampler].learns_from_pruned:
            # Such samplers ignore pruned trials, and would suggest the same again.
            trial.set_user_attr("stopped", True)
            if _all_finite([last_value]):
                self.study.tell(trial, last_value, state=TrialState.COMPLETE, skip_if_finished=True)
                return
        self.study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)

    def earlier_trials(self) -> Iterator[tuple[FrozenTrial, dict[str, Any]]]:
        """Yield the trials of earlier drivers with the settings that they suggested.

        A trial whose driver died before it noted what the trial became is reported as a failure, and left out.
        """
        for trial in self.study.get_trials(deepcopy=False):
            settings = trial.user_attrs.get("settings")
            if settings is not None:
                yield trial, settings
            elif trial.state == TrialState.RUNNING:
                self.study.tell(trial.number, state=TrialState.FAIL)

    def resume(self, trial: FrozenTrial) -> optuna.Trial:
        """Return an earlier trial that has not been reported, so that it can be."""
        study_id = self._storage.get_study_id_from_name(self.name)
        return optuna.Trial(self.study, self._storage.get_trial_id_from_study_id_trial_number(study_id, trial.number))

    def repeat(self, trial: FrozenTrial) -> optuna.Trial:
        """Return a new trial with the parameters of a failed one: the state of an ended trial cannot change."""
        self.study.enqueue_trial(trial.params, user_attrs=trial.user_attrs)
        return self.study.ask(trial.distributions)

    def front(self) -> list[str]:
        """Return the names of the variants that no other beats in all metrics."""
        names = [trial.user_attrs.get("variant") for trial in self.study.best_trials]
        return [name for name in names if name is not None]

    def _enqueue_starts(self) -> None:
        for number, start in enumerate(self._search.starts, start=1):
            if not callable(self._space) and set(start) != set(self._space):
                raise UserError(f"start {number} must set every path of the space: {', '.join(sorted(self._space))}")
            self.study.enqueue_trial(dict(start))


def _name_metrics(study: optuna.Study, metrics: Sequence[str]) -> None:
    """Write the names of the metrics beside the values, for optuna-dashboard."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(list(metrics))


def _all_finite(values: Sequence[float | None]) -> bool:
    return all(value is not None and math.isfinite(value) for value in values)


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
