"""Parts of a study that every task has: the settings of a profile, the seeds, and the time limit of a step."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

from raysearch.core import UserError, nearest
from raysearch.studies.configs import overrides
from raysearch.studies.configs.task_spec import TASKS

_MOST_SEEDS = 10_000
_SEED_LIMIT = 2**63  # of the results' column


def profile_settings(task: str, name: str) -> dict[str, Any]:
    """Return the settings of a task's profile.

    Raises:
        UserError: unknown task or profile.
    """
    profiles = TASKS[task].profiles
    if name not in profiles:
        raise UserError(f"unknown profile '{name}'{nearest(name, profiles)}")
    return dict(profiles[name])


def data_settings(task: str, name: str, classes: int) -> dict[str, Any]:
    """Return the settings that a task's profile adds on a data set with so many classes."""
    return dict(TASKS[task].data_profiles.get(name, {}).get(classes, {}))


def settle_profile(task: str, name: str, settings: Mapping[str, Any], stronger: Iterable[str]) -> dict[str, Any]:
    """Return settings in which those of the profile have given way to stronger ones that contradict them.

    Args:
        task: whose config is meant.
        name: of the profile.
        settings: all of them, by dotted path.
        stronger: the paths that a study, a preset or the user has set.
    """
    gives_way = TASKS[task].gives_way
    if gives_way is None:
        return dict(settings)
    set_paths = set(stronger)
    weak = {path: value for path, value in profile_settings(task, name).items() if path not in set_paths}
    return {**settings, **gives_way(settings, weak)}


def check_profiles(task: str, profiles: Mapping[str, Mapping[str, Any]]) -> None:
    """Check the profiles of a study.

    Args:
        task: the task of the study.
        profiles: profile name -> settings.

    Raises:
        UserError: unknown profile, or unknown path in one.
    """
    known = TASKS[task].profiles
    for name, settings in profiles.items():
        if name not in known:
            raise UserError(f"unknown profile '{name}' in the study{nearest(name, known)}")
        overrides.check_paths(settings, task, "profiles")


def check_limit(seconds: float | None) -> None:
    """Check the time limit of a step.

    Raises:
        UserError: a limit that no step can keep.
    """
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if seconds is not None and not (is_number and seconds > 0):
        raise UserError(f"step_limit is a number of seconds above 0, or infinity for no limit, not {seconds!r}")


def seed_list(given: int | list[int], count: int | None = None) -> list[int]:
    """Return the seeds of a study.

    Args:
        given: by the study: the number of seeds, counted from 0, or the list of them.
        count: replaces the number; of a list it takes the first ones.

    Raises:
        UserError: no seeds, too few, and those that are negative, repeated, too large or no integers.
    """
    if _is_integer(given):
        number = given if count is None else count
        seeds = list(range(min(number, _MOST_SEEDS + 1)))
    elif isinstance(given, list):
        number = len(given) if count is None else count
        seeds = given[: max(0, number)]
    else:
        raise UserError(f"seeds is a number of seeds or a list of them, such as 5 or [0, 1, 2], not {given!r}")
    if not seeds:
        raise UserError(f"a study needs at least one seed; got {number}")
    if len(seeds) > _MOST_SEEDS:
        raise UserError(f"a study has at most {_MOST_SEEDS:,} seeds, not {number:,}")
    if len(seeds) < number:
        raise UserError(f"{number} seeds are requested, but the study lists {len(seeds)}: {seeds}")
    for seed in seeds:
        if not _is_integer(seed):
            raise UserError(f"a seed is an integer, not {seed!r}; list integers, such as seeds=[0, 1, 2]")
    if min(seeds) < 0:
        raise UserError(f"a seed is 0 or more, not {min(seeds)}")
    if max(seeds) >= _SEED_LIMIT:
        raise UserError(f"a seed is below 2^{_SEED_LIMIT.bit_length() - 1}, not {max(seeds)}")
    if len(set(seeds)) != len(seeds):
        raise UserError(f"duplicate seed in {seeds}; list each seed once")
    return seeds


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
