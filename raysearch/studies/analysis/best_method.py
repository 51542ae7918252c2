"""Which method is the best in a column of a table, where that is decided.

The method with the best mean is the best if it beats every other method in a paired t-test over common seeds. The
largest of these p-values counts. It is multiplied by the number of other methods, because the seeds also chose the one
that is tested; Holm's correction covers all columns of the table.
"""

from collections.abc import Mapping, Sequence

from raysearch.studies.analysis import t_tests

Scores = Mapping[str, Mapping[int, float]]  # method -> seed -> metric


def best_methods(columns: Sequence[Scores], mode: str, step: float = 0.0) -> list[str | None]:
    """Return the best method of each column; None where it is not decided.

    Args:
        columns: the scores of each column. A method without a seed does not take part.
        mode: "max" if a higher metric is better, "min" if a lower one is.
        step: of the metric; 0.0 if none is known.

    >>> scores = {"a": {0: 0.50, 1: 0.52, 2: 0.51}, "b": {0: 0.60, 1: 0.61, 2: 0.605}, "c": {}}
    >>> best_methods([scores, {"a": {0: 0.5}, "b": {0: 0.6}}], "max")
    ['b', None]
    """
    leading = [_leading(scores, mode) for scores in columns]
    p_values = [
        None if name is None else _p_value(scores, name, mode, step)
        for scores, name in zip(columns, leading, strict=True)
    ]
    corrected = t_tests.holm(p_values, len(columns))
    return [
        name if p is not None and p <= 1 - t_tests.LEVEL else None for name, p in zip(leading, corrected, strict=True)
    ]


def _leading(scores: Scores, mode: str) -> str | None:
    """Return the method with the best mean; None if there is nothing to compare."""
    sign = 1 if mode == "max" else -1
    means = {name: sign * sum(values.values()) / len(values) for name, values in scores.items() if values}
    return max(means, key=lambda name: means[name]) if len(means) > 1 else None


def _p_value(scores: Scores, best: str, mode: str, step: float) -> float | None:
    """Return the p-value of a method against all others; None if one of them cannot be tested."""
    sign = 1 if mode == "max" else -1
    others = [name for name, values in scores.items() if values and name != best]
    largest = 0.0
    for name in others:
        pairs = [(value, scores[name][seed]) for seed, value in scores[best].items() if seed in scores[name]]
        differences = [sign * (value - other) for value, other in pairs]
        scale = max((abs(number) for pair in pairs for number in pair), default=0.0)
        if len(differences) < t_tests.FEWEST or not t_tests.has_spread(differences, scale) or sum(differences) <= 0:
            return None
        largest = max(largest, t_tests.p_value(differences, step**2 / 6))
    return min(1.0, largest * len(others))
