"""Each private part of Optuna that raysearch uses, by name."""

import math
from pathlib import Path
from typing import Any

import optuna
import pytest

from raysearch.engine import optuna_internals


def objective(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", -5, 5)
    y = trial.suggest_float("y", 1e-4, 1.0, log=True)
    z = trial.suggest_int("z", 0, 9)
    return (x - 1) ** 2 + math.log10(y) ** 2 + abs(z - 3)


def run(folder: Path, kind: Any, parts: tuple[int, ...], direction: str, **options: Any) -> list[dict[str, float]]:
    """Run trials in parts, each by a new sampler, as separate processes do."""
    storage = f"sqlite:///{folder}/{kind.__module__}.db"
    for seed, count in enumerate(parts):
        sampler = kind(seed=seed, **options)
        study = optuna.create_study(
            storage=storage, study_name="s", sampler=sampler, direction=direction, load_if_exists=True
        )
        study.optimize(objective, n_trials=count)
    return [trial.params for trial in study.trials]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("options", [{}, {"use_separable_cma": True}, {"with_margin": True}, {"lr_adapt": True}])
def test_cma_es_sampler(options: dict[str, Any], direction: str, tmp_path: Path) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    parts = (3, 14, 6)
    ours = run(tmp_path, optuna_internals.CmaEsSampler, parts, direction, **options)
    theirs = run(tmp_path, optuna.samplers.CmaEsSampler, parts, direction, **options)
    # A state that was unpickled has lost what the optimizer had computed beforehand, and rounds it another way.
    assert ours == [pytest.approx(params, rel=1e-6) for params in theirs], "the state does not follow from the trials"
    attributes = [key for trial in _trials(tmp_path, optuna_internals.CmaEsSampler) for key in trial.system_attrs]
    assert not [key for key in attributes if "optimizer" in key], "a pickle was written"
    assert [key for key in attributes if key.endswith("generation")]


def _trials(folder: Path, kind: Any) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="s", storage=f"sqlite:///{folder}/{kind.__module__}.db").trials
