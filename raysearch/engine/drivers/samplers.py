"""Optuna's samplers by the names that a study uses, and Ray Tune's distributions as Optuna's."""

import contextlib
import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from ray.tune.search.optuna import OptunaSearch
from ray.tune.search.sample import Categorical, Domain, LogUniform, Quantized

from raysearch.core.errors import UserError, nearest


class GridSampler(optuna.samplers.BruteForceSampler):
    """Every combination once. Asked outside `Study.optimize` it would raise at the last one."""

    def after_trial(
        self,
        study: optuna.Study,
        trial: optuna.trial.FrozenTrial,
        state: optuna.trial.TrialState,
        values: Sequence[float] | None,
    ) -> None:
        with contextlib.suppress(RuntimeError):
            super().after_trial(study, trial, state, values)


_SAMPLERS: dict[str, type[optuna.samplers.BaseSampler]] = {
    "tpe": optuna.samplers.TPESampler,
    "gp": optuna.samplers.GPSampler,
    "cmaes": optuna.samplers.CmaEsSampler,
    "nsga2": optuna.samplers.NSGAIISampler,
    "nsga3": optuna.samplers.NSGAIIISampler,
    "qmc": optuna.samplers.QMCSampler,
    "random": optuna.samplers.RandomSampler,
    "grid": GridSampler,
}


def build_sampler(name: str, options: Mapping[str, Any], seed: int) -> optuna.samplers.BaseSampler:
    """A sampler of Optuna by name.

    Args:
        name: one of `studies.search.SAMPLERS`.
        options: of its constructor, as the study says; a "seed" there counts instead of `seed`.
        seed: of its randomness.

    Raises:
        UserError: an option that the sampler does not have.
    """
    kind = _SAMPLERS[name]
    known = [option for option in inspect.signature(kind.__init__).parameters if option != "self"]
    for option in options:
        if option not in known:
            raise UserError(f"sampler '{name}' has no option '{option}'{nearest(option, known)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return kind(**({"seed": seed} | dict(options)))


def distributions(space: Mapping[str, Any], sampler: str) -> dict[str, BaseDistribution]:
    """A space of Ray Tune distributions as Optuna's.

    Raises:
        UserError: a value that is no distribution, or a distribution that Optuna or the sampler cannot take as it is.
    """
    for path, domain in space.items():
        if not isinstance(domain, Domain):
            raise UserError(
                f"space: '{path}' is no distribution of Ray Tune, as tune.loguniform(1e-4, 1e-1); a constant belongs "
                "into base, and a list of values into tune.choice"
            )
        drawn = domain.get_sampler()
        # Ray drops the quantisation with a warning; what is searched would not be what was asked.
        if isinstance(drawn, Quantized) and isinstance(drawn.sampler, LogUniform):
            raise UserError(f"space: '{path}' is both logarithmic and quantised, which Optuna cannot do")
        if isinstance(domain, Categorical):
            for choice in domain.categories:
                if choice is not None and not isinstance(choice, bool | int | float | str):
                    raise UserError(f"space: '{path}' offers {choice!r}; a choice is a number, a text, a truth or None")
    try:
        found = OptunaSearch.convert_search_space(dict(space))
    except ValueError as error:
        raise UserError(f"space: {error}") from None
    for path, one in found.items():
        if sampler == "grid" and isinstance(one, FloatDistribution) and one.step is None:
            raise UserError(f"space: sampler 'grid' needs steps or choices, and '{path}' is continuous")
    return found
