"""The fields of a search, the errors for values that cannot be, and the cells that suggestions become."""

from typing import Any

import pytest
from ray import tune

from raysearch.core import UserError
from raysearch.studies.design import Search, factor, search_plan
from raysearch.studies.space import Search as FromSpace

SPACE = {"srem.size": tune.randint(16, 129), "train.lr": tune.loguniform(1e-4, 1e-1)}


def search(**changed: Any) -> Search:
    given: dict[str, Any] = {"question": "Which?", "task": "retrieval", "space": SPACE}
    return Search(**given | changed)


def plan(**changed: Any) -> search_plan.SearchPlan:
    return search_plan.plan_search("study", search(**changed), "laptop", "data")


def test_it_is_found_beside_ablation() -> None:
    assert FromSpace is Search


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"space": {}}, "at least one config path"),
        ({"space": {"srem.region": tune.choice([1])}}, "did you mean 'srem.regions'"),
        ({"space": {"data.side": tune.choice([32, 64])}}, "make it the group"),
        ({"starts": [{"train.rl": 1}]}, "unknown config path 'train.rl' in start 1; did you mean 'train.lr'"),
        ({"group": factor("hash.bit", 12)}, "did you mean 'hash.bits'"),
        ({"sampler": "tpo"}, "unknown sampler 'tpo'; did you mean 'tpe'"),
        ({"scheduler": "ascha"}, "unknown scheduler 'ascha'; did you mean 'asha'"),
        ({"metric": "map"}, "the test split chooses nothing"),
        ({"metric": ["map_validation", "epoch_seconds"], "mode": ["max"]}, None),
        ({"metric": ["map_validation", "epoch_seconds"], "mode": ["max", "up"]}, "mode must be max or min"),
        ({"metric": ["map_validation"], "mode": ["max", "min"]}, "mode must be max or min"),
        ({"metric": "epoch_seconds", "mode": "min", "scheduler": "asha"}, "which epoch_seconds cannot be"),
        ({"trials": 0}, "at least one trial"),
        ({"judge_seeds": -1}, "judge_seeds is 0 or more"),
        ({"seeds": [1, 1]}, "duplicate seed"),
        ({"step_limit": 0}, "step_limit is a number of seconds above 0"),
        ({"profiles": {"desktop": {}}}, "unknown profile 'desktop'"),
        ({"scheduler": "pbt"}, "which 'srem.size' cannot be"),
        ({"scheduler": "pbt", "space": lambda trial: None}, "a space of distributions"),
        ({"scheduler": "pbt", "space": {"train.lr": SPACE["train.lr"]}, "seeds": 2}, "one seed and one metric"),
    ],
)
def test_a_wrong_field_is_an_error(changed: dict[str, Any], message: str | None) -> None:
    if message is None:
        assert search(**changed).modes == ["max", "max"]
        return
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        search(**changed)


def test_judges_are_seeds_that_chose_nothing() -> None:
    seeded = search(seeds=[3, 8], judge_seeds=4)
    assert seeded.tuning_seeds() == [3, 8]
    assert seeded.judging_seeds(seeded.tuning_seeds()) == [9, 10, 11, 12]


def test_a_held_out_part_is_required() -> None:
    with pytest.raises(UserError, match=r"set data\.validation"):
        search_plan.plan_search("study", search(), "laptop", "data", {"data.validation": 0})


def test_what_is_searched_cannot_be_fixed() -> None:
    with pytest.raises(UserError, match=r"--set train\.lr fixes what the search looks for"):
        search_plan.plan_search("study", search(), "laptop", "data", {"train.lr": 0.1})


def test_suggestions_are_scaled_like_the_reference() -> None:
    planned = plan(reference={"srem.size": 32})
    (group,) = planned.groups
    assert planned.reference(group).config.srem.size == 9  # 32 of 224 px, at 64 px
    variant = planned.variant(group, "0", {"srem.size": 64, "train.lr": 0.01})
    assert variant.config.srem.size == variant.settings["srem.size"] == 18
    assert variant.declared == {"srem.size": 64, "train.lr": 0.01}


def test_each_group_has_its_level_and_its_judges() -> None:
    planned = plan(group=factor("hash.bits", 12, 24), judge_seeds=2)
    assert [group.label for group in planned.groups] == ["hash.bits=12", "hash.bits=24"]
    short, long = planned.groups
    assert planned.reference(short).config.hash.bits == 12
    assert planned.reference(long).name == "reference (hash.bits=24)"
    cells = planned.judging_cells([planned.reference(short), planned.best(short, {"train.lr": 0.01})])
    assert [(cell.variant.name, cell.seed) for cell in cells] == [
        (name, seed) for seed in (1, 2) for name in ("reference (hash.bits=12)", "best (hash.bits=12)")
    ]


def test_a_cell_is_the_same_in_a_search_and_an_ablation() -> None:
    from raysearch.studies.design import Ablation, ablation_plan

    ablation = Ablation("Which?", "retrieval", {"train.lr": 0.01}, [factor("train.lr", 0.02)], seeds=1)
    cells = {cell.hash for cell in ablation_plan.plan_ablation("other", ablation, "laptop", "data").cells}
    planned = plan(space={"train.lr": SPACE["train.lr"]})
    assert planned.cell(planned.variant(planned.groups[0], "0", {"train.lr": 0.02}), 0).hash in cells


def test_members_of_a_population_are_cells_of_their_own() -> None:
    planned = plan(scheduler="pbt", space={"train.lr": SPACE["train.lr"]})
    group = planned.groups[0]
    first, second = (planned.variant(group, str(n), {"train.lr": 0.02}) for n in range(2))
    names = {planned.cell(first, 0).hash, planned.member(first, group, 0).hash, planned.member(second, group, 0).hash}
    assert len(names) == 3


def test_workers_are_part_of_a_cells_name() -> None:
    names = set()
    for workers in (1, 2, 3):
        planned = search_plan.plan_search("study", search(), "laptop", "data", workers=workers)
        names.add(planned.cell(planned.reference(planned.groups[0]), 0).hash)
    assert len(names) == 3
