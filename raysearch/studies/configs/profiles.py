"""What a profile sets under every study of a task: where the settings start, and which seeds there are."""

from collections.abc import Mapping
from typing import Any

from raysearch.core.errors import UserError, nearest
from raysearch.studies.configs import overrides

_LAPTOP_IMAGES = {
    "data.side": 64,
    "data.zoom": 1.0,  # drawn birds may be near the border
    "model.backbone": "small",
    "model.weights": "DRAWN_BIRDS_V1",
}

# The paper's profile is the config's defaults.
PROFILES: dict[str, dict[str, dict[str, Any]]] = {
    "retrieval": {
        "paper": {"model.weights": "IMAGENET1K_V1"},
        "laptop": {
            "data.side": 64,
            "data.validation": 0.1,  # for the learning curves
            "model.backbone": "small",
            "model.weights": "DRAWN_BIRDS_V1",
            "model.standardise": True,
            "adsh.bit_norm": True,
            "warmup.iterations": 4,
            "train.samples": 800,
            "train.iterations": 3,
            "train.epochs": 1,
            "train.lr": 5e-4,
            "train.hash_lr": 5.0,
        },
    },
    "fewshot": {
        "paper": {},
        "laptop": {
            **_LAPTOP_IMAGES,
            "model.frozen": True,  # comparers train on maps that are computed once
            "episodes.queries": 5,
            "episodes.test": 400,
            "episodes.validation": 40,
            "helix.width": 32,
            "helix.dim_head": 16,
            "train.epochs": 3,
            "train.episodes": 40,
            "train.batch": 2,
            "train.milestones": (2 / 3,),
        },
    },
    "pretrain": {
        "paper": {},
        "laptop": {**_LAPTOP_IMAGES, "train.epochs": 10},
    },
}


def profile_settings(task: str, name: str) -> dict[str, Any]:
    """What a task's profile sets; unknown names are a UserError."""
    overrides.known_paths(task)  # raises for an unknown task
    if name not in PROFILES[task]:
        raise UserError(f"unknown profile '{name}'{nearest(name, PROFILES[task])}")
    return dict(PROFILES[task][name])


def check_profiles(task: str, profiles: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise a UserError for a study's profile, or a path in it, that does not exist."""
    for name, settings in profiles.items():
        if name not in PROFILES[task]:
            raise UserError(f"unknown profile '{name}' in the study{nearest(name, PROFILES[task])}")
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
