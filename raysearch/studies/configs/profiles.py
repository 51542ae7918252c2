"""Parts of a study that every task has: the settings of a profile, the seeds, and the time limit of a step."""

from collections.abc import Mapping
from typing import Any

from raysearch.core import UserError, nearest
from raysearch.studies.configs import overrides
from raysearch.studies.configs.task_spec import TASKS


def profile_settings(task: str, name: str) -> dict[str, Any]:
    """Return the settings of a task's profile.

    Raises:
        UserError: unknown task or profile.
    """
    profiles = TASKS[task].profiles
    if name not in profiles:
        raise UserError(f"unknown profile '{name}'{nearest(name, profiles)}")
    return dict(profiles[name])


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
    if seconds is not None and seconds <= 0:
        raise UserError(f"step_limit is a number of seconds above 0, not {seconds}")


def seed_list(given: int | list[int], count: int | None = None) -> list[int]:
    """Return the seeds of a study.

    Args:
        given: by the study: the number of seeds, counted from 0, or the list of them.
        count: replaces the number; of a list it takes the first ones.

    Raises:
        UserError: no seeds, too few, negative or repeated ones.
    """
    if isinstance(given, int):
        number = given if count is None else count
        seeds = list(range(number))
    else:
        number = len(given) if count is None else count
        seeds = list(given)[: max(0, number)]
    if not seeds:
        raise UserError(f"a study needs at least one seed; got {number}")
    if len(seeds) < number:
        raise UserError(f"{number} seeds are requested, but the study lists {len(seeds)}: {seeds}")
    if min(seeds) < 0:
        raise UserError(f"a seed is 0 or more, not {min(seeds)}")
    if len(set(seeds)) != len(seeds):
        raise UserError(f"duplicate seed in {seeds}; list each seed once")
    return seeds
