"""What a profile sets under every study of a task: where the settings start, and which seeds there are."""

from collections.abc import Mapping
from typing import Any

from raysearch.core.errors import UserError, nearest
from raysearch.studies.configs import overrides
from raysearch.studies.configs.task_spec import TASKS


def profile_settings(task: str, name: str) -> dict[str, Any]:
    """What a task's profile sets; unknown names are a UserError."""
    profiles = TASKS[task].profiles
    if name not in profiles:
        raise UserError(f"unknown profile '{name}'{nearest(name, profiles)}")
    return dict(profiles[name])


def check_profiles(task: str, profiles: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise a UserError for a study's profile, or a path in it, that does not exist."""
    for name, settings in profiles.items():
        known = TASKS[task].profiles
        if name not in known:
            raise UserError(f"unknown profile '{name}' in the study{nearest(name, known)}")
        overrides.check_paths(settings, task, "profiles")


def check_limit(seconds: float | None) -> None:
    """Raise a UserError for a time limit that no step can keep."""
    if seconds is not None and seconds <= 0:
        raise UserError(f"step_limit is a number of seconds above 0, not {seconds}")


def seed_list(given: int | list[int], count: int | None = None) -> list[int]:
    """Seeds as a study gives them: how many, counted from 0, or the list itself.

    Args:
        given: by the study.
        count: another number of them, of a list the first.

    Raises:
        UserError: none, too few, negative or repeated ones.
    """
    if isinstance(given, int):
        wanted = given if count is None else count
        seeds = list(range(wanted))
    else:
        wanted = len(given) if count is None else count
        seeds = list(given)[: max(0, wanted)]
    if not seeds:
        raise UserError(f"a study needs at least one seed; got {wanted}")
    if len(seeds) < wanted:
        raise UserError(f"{wanted} seeds are asked for and the study lists {len(seeds)}: {seeds}")
    if min(seeds) < 0:
        raise UserError(f"a seed is 0 or more, not {min(seeds)}")
    if len(set(seeds)) != len(seeds):
        raise UserError(f"a seed stands twice in {seeds}")
    return seeds
