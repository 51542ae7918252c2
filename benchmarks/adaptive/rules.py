"""The rule of adaptive studies in plain numpy, for thousands of studies at a time, beside its alternatives.

This is a second writing, from the description of the rule: it shares no code with raysearch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

LOOKS = (3, 5, 8, 12, 20)
LEVEL = 0.05
WITHIN = 2  # the verdict "within margin"; the others are signs of the difference, and 0


@dataclass(frozen=True)
class Outcome:
    """The ends of simulated studies; every array is (studies, variants).

    Attributes:
        verdicts: 1 above the reference, -1 below, 0 undecided, 2 within the margin.
        seeds: that each comparison has used.
        covered: whether the interval that is shown at the end holds the true effect.
        always_covered: whether the intervals of all looks hold it.
    """

    verdicts: np.ndarray
    seeds: np.ndarray
    covered: np.ndarray
    always_covered: np.ndarray

    @property
    def cells(self) -> np.ndarray:
        """Cells of each study (studies,): a reference runs as long as any of its variants."""
        return self.seeds.sum(axis=1) + self.seeds.max(axis=1)


def run_adaptive(
    differences: np.ndarray, effects: np.ndarray, looks: Sequence[int] = LOOKS, margin: float | None = None
) -> Outcome:
    """Run adaptive studies.

    Args:
        differences: paired differences (studies, variants, seeds).
        effects: the true ones (variants,).
        looks: numbers of seeds.
        margin: of a difference that does not matter.
    """
    shape = differences.shape[:2]
    sequential = np.ones(shape)
    signs = np.zeros(shape)
    verdicts = np.zeros(shape, int)
    seeds = np.zeros(shape, int)
    covered = np.ones(shape, bool)
    always = np.ones(shape, bool)
    spent = 0.0
    for count in looks:
        share = (count / looks[-1]) ** 2 - spent
        spent += share
        is_open = verdicts == 0
        seeds[is_open] = count
        mean, error, p = _t_test(differences[..., :count])
        smaller = is_open & (p / share < sequential)
        sequential[smaller] = (p / share)[smaller]
        signs[smaller] = np.sign(mean)[smaller]
        half = special.stdtrit(count - 1, 1 - LEVEL * share / 2) * error
        holds = np.abs(mean - effects) <= half
        covered[is_open] = holds[is_open]
        always &= holds | ~is_open
        decided = is_open & (_holm(sequential) <= LEVEL)
        verdicts[decided] = signs[decided]
        if margin is not None:
            verdicts[(verdicts == 0) & is_open & (np.abs(mean) + half <= margin)] = WITHIN
    return Outcome(verdicts, seeds, covered, always)


def run_fixed(differences: np.ndarray, effects: np.ndarray) -> Outcome:
    """Run studies in which every variant has all seeds; see `run_adaptive`."""
    return run_naive(differences, effects, (differences.shape[-1],))


def run_naive(differences: np.ndarray, effects: np.ndarray, looks: Sequence[int] = LOOKS) -> Outcome:
    """Run studies whose seeds are raised until any difference is decided, at uncorrected levels; see `run_adaptive`."""
    shape = differences.shape[:2]
    verdicts = np.zeros(shape, int)
    seeds = np.zeros(shape, int)
    covered = np.ones(shape, bool)
    always = np.ones(shape, bool)
    for count in looks:
        runs = ~verdicts.any(axis=1)
        mean, error, p = _t_test(differences[..., :count])
        holds = np.abs(mean - effects) <= special.stdtrit(count - 1, 1 - LEVEL / 2) * error
        seeds[runs] = count
        covered[runs] = holds[runs]
        always[runs] &= holds[runs]
        verdicts[runs] = np.where(_holm(p) <= LEVEL, np.sign(mean), 0)[runs]
    return Outcome(verdicts, seeds, covered, always)


def _t_test(differences: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean, standard error and p-value along the last axis."""
    count = differences.shape[-1]
    mean = differences.mean(axis=-1)
    error = differences.std(axis=-1, ddof=1) / np.sqrt(count)
    return mean, error, 2 * special.stdtr(count - 1, -np.abs(mean / error))


def _holm(p_values: np.ndarray) -> np.ndarray:
    """Return Holm's adjusted p-values along the last axis."""
    order = np.argsort(p_values, axis=-1)
    ranked = np.take_along_axis(p_values, order, -1) * np.arange(p_values.shape[-1], 0, -1)
    adjusted = np.empty_like(ranked)
    np.put_along_axis(adjusted, order, np.minimum(1.0, np.maximum.accumulate(ranked, axis=-1)), -1)
    return adjusted
