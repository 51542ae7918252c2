"""The Optuna study of one group of a search, in a file beside the run, used by Optuna's public ask and tell.

optuna-dashboard opens the file. Each trial that became a config holds its settings, so that another driver can
continue.
"""

import contextlib
import hashlib
import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from raysearch.core import UserError
from raysearch.engine.drivers import optuna_storage, samplers
from raysearch.engine.drivers.earlier_configs import KnownConfig
from raysearch.engine.drivers.learning import learned_trials
from raysearch.engine.drivers.learning.known_configs import Knowledge, LearnedConfig
from raysearch.engine.drivers.space import SearchSpace
from raysearch.studies.design import Group, SearchPlan
from raysearch.studies.design.search_methods import SAMPLERS

_TIMED_ON = "timed on"  # user attribute of the study


class OptunaStudy:
    """Suggests settings, and takes the outcome of each suggestion.

    The cells are the record. A file of trials that is missing, or of no use, is made anew from the configs that are
    known. Trials outside of the space, whose function may have changed, are left in a study of their own.

    Args:
        plan: the search's plan.
        group: the group to search.
        location: the file of Optuna's studies.
        known: returns the configs that a file without trials should have.
        report: shows the user what was done to the file.
        learn: returns what other runs know. It is asked before the first trial only.

    Attributes:
        learned: what was learned in this call; None if the search had begun before.
        name: the study's name in the file. It covers everything that decides the values.
        study: Optuna's own object.

    Raises:
        UserError: a distribution that cannot be searched, a starting point that does not fit the space, or a file that
            cannot be written.
    """

    def __init__(
        self,
        plan: SearchPlan,
        group: Group,
        location: Path,
        known: Callable[[], Sequence[KnownConfig]] = tuple,
        report: Callable[[str], object] = lambda message: None,
        learn: Callable[[SearchSpace], Knowledge] = lambda space: Knowledge(),
    ) -> None:
        search = plan.search
        self._search = search
        self._location = location
        self._space = SearchSpace(search)
        with optuna_storage.locked(location):
            is_new = not location.exists()
            self._storage, aside = optuna_storage.open_storage(location)
            with self._errors():
                self.name, trials = self._choose_name(_study_names(plan, group, self._space))
                own = [trial for trial in trials if not learned_trials.is_learned(trial)]
                self.learned = None if own else learn(self._space)
                restored = [] if own else self._restorable(known())
                # A sampler that starts anew with the same seed would suggest the same again.
                sampler = samplers.build_sampler(search.sampler, search.sampler_options, seed=len(own) or len(restored))
                self.study = optuna.create_study(
                    storage=self._storage,
                    sampler=sampler,
                    pruner=optuna.pruners.NopPruner(),
                    study_name=self.name,
                    directions=["minimize" if mode == "min" else "maximize" for mode in search.modes],
                    load_if_exists=True,
                )
                _name_metrics(self.study, search.metrics)
                if self.learned is not None:
                    self._begin(self.learned.configs, restored)
        where = f" of {group.label}" if group.label else ""
        if aside is not None:
            report(f"{location.name} was put aside as {aside.path.name}, {aside.reason}")
        if restored:
            state = "missing" if is_new else "without them"
            reason = "" if aside is not None else f"; {location.name} was {state}"
            report(f"{len(restored)} trials{where} were made anew from the cells{reason}")

    def ask(self) -> tuple[optuna.Trial, dict[str, Any]]:
        """Return a new trial and the settings that it suggests: dotted path -> value."""
        with self._errors():
            return self._space.ask(self.study)

    def note(self, trial: optuna.Trial, settings: dict[str, Any], variant: str) -> None:
        """Write what a trial became, so that another driver can continue it.

        Args:
            trial: a trial from `ask`.
            settings: the settings of the trial.
            variant: the config's name.
        """
        with self._errors():
            trial.set_user_attr("settings", settings)
            trial.set_user_attr("variant", variant)

    def report(self, trial: optuna.Trial, value: float, step: int) -> None:
        """Report a metric of a config that is running."""
        with self._errors():
            trial.report(value, step)

    def tell(self, trial: optuna.Trial, values: Sequence[float | None]) -> None:
        """Report the metrics of a config that has ended; a missing or infinite one makes the trial a failure.

        Another driver of the same search may have reported the trial already; its report stays.
        """
        with self._errors():
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
        with self._errors():
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
                self.abandon(trial)

    def abandon(self, trial: FrozenTrial) -> None:
        """Report an earlier trial that cannot be continued as a failure."""
        with self._errors():
            self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)

    def resume(self, trial: FrozenTrial) -> optuna.Trial:
        """Return an earlier trial that has not been reported, so that it can be."""
        study_id = self._storage.get_study_id_from_name(self.name)
        return optuna.Trial(self.study, self._storage.get_trial_id_from_study_id_trial_number(study_id, trial.number))

    def repeat(self, trial: FrozenTrial) -> optuna.Trial:
        """Return a new trial with the parameters of a failed one: the state of an ended trial cannot change."""
        self.study.enqueue_trial(trial.params, user_attrs=trial.user_attrs)
        return self.study.ask(trial.distributions)

    def timed_on(self) -> str | None:
        """Return the device on which the times of this study are compared; None before a cell has finished."""
        return self.study.user_attrs.get(_TIMED_ON)

    def fix_timed_on(self, device: str) -> str:
        """Note the device on which times are compared, unless another driver did; return the one that is noted."""
        with self._errors():
            noted = self.timed_on()
            if noted is None:
                self.study.set_user_attr(_TIMED_ON, device)
        return noted or device

    def front(self) -> list[str]:
        """Return the names of the variants that no other beats in all metrics."""
        names = [trial.user_attrs.get("variant") for trial in self.study.best_trials]
        return [name for name in names if name is not None]

    def _errors(self) -> contextlib.AbstractContextManager[None]:
        return optuna_storage.errors_in_one_line(self._location)

    def _choose_name(self, names: Sequence[str]) -> tuple[str, list[FrozenTrial]]:
        """Return the name of the study to continue, and its trials, which are inside of the space; none if it is new.

        Args:
            names: the study's name, and names that older versions gave.
        """
        existing = set(optuna.get_all_study_names(self._storage))
        further = (f"{names[0]} {number}" for number in range(2, len(existing) + 3))
        candidates = [*names, *further]
        for name in candidates:
            if name in existing:
                study_id = self._storage.get_study_id_from_name(name)
                trials = self._storage.get_all_trials(study_id, deepcopy=False)
                if all(self._space.holds(trial) for trial in trials):
                    return name, trials
        return next(name for name in candidates if name not in existing and name not in names[1:]), []

    def _restorable(self, known: Sequence[KnownConfig]) -> list[FrozenTrial]:
        """Return configs as trials that have not been reported, for what is inside of the space."""
        trials: list[FrozenTrial] = []
        for config in known:
            settings = dict(config.settings)
            try:
                distributions = self._space.locate(settings, len(trials))
            except AttributeError:
                continue
            if distributions is not None:
                trials.append(
                    optuna.trial.create_trial(
                        state=TrialState.RUNNING,
                        params={path: settings[path] for path in distributions},
                        distributions=distributions,
                        user_attrs={"settings": settings, "variant": config.variant},
                        intermediate_values=dict(config.reports),
                    )
                )
        return trials

    def _begin(self, learned: Sequence[LearnedConfig], restored: Sequence[FrozenTrial]) -> None:
        """Add the first trials: what is learned, then what is restored or, in a new search, what is tried first."""
        search = self._search
        known_first = [dict(config.settings) for config in learned_trials.first_suggestions(learned, search.modes)]
        starts = [trial.user_attrs["settings"] for trial in restored] or [*known_first, *self._starts(known_first)]
        learned_trials.add_trials(self.study, search, self._space, learned, starts)
        for trial, settings in zip(restored, starts, strict=False):
            for name, value in learned_trials.find_note(learned, settings, search.metrics[0]).items():
                trial.set_user_attr(name, value)
            self.study.add_trial(trial)
        for settings in [] if restored else starts:
            self.study.enqueue_trial(
                settings, user_attrs=learned_trials.find_note(learned, settings, search.metrics[0])
            )

    def _starts(self, known: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the starting points of the search that are not known."""
        space = self._space.distributions
        for number, start in enumerate(self._search.starts, start=1):
            if space and set(start) != set(space):
                raise UserError(f"start {number} must set every path of the space: {', '.join(sorted(space))}")
        return [dict(start) for start in self._search.starts if start not in known]


def _name_metrics(study: optuna.Study, metrics: Sequence[str]) -> None:
    """Write the names of the metrics beside the values, for optuna-dashboard."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(list(metrics))


def _all_finite(values: Sequence[float | None]) -> bool:
    return all(value is not None and math.isfinite(value) for value in values)


def _study_names(plan: SearchPlan, group: Group, space: SearchSpace) -> list[str]:
    """Return names of an Optuna study whose trials may be compared: they cover what decides values, and the space.

    The first is the name; the others are those that older versions gave.
    """
    reference = plan.reference(group)
    identity = {
        "config": reference.config.canonical(),
        "cell": plan.cell(reference, 0).hash,
        "seeds": plan.seeds,
        "metrics": [plan.search.metrics, plan.search.modes],
    }
    label = f" {group.label}" if group.label else ""
    names = []
    for space_identity in space.identities():
        text = json.dumps({**identity, "space": space_identity}, sort_keys=True, default=str)
        names.append(f"{plan.study}{label} {hashlib.sha256(text.encode()).hexdigest()[:8]}")
    return names
