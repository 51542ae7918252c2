"""How much each parameter decided: Optuna's importances, of a study put together again from the results."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from dashboards.search.space import logarithmic, numeric
from dashboards.search.view import Config, SearchView

FEWEST = 8  # finished configs below which a share would say more about chance than about a parameter


def importances(run: SearchView, metric: str, group: str) -> dict[str, float]:
    """Parameter -> share of what the finished configs of a group differ by; the shares add up to 1.

    Parameters that not every config has cannot be weighed by Optuna and are left out. Empty with fewer than eight
    finished configs, or where Optuna refuses.
    """
    configs = [one for one in run.of(group) if one.status == "finished" and one.values[metric] is not None]
    paths = [path for path in run.paths if all(path in one.settings for one in configs)]
    spread = {json.dumps(one.values[metric]) for one in configs}
    if len(configs) < FEWEST or not paths or len(spread) < 2:
        return {}
    distributions = {path: _distribution(run, path, [one.settings[path] for one in configs]) for path in paths}
    with _quiet():
        study = optuna.create_study(direction="maximize" if run.modes[metric] == "max" else "minimize")
        study.add_trials([_trial(one, metric, distributions) for one in configs])
        try:
            return dict(optuna.importance.get_param_importances(study))
        except (ValueError, RuntimeError):
            return {}


def _trial(one: Config, metric: str, distributions: dict[str, BaseDistribution]) -> optuna.trial.FrozenTrial:
    settings = {path: _choice(one.settings[path], known) for path, known in distributions.items()}
    return optuna.trial.create_trial(params=settings, distributions=distributions, value=one.values[metric])


def _distribution(run: SearchView, path: str, levels: Sequence[Any]) -> BaseDistribution:
    """As wide as the values, which is all that results tell of a space."""
    if not numeric(levels):
        return CategoricalDistribution(sorted({json.dumps(level) for level in levels}))
    log = logarithmic(run, path, levels)
    if all(isinstance(level, int) for level in levels):
        return IntDistribution(int(min(levels)), int(max(levels)), log=log)
    return FloatDistribution(float(min(levels)), float(max(levels)), log=log)


def _choice(level: Any, known: BaseDistribution) -> Any:
    return json.dumps(level) if isinstance(known, CategoricalDistribution) else level


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna announces every study that is created, and warns of what is experimental in it."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
