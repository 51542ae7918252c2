"""The meaning of a source's columns: variant, seed, metric, step and test item, named by the user or guessed.

A guess is printed. Nothing is guessed where two columns fit: the error names both and the option that chooses.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from raysearch.core import Problems, UserError, nearest
from raysearch.runs.imported import source
from raysearch.runs.imported.source import Row, Source

SEEDS = ("seed", "random_seed", "random_state", "rng_seed", "seeds")
VARIANTS = ("variant", "method", "model", "algorithm", "algo", "approach", "arm", "condition", "experiment", "setting")
STEPS = ("step", "epoch", "iteration", "_step", "global_step", "training_iteration", "iter")
ITEMS = ("item", "image", "image_id", "episode", "query", "query_id", "example", "example_id", "sample", "sample_id")
REFERENCES = ("reference", "baseline", "base", "control", "default", "vanilla", "none")
# Columns of a table of results of raysearch, and what tools add to the metrics of a run.
KNOWN = ("seconds", "gpu_seconds", "epochs", "attempts", "epoch_seconds", "code_version")
_LESS_IS_BETTER = (
    "loss",
    "error",
    "err",
    "rmse",
    "mse",
    "mae",
    "perplexity",
    "ppl",
    "fid",
    "wer",
    "cer",
    "seconds",
    "time",
)
_MOST_SHOWN = 12


@dataclass(frozen=True)
class ColumnChoice:
    """Columns that a user names; None is guessed.

    Attributes:
        variant: one or several columns, whose values together name a variant.
        seed: the column of the seed.
        metric: the column that is compared.
        reference: the variant that the others are compared with.
        mode: "max" or "min": which values of the metric are better.
        step: the column of the training step, of a table with a row per step.
        item: the column of the test item, of a table with a row per image or episode.
    """

    variant: tuple[str, ...] = ()
    seed: str | None = None
    metric: str | None = None
    reference: str | None = None
    mode: str | None = None
    step: str | None = None
    item: str | None = None


@dataclass(frozen=True)
class Columns:
    """The columns of a source, all decided; see `ColumnChoice`."""

    variant: tuple[str, ...]
    seed: str
    metric: str
    mode: str
    step: str | None
    item: str | None

    def variant_of(self, row: Row) -> str:
        """Return the name of a row's variant.

        >>> columns = Columns(("lr", "depth"), "seed", "accuracy", "max", None, None)
        >>> columns.variant_of({"lr": 0.1, "depth": 3, "seed": 0})
        'lr=0.1, depth=3'
        """
        if len(self.variant) == 1 and isinstance(row.get(self.variant[0]), str):
            return str(row[self.variant[0]])
        return ", ".join(f"{name}={_level(row.get(name))}" for name in self.variant)

    def sentence(self) -> str:
        """Return what was chosen, in the words of the command line."""
        parts = {"variant": " and ".join(self.variant), "seed": self.seed, "metric": self.metric, "mode": self.mode}
        parts |= {name: value for name, value in (("step", self.step), ("item", self.item)) if value is not None}
        return ", ".join(f"{name} {value}" for name, value in parts.items())


def choose_columns(content: Source, given: ColumnChoice) -> Columns:
    """Return the columns of a source.

    Raises:
        UserError: a name that the source lacks, or a guess that is not clear; of several mistakes a `UserErrors`.
    """
    problems = Problems()
    names = content.columns
    for option, name in _given_names(given):
        if name not in names:
            problems.add(f"--{option} {name}: no such column{nearest(name, names)}; {_listed(names)}")
    if given.mode not in (None, "max", "min"):
        problems.add(f"--mode {given.mode} is unknown; use max or min")
    problems.raise_all()
    step = given.step or _guess_optional(content, STEPS)
    item = given.item or _guess_optional(content, ITEMS)
    seed = given.seed
    with problems.caught():
        seed = seed or _guess(content, "seed", SEEDS, _is_seed)
    metric = given.metric
    taken = {step, item, seed}
    with problems.caught():
        metric = metric or _guess_metric(content, taken | set(given.variant))
    variant = given.variant
    with problems.caught():
        variant = variant or _guess_variant(content, taken | {metric})
    problems.raise_all()
    assert seed is not None
    assert metric is not None
    mode = given.mode or _guess_mode(metric)
    return Columns(variant, seed, metric, mode, step, item)


def choose_reference(variants: Sequence[str], given: str | None) -> str:
    """Return the variant that the others are compared with.

    Args:
        variants: their names.
        given: by the user; None is guessed from the names.

    Raises:
        UserError: there is no such variant, or it is not clear which one is meant.

    >>> choose_reference(["ours", "Baseline"], None)
    'Baseline'
    """
    if given is not None:
        if given not in variants:
            raise UserError(f"--reference {given}: no such variant{nearest(given, variants)}; {_listed(variants)}")
        return given
    if len(variants) == 1:
        return variants[0]
    for word in REFERENCES:
        named = [variant for variant in variants if variant.lower().rpartition("=")[2] == word]
        if len(named) == 1:
            return named[0]
    raise UserError(f"it is not clear which variant is the reference; choose with --reference: {_listed(variants)}")


def _guess(content: Source, option: str, words: Iterable[str], fits: Callable[[Source, str], bool]) -> str:
    """Return the only column that is named like one of the words.

    Raises:
        UserError: there is none, or several.
    """
    named = [name for name in _named(content.columns, words) if fits(content, name)]
    if len(named) == 1:
        return named[0]
    if named:
        raise UserError(f"several columns may be the {option}: {', '.join(named)}; choose with --{option}")
    raise UserError(f"no column is named like a {option}; choose with --{option}: {_listed(content.columns)}")


def _guess_optional(content: Source, words: Iterable[str]) -> str | None:
    """Return the first column that is named like one of the words, of a table without curves; else None."""
    named = _named(content.columns, words) if not content.curves and content.settings is None else []
    return named[0] if named else None


def _guess_metric(content: Source, taken: set[str | None]) -> str:
    """Return the only column of numbers that is no setting and has no other meaning."""
    settings = set(content.settings or ())
    special = {*taken, *settings, *KNOWN, source.RUN, source.STATUS, source.ERROR}
    numeric = [name for name in content.columns if name not in special and _is_numeric(content, name)]
    numeric = [name for name in numeric if name.lower().rpartition(".")[2] not in (*VARIANTS, *STEPS)]
    if len(numeric) == 1:
        return numeric[0]
    if not numeric:
        raise UserError(f"no column holds numbers that may be the metric; {_listed(content.columns)}")
    raise UserError(f"several columns may be the metric: {_listed(numeric)}; choose with --metric")


def _guess_variant(content: Source, taken: set[str | None]) -> tuple[str, ...]:
    """Return the column that is named like a variant, or the settings that vary."""
    named = [name for name in _named(content.columns, VARIANTS) if name not in taken]
    settings = [name for name in content.settings or () if name not in taken]
    varying = tuple(name for name in settings if len({repr(row.get(name)) for row in content.rows}) > 1)
    if content.settings is not None:
        exact = [name for name in named if name == VARIANTS[0]]
        return tuple(exact) or varying or _constant(content)
    if len(named) == 1:
        return (named[0],)
    if named:
        raise UserError(f"several columns may be the variant: {', '.join(named)}; choose with --variant, also several")
    texts = [
        name
        for name in content.columns
        if name not in taken and name not in (source.STATUS, source.ERROR) and _is_grouping(content, name)
    ]
    if len(texts) == 1:
        return (texts[0],)
    shown = ", ".join(texts) if texts else _listed([name for name in content.columns if name not in taken])
    raise UserError(f"it is not clear which column names the variant; choose with --variant: {shown}")


def _constant(content: Source) -> tuple[str, ...]:
    """Return the first setting, of runs that differ in their seed alone."""
    settings = content.settings or ()
    if not settings:
        raise UserError(f"the runs have no settings; choose with --variant: {_listed(content.columns)}")
    return (settings[0],)


def _guess_mode(metric: str) -> str:
    words = "".join(letter if letter.isalnum() else " " for letter in metric.lower()).split()
    return "min" if any(word in _LESS_IS_BETTER for word in words) else "max"


def _named(names: Sequence[str], words: Iterable[str]) -> list[str]:
    """Return the columns whose name, or its last dotted part, is one of the words."""
    known = tuple(words)
    exact = [name for name in names if name.lower() in known]
    return exact or [name for name in names if _last_part(name) in known]


def _last_part(name: str) -> str:
    return name.lower().replace("/", ".").rpartition(".")[2]


def _is_seed(content: Source, name: str) -> bool:
    values = [row.get(name) for row in content.rows]
    return all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in values)


def _is_numeric(content: Source, name: str) -> bool:
    """Return whether a column holds numbers; a run that failed may lack one."""
    values = [row.get(name) for row in content.rows if row.get(name) is not None]
    return bool(values) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _is_grouping(content: Source, name: str) -> bool:
    """Return whether a column holds texts, and fewer than there are rows."""
    values = [row.get(name) for row in content.rows]
    return all(isinstance(value, str) for value in values) and len(set(values)) < max(2, len(values))


def _level(value: Any) -> str:
    return "none" if value is None else str(value)


def _given_names(given: ColumnChoice) -> list[tuple[str, str]]:
    named = [("variant", name) for name in given.variant]
    options = {"seed": given.seed, "metric": given.metric, "step": given.step, "item": given.item}
    return named + [(option, name) for option, name in options.items() if name is not None]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    return f"there are {', '.join(map(str, names[:_MOST_SHOWN]))}{more}"
