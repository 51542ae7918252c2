"""Format numbers for people: metrics with three decimals, signed differences, durations, seeds."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from raysearch.core import format_seconds
from raysearch.runs import StudyRecord
from raysearch.studies.configs import TASKS

MINUS = "\N{MINUS SIGN}"
NONE = "\N{EN DASH}"  # in place of a missing number


def metric(value: float | None) -> str:
    """Return a metric with decimals that fit its size.

    >>> metric(0.61249), metric(71.238), metric(None) == NONE
    ('0.612', '71.24', True)
    """
    if value is None:
        return NONE
    size = abs(value)
    if size < 1e-9:  # rounding of sums, not a number worth a digit
        return "0.000"
    if size < 0.0005:
        text = f"{size:.1g}" if size < 1e-4 else f"{size:.4f}"
    else:
        text = f"{size:.{3 if size < 10 else 2 if size < 100 else 1}f}"
    return (MINUS if value < 0 else "") + text


def signed(value: float | None) -> str:
    """Return a difference with its sign.

    >>> signed(0.0213), signed(-0.004) == MINUS + "0.004", signed(0.0)
    ('+0.021', True, '0.000')
    """
    return f"+{metric(value)}" if value is not None and value >= 1e-9 else metric(value)


def interval(low: float | None, high: float | None, sign: bool = False) -> str:
    """Return an interval; empty if there is none.

    >>> interval(0.01, 0.032, sign=True), interval(None, None)
    ('[+0.010, +0.032]', '')
    """
    if low is None or high is None:
        return ""
    write = signed if sign else metric
    return f"[{write(low)}, {write(high)}]"


def half_width(low: float | None, high: float | None) -> str:
    """Return half the width of an interval; empty if there is no interval.

    >>> half_width(0.01, 0.03), half_width(None, None)
    ('0.010', '')
    """
    return "" if low is None or high is None else metric((high - low) / 2)


def metric_name(metric: str) -> str:
    """Return the usual spelling of a metric's name.

    >>> metric_name("map"), metric_name("accuracy")
    ('mAP', 'accuracy')
    """
    return {"map": "mAP", "map_index": "mAP (index order)"}.get(metric, metric)


def joined(settings: str, by: str) -> str:
    """Return comma-separated settings with another separator. A level that is a list stays whole.

    >>> joined("lwe.layers=[-3, -1], spm.weight=0.0", " & ")
    'lwe.layers=[-3, -1] & spm.weight=0.0'
    """
    return re.sub(r", (?![^\[]*\])", by, settings)


def step(study: StudyRecord) -> str:
    """Return the name of a training step of a study's task.

    >>> step(StudyRecord(study="s", task="fewshot", variants=[], cells=[]))
    'epoch'
    """
    if study.imported:
        return "logged step"
    task = study.task or "retrieval"
    return TASKS[task].step_name if task in TASKS else "step"


def p_value(value: float | None) -> str:
    """Return a p-value with three decimals.

    >>> p_value(0.0000123), p_value(0.0412), p_value(1.0)
    ('<0.001', '0.041', '1.000')
    """
    if value is None:
        return NONE
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def seconds(value: float | None) -> str:
    """Return a duration in its two largest units.

    >>> [seconds(number) for number in (0.42, 38.2, 200, 7500, 273600)]
    ['0.42 s', '38 s', '3 min 20 s', '2 h 05 min', '3 d 4 h']
    """
    return NONE if value is None else format_seconds(value)


def count(number: int, noun: str) -> str:
    """Return a number and a noun in singular or plural.

    >>> count(1, "cell"), count(1200, "cell")
    ('1 cell', '1,200 cells')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(words: Sequence[str], most: int = 6) -> str:
    """Return words joined by commas and "and", at most `most` of them.

    >>> listed(["a", "b", "c"]), listed(list("abcdefgh"), most=3)
    ('a, b and c', 'a, b, c and 5 more')
    """
    if len(words) > most:
        return f"{', '.join(words[:most])} and {len(words) - most} more"
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)


def level(value: Any) -> str:
    """Return a factor's level or a config value as the command line accepts it.

    >>> level(True), level(None), level("conv4"), level(1e-05)
    ('true', 'none', 'conv4', '1e-05')
    """
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value)


def seeds(numbers: Iterable[int]) -> str:
    """Return seeds, with consecutive ones as a range.

    >>> seeds([0, 1, 2, 5]), seeds([3])
    ('0-2, 5', '3')
    """
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
