"""Everything of Optuna that raysearch uses although Optuna does not document it.

Each part has a test in `tests/engine/test_optuna_internals.py` that fails by name when a new version of Optuna changes
it. No other module uses private names of Optuna.
"""

import copy
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial


class CmaEsSampler(optuna.samplers.CmaEsSampler):
    """CMA-ES whose state is computed from the trials, and never read from the file of the studies.

    Optuna's own sampler writes its state into that file as a pickle, and unpickles it before each suggestion. Whoever
    may write to a run directory could have code executed so. Here the finished generations are given to a new optimizer
    in the order in which their trials ended. Its suggestions are those of Optuna's sampler, number for number, if the
    trials run one at a time.
    """

    _trials: Sequence[FrozenTrial] = ()
    _state: Any = None  # the optimizer after the generations that this process has seen end
    _bounds: Any = None  # of the space that the state is for

    def _restore_optimizer(self, completed_trials: list[FrozenTrial]) -> None:
        """Restore nothing, so that Optuna asks `_init_optimizer` next."""
        self._trials = completed_trials

    def _init_optimizer(self, trans: Any, direction: StudyDirection) -> Any:
        """Return an optimizer that knows all generations that have ended."""
        generator = self._cma_rng.rng
        before = generator.get_state()
        if self._state is not None and np.array_equal(self._bounds, trans.bounds):
            optimizer = copy.deepcopy(self._state)
        else:
            optimizer = super()._init_optimizer(trans, direction)
        self._tell_generations(optimizer, trans, direction)
        if optimizer.generation:
            self._state = copy.deepcopy(optimizer)
            self._bounds = trans.bounds.copy()
        generations = [trial.system_attrs.get(self._attr_key_generation) for trial in self._trials]
        if any(isinstance(number, int) and number > 0 for number in generations):
            generator.set_state(before)  # Optuna's sampler would restore its optimizer here, which takes no seed
        return optimizer

    def _tell_generations(self, optimizer: Any, trans: Any, direction: StudyDirection) -> None:
        sign = 1 if direction == StudyDirection.MINIMIZE else -1
        size = optimizer.population_size
        # A trial that ends late, after its generation is full, must not change that generation.
        ended = sorted(self._trials, key=lambda trial: trial.datetime_complete or datetime.max)
        while len(trials := self._get_solution_trials(ended, optimizer.generation)) >= size:
            trials = sorted(trials[:size], key=lambda trial: trial.number)
            optimizer.tell([(self._point(trial, trans), sign * float(trial.value or 0.0)) for trial in trials])

    def _point(self, trial: FrozenTrial, trans: Any) -> np.ndarray:
        """Return a trial's point in the optimizer's space. With margins that is not quite the point that was run."""
        noted = trial.system_attrs.get("x_for_tell") if self._with_margin else None
        if isinstance(noted, list) and len(noted) == len(trans.bounds):
            return np.array(noted, dtype=float)
        return trans.transform(trial.params)
