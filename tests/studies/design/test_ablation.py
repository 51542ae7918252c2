"""The fields of an ablation, and the errors for values that cannot be."""

import re
from typing import Any

import pytest

from raysearch.core import UserError
from raysearch.studies.configs import TASKS, overrides
from raysearch.studies.design import Ablation, component, factor

OFF = component("SREM", off={"srem.regions": 0, "esrl.erased": 0})


def study(**changes: Any) -> Ablation:
    given: dict[str, Any] = {
        "question": "?",
        "task": "retrieval",
        "reference": {"srem.regions": 50},
        "factors": [factor("srem.regions", 0, 50)],
    }
    return Ablation(**given | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "retreival"}, "unknown task 'retreival'; did you mean 'retrieval'?"),
        ({"task": "retreival", "profiles": {"laptop": {}}}, "unknown task 'retreival'; did you mean 'retrieval'?"),
        ({"design": "ful"}, "unknown design 'ful'; did you mean 'full'?"),
        ({"mode": "maximum"}, "mode must be max or min, not 'maximum'"),
        ({"base": {"hash.bit": 3}}, "unknown config path 'hash.bit' in base; did you mean 'hash.bits'?"),
        ({"reference": {"srem.sice": 3}}, "unknown config path 'srem.sice' in reference; did you mean 'srem.size'?"),
        ({"factors": [factor("srem.region", 1)]}, "in factor 'srem.region'; did you mean 'srem.regions'?"),
        ({"profiles": {"labtop": {}}}, "unknown profile 'labtop' in the study; did you mean 'laptop'?"),
        ({"profiles": {"laptop": {"train.epoch": 1}}}, "'train.epoch' in profiles; did you mean 'train.epochs'?"),
        ({"factors": []}, "a study needs at least one factor"),
        ({"factors": [factor("srem.regions")]}, "factor 'srem.regions' has no levels"),
        ({"factors": [factor("srem.size", 8), factor("srem.size", 9)]}, "factor 'srem.size' is there twice"),
        ({"design": "leave_one_out"}, "leave_one_out needs one 'off' setting for 'srem.regions', got 2"),
        ({"seeds": 0}, "a study needs at least one seed; got 0"),
        ({"seeds": []}, "a study needs at least one seed; got 0"),
        ({"seeds": -2}, "a study needs at least one seed; got -2"),
        ({"seeds": [3, 3]}, "duplicate seed in [3, 3]"),
        ({"seeds": [0, -1]}, "a seed is 0 or more, not -1"),
    ],
)
def test_a_wrong_study_is_told_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        study(**changes)
    assert "\n" not in str(caught.value)


def test_seeds_are_counted_from_zero_or_listed() -> None:
    assert study(seeds=3).seed_list() == [0, 1, 2]
    assert study(seeds=3).seed_list(5) == [0, 1, 2, 3, 4]
    assert study(seeds=[7, 5, 9]).seed_list() == [7, 5, 9]
    assert study(seeds=[7, 5, 9]).seed_list(2) == [7, 5]
    with pytest.raises(UserError, match=r"4 seeds are requested, but the study lists 3: \[7, 5, 9\]"):
        study(seeds=[7, 5, 9]).seed_list(4)
    for ablation in (study(seeds=3), study(seeds=[7, 5, 9])):
        with pytest.raises(UserError, match="at least one seed; got 0"):
            ablation.seed_list(0)


def test_a_profile_lies_under_base_and_study() -> None:
    task_settings = TASKS["retrieval"].profiles["laptop"]
    assert study().profile("laptop") == task_settings
    ablation = study(
        base={"hash.bits": 12, "data.side": 96, "train.epochs": 7},
        profiles={"laptop": {"train.epochs": 3}, "paper": {"hash.bits": 48}},
    )
    assert ablation.profile("laptop") == {**task_settings, "hash.bits": 12, "data.side": 96, "train.epochs": 3}
    assert ablation.profile("paper")["hash.bits"] == 48
    with pytest.raises(UserError, match=r"unknown profile 'latpop'; did you mean 'laptop'\?"):
        ablation.profile("latpop")


@pytest.mark.parametrize("name", TASKS["retrieval"].profiles)
def test_profiles_hold_settings_that_can_be(name: str) -> None:
    settings = TASKS["retrieval"].profiles[name]
    config = overrides.resolve("retrieval", {"srem.size": 1, **settings})
    assert all(overrides.get_path(config, path) == value for path, value in settings.items())


def test_a_component_names_all_its_paths() -> None:
    assert OFF.paths == ("srem.regions", "esrl.erased")
    assert factor("srem.size", 16, 32).paths == ("srem.size",)
    assert study(design="leave_one_out", factors=[OFF]).factors == [OFF]
