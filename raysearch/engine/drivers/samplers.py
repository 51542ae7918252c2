"""Optuna's samplers as a study names them, and Ray Tune's distributions as Optuna's."""

import contextlib
import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler
from ray.tune.search.optuna import OptunaSearch
from ray.tune.search.sample import Categorical, Domain, LogUniform, Quantized

from raysearch.core import UserError, nearest
from raysearch.studies.design.search_methods import SAMPLERS


class GridSampler(optuna.samplers.BruteForceSampler):
    """Every combination once. Optuna's own stops `Study.optimize` after the last one, and raises outside of it."""

    def after_trial(
        self,
        study: optuna.Study,
        trial: optuna.trial.FrozenTrial,
        state: optuna.trial.TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Record a trial's end as Optuna does, without the error that it raises after the last combination."""
        with contextlib.suppress(RuntimeError):
            super().after_trial(study, trial, state, values)


def build_sampler(name: str, options: Mapping[str, Any], seed: int) -> BaseSampler:
    """Return a new sampler.

    Args:
        name: a name in `SAMPLERS`.
        options: keyword arguments of its constructor; a "seed" among them replaces `seed`.
        seed: the sampler's seed.

    Raises:
        UserError: unknown name, or an option that the sampler does not have.
    """
    build = SAMPLERS[name].load_build()
    known = list(inspect.signature(build).parameters)
    for option in options:
        if option not in known:
            raise UserError(f"sampler '{name}' has no option '{option}'{nearest(option, known)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return build(**({"seed": seed} | dict(options)))


def distributions(space: Mapping[str, Any], sampler_name: str) -> dict[str, BaseDistribution]:
    """Return a space of Ray Tune distributions as Optuna's.

    Args:
        space: config path -> Ray Tune distribution.
        sampler_name: a name in `SAMPLERS`.

    Raises:
        UserError: a value that is not a distribution, or a distribution that Optuna or the sampler cannot use.
    """
    for path, domain in space.items():
        _check_domain(path, domain)
    try:
        converted = OptunaSearch.convert_search_space(dict(space))
    except ValueError as error:
        raise UserError(f"space: {error}") from None
    if SAMPLERS[sampler_name].needs_finite_space:
        for path, distribution in converted.items():
            if isinstance(distribution, FloatDistribution) and distribution.step is None:
                raise UserError(
                    f"space: sampler '{sampler_name}' needs steps or choices, and '{path}' is continuous; "
                    "use tune.quniform or tune.choice"
                )
    return converted


def _check_domain(path: str, domain: object) -> None:
    if not isinstance(domain, Domain):
        raise UserError(
            f"space: '{path}' is not a distribution of Ray Tune, such as tune.loguniform(1e-4, 1e-1); put a constant "
            "into base, and a list of values into tune.choice"
        )
    drawn = domain.get_sampler()
    # Ray drops the quantization with a warning. The search would not be the one that was asked for.
    if isinstance(drawn, Quantized) and isinstance(drawn.sampler, LogUniform):
        raise UserError(f"space: '{path}' is both logarithmic and quantized, which Optuna cannot do; use one of them")
    if isinstance(domain, Categorical):
        for category in domain.categories:
            if category is not None and not isinstance(category, bool | int | float | str):
                raise UserError(
                    f"space: '{path}' offers {category!r}; a choice is a number, a string, True, False or None"
                )
