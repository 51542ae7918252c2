"""Values of a study file as plain types, the names of levels and variants, and the levels that `--only` names."""

import enum
import json
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from ray import tune

from raysearch.core import UserError, UserErrors
from raysearch.runs import describe
from raysearch.studies.configs import overrides
from raysearch.studies.design import (
    Ablation,
    Search,
    ablation_plan,
    choice,
    component,
    factor,
    plan_search,
    study_files,
)

DATA = "d" * 64


class Bits(enum.Enum):
    SHORT = 12
    LONG = 24


class Design(enum.StrEnum):
    SYM = "sym"


def retrieval(**changes: Any) -> Ablation:
    given: dict[str, Any] = {"reference": {"hash.bits": 24}, "factors": [factor("hash.bits", 12, 24)], "seeds": 2}
    return Ablation(**{"question": "?", "task": "retrieval"} | given | changes)


def plan(study: Ablation, profile: str = "laptop", **settings: Any) -> ablation_plan.AblationPlan:
    return ablation_plan.plan_ablation("study", study, profile, DATA, settings)


def names(study: Ablation, **settings: Any) -> list[str]:
    return [variant.name for variant in plan(study, **settings).variants]


def of_numbers() -> Iterator[int]:
    yield from (12, 24)


# ------------------------------------------------------------------------------------------------------ plain types


@pytest.mark.parametrize(
    "levels",
    [
        np.arange(12, 25, 12),
        np.array([12.0, 24.0]),
        torch.tensor([12, 24]),
        [np.int64(12), np.float32(24)],
        [torch.tensor(12), torch.tensor(24.0)],
        [Bits.SHORT, Bits.LONG],
        [Decimal("12"), Fraction(24, 1)],
        pa.array([12, 24]),
        range(12, 25, 12),
        of_numbers(),
        {24, 12},
        dict.fromkeys([12, 24]).keys(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_levels_of_any_package_are_plain_numbers(levels: Any) -> None:
    planned = plan(retrieval(factors=[factor("hash.bits", *levels)]))
    assert [cell.hash for cell in planned.cells] == [cell.hash for cell in plan(retrieval()).cells]
    json.dumps(describe.describe_ablation(planned).to_dict())  # the record of the run


@pytest.mark.parametrize(
    ("path", "value", "plain"),
    [
        ("lwe.layers", (-2, -1), [-2, -1]),
        ("lwe.layers", np.array([-2, -1]), [-2, -1]),
        ("lwe.layers", frozenset({-1, -2}), [-2, -1]),
        ("helix.design", Design.SYM, "sym"),
        ("helix.design", np.str_("sym"), "sym"),
        ("helix.rep", np.bool_(True), True),
        ("lwfm.tau", torch.tensor(0.5), 0.5),
        ("lwfm.tau", Fraction(1, 2), 0.5),
        ("helix.width", None, None),
    ],
)
def test_a_value_is_plain_wherever_a_study_has_it(path: str, value: Any, plain: Any) -> None:
    given = {"question": "?", "task": "fewshot", "metric": "accuracy"}
    everywhere = Ablation(
        **given,
        base={path: value},
        reference={"episodes.shots": np.int64(1)},
        factors=[choice("a", {"x": {path: value}, "y": {"episodes.shots": 1}})],
        profiles={"laptop": {path: value}},
        seeds=np.array([3, 4]),
    )
    assert (
        everywhere.base[path] == everywhere.factors[0].levels[0][path] == everywhere.profiles["laptop"][path] == plain
    )
    assert type(everywhere.base[path]) is type(plain)
    assert everywhere.seeds == [3, 4]
    assert {type(seed) for seed in everywhere.seeds} == {int}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base": {"hash.bits": 1j}}, "base: hash.bits: 1j is a complex"),
        ({"base": {"hash.bits": b"12"}}, "is a bytes"),
        ({"base": {12: 12}}, "a config path is a string"),
        ({"base": [("hash.bits", 12)]}, "base: .* is a list; use"),
        ({"reference": None}, "reference: None is a NoneType"),
        ({"seeds": 2.0}, "seeds is a number of seeds or a list"),
        ({"seeds": True}, "seeds is a number of seeds or a list"),
        ({"seeds": "3"}, "seeds is a number of seeds or a list"),
        ({"seeds": [0, 0.5]}, "a seed is an integer, not 0.5"),
        ({"seeds": [0, "1"]}, "a seed is an integer, not '1'"),
        ({"seeds": np.array([])}, "at least one seed"),
        ({"seeds": [2**63]}, "a seed is below"),
        ({"factors": factor("hash.bits", 12)}, "factors is a list"),
        ({"factors": [("hash.bits", 12)]}, "is not a factor; use factor"),
        ({"factors": [factor("hash.bits", 0)]}, "factor 'hash.bits': hash.bits=0: .*greater than or equal to 1"),
        ({"factors": [factor("hash.bits", [12, 24])]}, "factor 'hash.bits': hash.bits="),
        ({"factors": [factor("data.augment", "flp")]}, "did you mean 'flip'"),
        ({"question": None}, "question is a text"),
        ({"step_limit": "1"}, "step_limit is a number of seconds"),
    ],
)
def test_a_value_that_cannot_be_is_one_line_when_the_study_is_made(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        retrieval(**changes)
    assert "\n" not in str(caught.value)


def test_all_mistakes_of_a_study_are_found_together() -> None:
    with pytest.raises(UserErrors) as caught:
        retrieval(base={"hash.bit": 1}, design="ful", seeds=[], factors=[factor("hash.bits", -1)], mode="maximum")
    text = "\n".join(caught.value.messages)
    for part in ("'hash.bits'?", "'full'?", "at least one seed", "hash.bits=-1", "mode must be max or min"):
        assert part in text
    assert len(caught.value.messages) == 5


def test_bounds_and_choices_of_a_search_are_plain() -> None:
    space = {
        "esrl.positive": tune.uniform(np.float32(0.5), torch.tensor(2.0)),
        "srem.regions": tune.randint(np.int64(1), np.int64(9)),
        "hash.bits": tune.choice(np.array([12, 24])),
        "train.lr": tune.quniform(Fraction(1, 4), np.float16(1), np.float64(0.25)),
    }
    made = Search("?", "retrieval", space, trials=np.int64(3), starts=({"hash.bits": np.int64(12)},), scheduler=None)
    bounds = [made.space["esrl.positive"].lower, made.space["esrl.positive"].upper, made.space["srem.regions"].upper]
    bounds += [made.space["train.lr"].lower, made.space["train.lr"].sampler.q, *made.space["hash.bits"].categories]
    assert {type(bound) for bound in bounds} == {int, float}
    assert bounds == [0.5, 2.0, 9, 0.25, 0.25, 12, 24]
    assert type(made.trials) is int
    assert type(made.starts[0]["hash.bits"]) is int


# ---------------------------------------------------------------------------------------------------- names of levels


def test_labels_follow_what_runs() -> None:
    _, reading = study_files.load_study("srem_reading")
    assert isinstance(reading, Ablation)
    moved = plan(reading, **{"srem.grid": 14})
    assert len({variant.name for variant in moved.variants}) == len(moved.variants) == 8
    for variant in moved.variants:
        grid = variant.config.srem.grid
        assert variant.settings["ranked"] == ("every pixel" if grid is None else f"{grid} x {grid}")
        assert variant.settings["ranked"] in variant.name
    assert moved.reference.settings["ranked"] == "14 x 14"
    elsewhere = plan(reading, **{"srem.grid": 8})
    assert elsewhere.reference.name == "srem.grid=8"
    assert len(elsewhere.variants) == 9  # the reference is none of the eight


@pytest.mark.parametrize(
    ("spelled", "plain"),
    [((1e-3, 1e-2), (0.001, 0.01)), ((1, 2), (1.0, 2.0)), ((1e0, 2e0), (1, 2)), (("1", "2"), (1, 2))],
)
def test_a_level_has_one_name_however_it_is_spelled(spelled: tuple[Any, ...], plain: tuple[Any, ...]) -> None:
    def of(levels: tuple[Any, ...]) -> list[str]:
        return names(retrieval(reference={"esrl.positive": 0.5}, factors=[factor("esrl.positive", *levels)]))

    assert of(spelled) == of(plain)
    assert len(set(of(spelled))) == 3


@pytest.mark.parametrize(
    "labels",
    [
        ("ITQ", "itq"),
        ("ITQ", " ITQ"),
        ("a  b", "a b"),
        ("\u00e9", "e\u0301"),
        ("K", "\u212a"),
        ("a", "a\u200b"),
        (1, "1"),
    ],
)
def test_labels_that_look_alike_are_refused(labels: tuple[Any, Any]) -> None:
    with pytest.raises(UserError, match="rename one"):
        choice("method", {labels[0]: {"hash.bits": 12}, labels[1]: {"hash.bits": 24}})


@pytest.mark.parametrize(
    "name", ["seed", "status", "metric", "Seed", " variant", "map_validation", "config", "cell", "error"]
)
def test_a_factor_has_no_name_that_results_use(name: str) -> None:
    with pytest.raises(UserError, match="the results have a column of that name"):
        retrieval(factors=[choice(name, {"short": {"hash.bits": 12}, "long": {"hash.bits": 24}})])


def test_names_of_factors_differ_and_mean_what_they_set() -> None:
    short = {"short": {"hash.bits": 12}, "long": {"hash.bits": 24}}
    with pytest.raises(UserError, match="differ only in case"):
        retrieval(factors=[choice("length", short), choice("Length", short)])
    with pytest.raises(UserError, match="name of a config path that it does not set"):
        retrieval(factors=[choice("srem.size", short)])


def test_variants_that_would_share_a_name_are_refused_before_anything_runs() -> None:
    first = choice("first", {"a": {"hash.bits": 12}, "a, b": {"hash.bits": 24}})
    second = choice("second", {"b, c": {"srem.regions": 1}, "c": {"srem.regions": 2}})
    study = retrieval(reference={"hash.bits": 12, "srem.regions": 1}, factors=[first, second], design="full")
    with pytest.raises(UserError, match=r"two variants are called 'a, b, c', and differ in hash\.bits, srem\.regions"):
        plan(study)


def test_two_factors_that_undo_each_other_are_refused() -> None:
    factors = [factor("hash.bits", 12, 24), choice("length", {"short": {"hash.bits": 12}, "long": {"hash.bits": 24}})]
    with pytest.raises(UserError, match=r"factors 'hash.bits' and 'length' both set 'hash.bits'"):
        plan(retrieval(factors=factors, design="full"))


def test_two_files_with_the_same_content_are_one_variant(tmp_path: Path) -> None:
    for name in ("a.pth", "b.pth", "c.pth"):
        (tmp_path / name).write_bytes(b"other" if name == "c.pth" else b"same")
    levels = [str(tmp_path / name) for name in ("a.pth", "b.pth", "c.pth")]
    planned = plan(retrieval(reference={"model.weights": levels[0]}, factors=[factor("model.weights", *levels)]))
    assert [variant.name for variant in planned.variants] == ["reference", "model.weights=c.pth"]
    assert len({cell.hash for cell in planned.cells}) == len(planned.cells) == 4


def test_a_mistake_of_many_variants_is_one_line() -> None:
    study = retrieval(factors=[factor("srem.regions", 1, 2, 3)])
    with pytest.raises(UserError, match=r"variant 'reference': hash\.bits=0: .* \(and in 3 more variants\)") as caught:
        plan(study, **{"hash.bits": 0})
    assert len(caught.value.messages) == 1


# ------------------------------------------------------------------------------------------------------------ --only

COMPARISON = choice(
    "comparison",
    {
        "HelixFormer": {"helix.depth": 1},
        "HelixFormer, cosine": {"helix.depth": 2},
        "cosine": {"helix.depth": 3},
        "a=b": {"helix.depth": 4},
        "'quoted'": {"helix.depth": 5},
    },
)


def fewshot(**changes: Any) -> Ablation:
    given: dict[str, Any] = {
        "question": "?",
        "task": "fewshot",
        "reference": {"helix.depth": 1, "lwe.layers": [-1], "helix.rep": True, "helix.width": None, "lwfm.tau": 1},
        "factors": [
            COMPARISON,
            factor("lwe.layers", [-1], [-2, -1], (-3, -2, -1)),
            factor("helix.rep", True, False),
            factor("helix.width", None, 64),
            factor("lwfm.tau", 1, 0.001),
        ],
        "metric": "accuracy",
    }
    return Ablation(**given | changes)


@pytest.mark.parametrize(
    ("word", "levels"),
    [
        ("comparison=HelixFormer, cosine", [{"helix.depth": 1}, {"helix.depth": 2}]),  # the reference stays
        ("comparison=HelixFormer,cosine", [{"helix.depth": 1}, {"helix.depth": 3}]),
        ("comparison='HelixFormer, cosine'", [{"helix.depth": 1}, {"helix.depth": 2}]),
        ('comparison="cosine", HelixFormer, cosine', [{"helix.depth": depth} for depth in (1, 2, 3)]),
        ("comparison=a=b", [{"helix.depth": 1}, {"helix.depth": 4}]),
        ("comparison='quoted'", [{"helix.depth": 1}, {"helix.depth": 5}]),
        ("lwe.layers=[-2, -1]", [{"lwe.layers": [-2, -1]}]),
        ("lwe.layers=[-2,-1],[-1]", [{"lwe.layers": [-1]}, {"lwe.layers": [-2, -1]}]),
        ("lwe.layers=(-3, -2, -1)", [{"lwe.layers": [-3, -2, -1]}]),
        ("helix.rep=false", [{"helix.rep": False}]),
        ("helix.rep=False", [{"helix.rep": False}]),
        ("helix.rep=true,False", [{"helix.rep": True}, {"helix.rep": False}]),
        ("helix.width=none", [{"helix.width": None}]),
        ("helix.width=None,64.0", [{"helix.width": None}, {"helix.width": 64}]),
        ("lwfm.tau=1.0", [{"lwfm.tau": 1}]),
        ("lwfm.tau=1e0", [{"lwfm.tau": 1}]),
        ("lwfm.tau=1e-3", [{"lwfm.tau": 0.001}]),
        ('lwfm.tau="0.001" , 1', [{"lwfm.tau": 1}, {"lwfm.tau": 0.001}]),
    ],
)
def test_only_finds_the_levels_that_the_study_has(word: str, levels: list[dict[str, Any]]) -> None:
    study = fewshot()
    asked = overrides.parse_only([word], [item.name for item in study.factors])
    (name,) = asked
    narrowed = next(item for item in study.only(asked).factors if item.name == name)
    assert sorted(narrowed.levels, key=str) == sorted(levels, key=str)


def test_an_answer_of_only_quotes_names_and_finds_the_nearest() -> None:
    with pytest.raises(UserError, match=r"'HelixFormer, cosine', cosine.*did you mean 'HelixFormer'") as caught:
        fewshot().only(overrides.parse_only(["comparison=HelixFormr"]))
    assert "no such level" in str(caught.value)
    with pytest.raises(UserErrors) as many:
        fewshot().only({"comparison": ["x"], "helix.rap": ["true"], "lwe.layers": ["[-9]"]})
    assert len(many.value.messages) == 3


def test_a_factor_may_have_an_equals_sign_in_its_name() -> None:
    levels = {"x": {"helix.depth": 1}, "y": {"helix.depth": 2}}
    study = fewshot(factors=[choice("rate=fast", levels), choice("rate", {"z": {"lwfm.tau": 1}})])
    asked = overrides.parse_only(["rate=fast=y"], [item.name for item in study.factors])
    assert study.only(asked).factors[0].labels == ("x", "y")


def test_component_and_search_groups_are_checked_too() -> None:
    with pytest.raises(UserError, match="'SREM' and 'srem' differ only in case"):
        retrieval(
            design="leave_one_out",
            factors=[component("SREM", off={"srem.regions": 0}), component("srem", off={"srem.size": 1})],
        )
    space = {"esrl.positive": tune.uniform(0.1, 1)}
    with pytest.raises(UserError, match=r"group 'hash\.bits': 'hash.bits=12' is there twice"):
        Search("?", "retrieval", space, group=factor("hash.bits", 12, 12.0))
    search = Search("?", "retrieval", space, group=factor("hash.bits", 12, 24), reference={"srem.regions": 9})
    with pytest.raises(UserError, match=r"--set hash\.bits fixes what each group"):
        plan_search("s", search, "laptop", DATA, {"hash.bits": 12})
    moved = plan_search("s", search, "laptop", DATA, {"srem.regions": 5})
    assert moved.reference(moved.groups[0]).config.srem.regions == 5, "--set moves the reference, as in an ablation"
    assert replace(search, group=None).group is None


def test_an_unknown_number_is_answered_without_a_guess() -> None:
    study = retrieval(reference={"srem.regions": 50}, factors=[factor("srem.regions", 0, 10, 50)])
    with pytest.raises(UserError, match=r"srem.regions=70: no such level; 'srem.regions' has 0, 10, 50$"):
        study.only(overrides.parse_only(["srem.regions=70"]))
