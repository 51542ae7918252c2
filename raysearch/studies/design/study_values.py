"""The door of every study: its values become plain types, its settings are checked, and all mistakes are collected.

Outside of a study file the first constructor with mistakes raises them. While a study file is loaded they are noted
instead, so that `load_study` can report the mistakes of the whole file at once.
"""

import contextlib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from raysearch.core import Problems, UserError, nearest
from raysearch.studies.configs import TASKS, overrides, seed_list
from raysearch.studies.configs.plain_values import plain_domain, plain_list, plain_settings, to_plain
from raysearch.studies.design import user_tasks

# Columns of the results and of the tables made from them, which a factor of that name would replace.
RESULT_COLUMNS = frozenset({
    "study", "variant", "stage", "seed", "cell", "status", "error", "config", "seconds", "gpu_seconds",
    "epochs", "attempts", "data", "code_version", "metric_ids", "history", "environment", "by_radius", "device",
    "right_by_episode", "metric", "metric_id", "reference", "verdict", "seeds", "mean", "ci_low", "ci_high",
    "delta", "delta_low", "delta_high", "p", "decided", "refused", "failed", "stopped", "missing", "gpu_hours",
    "dollars", "erased_fraction", "published", "published_table", "measured_less_published", "same_protocol",
    "data_set",
})  # fmt: skip


@dataclass(frozen=True)
class StudyFile:
    """A study file that is being loaded, and the mistakes that were found in it."""

    folder: Path | None
    problems: Problems


_LOADING: ContextVar[StudyFile | None] = ContextVar("study file that is being loaded", default=None)


@contextlib.contextmanager
def noting(study_file: StudyFile) -> Iterator[None]:
    """Note mistakes of studies that are made in the block, instead of raising them."""
    token = _LOADING.set(study_file)
    try:
        yield
    finally:
        _LOADING.reset(token)


def report(problems: Problems) -> None:
    """Raise the mistakes of a study; while a study file is loaded, note them.

    Raises:
        UserError: there are mistakes.
    """
    study_file = _LOADING.get()
    if study_file is None:
        problems.raise_all()
    else:
        study_file.problems.add(*problems.messages)


def read_settings(settings: object, where: str, task: str, problems: Problems, complete: bool = True) -> dict[str, Any]:
    """Return settings with plain values and absolute paths of files. Unknown paths and wrong values are problems.

    Args:
        settings: dotted path -> value.
        where: the place of the settings, for messages.
        task: whose config is meant; one that is unknown checks nothing.
        problems: takes the mistakes.
        complete: make relative paths of files absolute; starting points keep the form that the space has.
    """
    plain = plain_settings(settings, where, problems)
    if task not in TASKS:
        return plain
    study_file = _LOADING.get()
    if complete:
        plain = overrides.absolute_paths(plain, task, study_file.folder if study_file else None)
    known = overrides.known_paths(task)
    for path, value in plain.items():
        with problems.caught():
            overrides.check_paths([path], task, where)
            # A size in pixels may be any number here: it is scaled to the image, and rounded.
            if not (overrides.is_pixel_size(known[path]) and isinstance(value, float)):
                overrides.check_value(path, value, task, where)
    return plain


def read_factors(factors: object, task: str, problems: Problems) -> list[Any]:
    """Return the factors of a study with checked levels. Wrong ones are problems and left out."""
    if not isinstance(factors, Iterable) or isinstance(factors, str | Mapping):
        problems.add(f"factors is a list such as [factor('hash.bits', 12, 24)], not {factors!r}")
        return []
    checked = []
    for item in factors:
        if not (hasattr(item, "levels") and hasattr(item, "paths")):
            problems.add(f"factors: {item!r} is not a factor; use factor(), choice() or component()")
            continue
        where = f"factor '{item.name}'"
        levels = tuple(read_settings(level, where, task, problems) for level in item.levels)
        checked.append(replace(item, levels=levels))
    return checked


def read_data_sets(data: object, problems: Problems) -> dict[str, str | None]:
    """Return the data sets of a study: name -> path or URI of its shards; None is the embedded data set."""
    if not isinstance(data, Mapping):
        problems.add(f"data is {{'name': 'path of shards'}} for several data sets, not {data!r}")
        return {}
    with problems.caught():
        check_data_set_names(data)
    for name, place in data.items():
        if not isinstance(place, str | PathLike | None) or place == "":
            problems.add(f"data: the shards of '{name}' are a path or URI, not {place!r}")
    return {name: None if place is None else str(place) for name, place in data.items()}


def check_data_set_names(names: Iterable[object]) -> None:
    """Check the names of a study's data sets. They begin the names of variants, and are parts of file names.

    Raises:
        UserError: a name that is no text, holds a comma, a slash or an equals sign, or looks like another.
    """
    for name in names:
        if not isinstance(name, str) or set(name) & set(",/\\="):
            raise UserError(f"data: {name!r} is no name of a data set; use letters, digits and spaces, such as 'CUB'")
    check_distinct(map(str, names), "data")


def read_profiles(profiles: object, task: str, problems: Problems) -> dict[str, dict[str, Any]]:
    """Return the profiles of a study: profile name -> settings."""
    if not isinstance(profiles, Mapping):
        problems.add(f"profiles are {{'laptop': {{'config.path': value}}}}, not {profiles!r}")
        return {}
    known = TASKS[task].profiles if task in TASKS else profiles
    for name in profiles:
        if name not in known:
            problems.add(f"unknown profile '{name}' in the study{nearest(str(name), known)}")
    return {
        name: read_settings(settings, "profiles", task, problems)
        for name, settings in profiles.items()
        if name in known
    }


def read_names(names: object, where: str, problems: Problems) -> tuple[str, ...]:
    """Return names as a tuple; a single name may stand without a list."""
    if isinstance(names, str):
        return (names,)
    with problems.caught():
        return tuple(str(name) for name in plain_list(names, where))
    return ()


def read_seeds(seeds: object, problems: Problems) -> Any:
    """Return the number of seeds or the list of them, as plain integers, checked by `seed_list`."""
    with problems.caught():
        plain = to_plain(seeds, "seeds")
        seed_list(plain)
        return plain
    return 1


def read_list(values: object, where: str, problems: Problems) -> list[Any]:
    """Return the items of a list or an iterator as they are."""
    if isinstance(values, Iterable) and not isinstance(values, str | Mapping):
        return list(values)
    problems.add(f"{where} is a list, not {values!r}")
    return []


def read_space(space: Any, problems: Problems) -> Any:
    """Return a search's space: a function as it is, or config path -> distribution with plain bounds and choices."""
    if callable(space):
        return space
    if not isinstance(space, Mapping):
        problems.add(f"space is {{'config.path': distribution}} or a function, not {space!r}")
        return {}
    plain = {}
    for path, domain in space.items():
        with problems.caught():
            plain[str(path)] = plain_domain(domain, f"space: '{path}'")
    return plain


def read_options(options: object, where: str, problems: Problems) -> dict[str, Any]:
    """Return keyword arguments. Functions and objects stay as they are: some samplers and schedulers take them."""
    if not isinstance(options, Mapping) or not all(isinstance(name, str) for name in options):
        problems.add(f"{where} are {{'name': value}}, not {options!r}")
        return {}
    plain = {}
    for name, value in options.items():
        try:
            plain[name] = value if callable(value) or isinstance(value, dict) else to_plain(value, where)
        except UserError:
            plain[name] = value
    return plain


def read_name_or_names(names: object, where: str, problems: Problems) -> Any:
    """Return a name, or a list of names."""
    checked = read_names(names, where, problems)
    if not checked:
        problems.add(f"{where} is a name or a list of names, not {names!r}")
        return ""
    return checked[0] if isinstance(names, str) else list(checked)


def read_count(count: object, where: str, least: int, problems: Problems) -> int:
    """Return a whole number as a plain integer."""
    with problems.caught():
        plain = to_plain(count, where)
        if isinstance(plain, bool) or not isinstance(plain, int):
            raise UserError(f"{where} is a whole number, not {plain!r}")
        if plain < least:
            raise UserError(
                f"a search needs at least one trial, not {plain}" if least else f"{where} is 0 or more, not {plain}"
            )
        return plain
    return max(1, least)


def set_fields(study: Any, **values: Any) -> None:
    """Set fields of a frozen study while it is made."""
    for name, value in values.items():
        object.__setattr__(study, name, value)


def register_user_task(
    study: Any,
    named: Iterable[Mapping[str, Any]],
    metrics: Iterable[str],
    objectives: Iterable[str],
    problems: Problems,
) -> None:
    """Register the task of a study that is a user's function or class, and replace it by its name.

    Args:
        study: an ablation or a search that is being made.
        named: settings by dotted path of the reference, the levels, the starts and the profiles.
        metrics: that the study compares by.
        objectives: that a search chooses by.
        problems: takes the mistakes.
    """
    study_file = _LOADING.get()
    plain = [plain_settings(settings, "settings", Problems()) for settings in named]
    if isinstance(study.task, str) and study.task in TASKS:
        for settings in [*plain, plain_settings(study.base, "base", Problems())]:
            with problems.caught():  # a level may set a setting of code that another level names
                overrides.register_codes(settings, study.task, study_file.folder if study_file else None)
    task, base = user_tasks.register_user_task(
        study.task,
        study.base,
        plain,
        [*study.profiles] if isinstance(study.profiles, Mapping) else [],
        metrics,
        objectives,
        study_file.folder if study_file else None,
        problems,
    )
    set_fields(study, task=task, base=base)


def levels_of(factors: object) -> list[Mapping[str, Any]]:
    """Return the levels of all factors; what is no factor has none."""
    items = factors if isinstance(factors, list | tuple) else []
    return [level for item in items for level in getattr(item, "levels", ())]


def mappings_in(profiles: object) -> list[Mapping[str, Any]]:
    """Return the settings of profiles; what is no profile has none."""
    return [item for item in profiles.values() if isinstance(item, Mapping)] if isinstance(profiles, Mapping) else []


def examples_of(domain: Any) -> list[Any]:
    """Return values of a distribution of Ray Tune, whose kind its setting has: all choices, or one of its numbers."""
    categories = getattr(domain, "categories", None)
    if categories:
        return list(categories)
    lower = getattr(domain, "lower", None)
    return [lower if lower is not None else getattr(domain, "value", None)]


def check_task(task: object) -> None:
    """Check the name of a task.

    Raises:
        UserError: unknown.
    """
    if task == user_tasks.UNREADABLE:
        return
    if not isinstance(task, str):
        raise UserError(f"task is the name of a task, such as 'retrieval', not {task!r}{nearest(str(task), TASKS)}")
    overrides.known_paths(task)


def check_question_and_task(question: object, task: object, problems: Problems) -> None:
    """Check what every study has: its question and its task.

    Args:
        question: as given.
        task: as given.
        problems: collects the mistakes.
    """
    with problems.caught():
        check_text(question, "question")
    with problems.caught():
        check_task(task)


def check_text(text: object, name: str) -> None:
    """Check a text of a study.

    Raises:
        UserError: no text, or an empty one.
    """
    if not isinstance(text, str) or not text.strip():
        raise UserError(f"{name} is a text, not {text!r}")


def check_distinct(names: Iterable[str], what: str) -> None:
    """Check that people can tell names apart.

    Args:
        names: for example the labels of a factor.
        what: the kind of name and its place, for messages.

    Raises:
        UserError: an empty name, one with control characters, or two that look alike.

    >>> check_distinct(["12", "12"], "labels")
    Traceback (most recent call last):
    raysearch.core.errors.UserError: labels: '12' is there twice; rename one
    """
    seen: dict[str, str] = {}
    for name in names:
        folded = fold(name)
        if not folded:
            raise UserError(f"{what}: {name!r} is empty; give each a name")
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
            raise UserError(f"{what}: {name!r} holds control characters; leave them out")
        if folded in seen:
            if seen[folded] == name:
                raise UserError(f"{what}: '{name}' is there twice; rename one")
            raise UserError(
                f"{what}: '{seen[folded]}' and '{name}' differ only in case, spaces or Unicode form; rename one"
            )
        seen[folded] = name


def fold(name: str) -> str:
    """Return a name without case, spaces at its ends, repeated spaces, invisible characters and Unicode form."""
    visible = "".join(character for character in name if unicodedata.category(character) != "Cf")
    return " ".join(unicodedata.normalize("NFKC", visible).casefold().split())


def check_factor_name(name: str, paths: Iterable[str], task: str) -> None:
    """Check that results can have a column of a factor's name.

    Args:
        name: the factor's.
        paths: config paths that its levels set.
        task: the task of the study.

    Raises:
        UserError: the results use the name, or it is a config path that the factor does not set.
    """
    known: Mapping[str, Any] = overrides.known_paths(task)
    if fold(name) in RESULT_COLUMNS or fold(name) in map(fold, TASKS[task].objectives):
        raise UserError(f"a factor cannot be called '{name}': the results have a column of that name; rename it")
    if name in known and name not in paths:
        raise UserError(f"factor '{name}' has the name of a config path that it does not set; rename it")
