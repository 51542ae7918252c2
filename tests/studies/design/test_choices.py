"""Factors whose levels have names, blocks with a reference of their own, and studies narrowed to some levels."""

import pyarrow as pa
import pytest

from raysearch.core import UserError
from raysearch.studies.analysis import statistics
from raysearch.studies.configs import overrides
from raysearch.studies.design import Ablation, ablation_plan, choice, factor, study_files

PLAIN = {"srem.regions": 0, "esrl.positive": 0.0}
METHODS = choice("method", {"ITQ": {"hash.method": "itq"}, "bare": PLAIN, "full": {"srem.regions": 50}})


def study(**changes) -> Ablation:
    given = {
        "question": "?",
        "task": "retrieval",
        "reference": {**PLAIN, "hash.bits": 24},
        "factors": [METHODS, factor("hash.bits", 12, 24, 48)],
        "design": "full",
        "within": ("hash.bits",),
        "seeds": 2,
    }
    return Ablation(**given | changes)


def make(ablation: Ablation, **options) -> ablation_plan.AblationPlan:
    return ablation_plan.plan_ablation("study", ablation, "paper", "d" * 64, **options)


def test_levels_go_by_their_names() -> None:
    planned = make(study())
    names = [variant.name for variant in planned.variants]
    assert names == [
        "bare", "bare, hash.bits=12", "bare, hash.bits=48", "ITQ, hash.bits=12", "ITQ", "ITQ, hash.bits=48",
        "full, hash.bits=12", "full", "full, hash.bits=48",
    ]  # fmt: skip
    by_name = {variant.name: variant for variant in planned.variants}
    assert by_name["ITQ, hash.bits=12"].settings == {"method": "ITQ", "hash.bits": 12}
    assert by_name["ITQ, hash.bits=12"].declared["method"] == "ITQ"
    assert by_name["ITQ, hash.bits=12"].config.hash.method == "itq"
    assert by_name["full"].config.srem.regions == 50
    assert by_name["full"].config.esrl.positive == 0, "a setting that a level leaves out is the reference's"


def test_every_block_has_a_reference_of_its_own() -> None:
    planned = make(study())
    for variant in planned.variants:
        bits = variant.settings["hash.bits"]
        assert planned.references[variant.name] == ("bare" if bits == 24 else f"bare, hash.bits={bits}")
    plain = make(study(within=()))
    assert set(plain.references.values()) == {"bare"}


def test_differences_are_taken_within_a_block() -> None:
    values = {"a": [1.0, 2.0, 3.0], "b": [1.5, 2.5, 3.5], "c": [10.0, 20.0, 30.0], "d": [9.0, 19.0, 29.0]}
    rows = [
        {"variant": name, "seed": seed, "status": "finished", "config": "{}", "metric_ids": "{}", "map": value}
        for name, numbers in values.items()
        for seed, value in enumerate(numbers)
    ]
    references = {"a": "a", "b": "a", "c": "c", "d": "c"}
    compared = {
        row["variant"]: row for row in statistics.compare(pa.Table.from_pylist(rows), "map", references).to_pylist()
    }
    assert [compared[name]["delta"] for name in "abcd"] == [None, 0.5, None, -1.0]
    assert compared["a"]["decided"] is compared["c"]["decided"] is None
    apart = statistics.compare(pa.Table.from_pylist(rows[:6]), "map", "a").to_pylist()[1]
    assert compared["b"]["p"] == apart["p"] is not None
    with pytest.raises(UserError, match="no variant 'x'"):
        statistics.compare(pa.Table.from_pylist(rows), "map", references | {"b": "x"})
    with pytest.raises(UserError):
        statistics.compare(pa.Table.from_pylist(rows), "map", {"a": "a", "b": "d", "c": "c"})


def test_only_some_levels() -> None:
    fewer = make(study().only({"hash.bits": [12], "method": ["ITQ"]}))
    assert [variant.name for variant in fewer.variants] == ["bare", "ITQ"]
    assert {variant.config.hash.bits for variant in fewer.variants} == {12}
    narrowed = make(study().only({"hash.bits": [24, 48]}))
    assert narrowed.reference.config.hash.bits == 24
    assert len(narrowed.variants) == 6
    whole = {cell.hash for cell in make(study()).cells}
    assert {cell.hash for cell in fewer.cells} <= whole, "the same cells as of the whole study"


def test_none_is_a_word_where_a_factor_has_it() -> None:
    reference = {**PLAIN, "data.augment": "flip", "srem.grid": None}
    factors = [factor("data.augment", "none", "flip"), factor("srem.grid", None, 7)]
    ablation = study(reference=reference, factors=factors, within=())
    plain = ablation.only(overrides.parse_only(["data.augment=none", "srem.grid=none"]))
    assert [narrowed_factor.levels for narrowed_factor in plain.factors] == [
        ({"data.augment": "none"},),
        ({"srem.grid": None},),
    ]


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ({"method": ["ITG"]}, "no such level; 'method' has ITQ, bare, full"),
        ({"hash.bits": [13]}, "no such level; 'hash.bits' has 12, 24, 48"),
        ({"hash.bit": [12]}, "no such factor; did you mean 'hash.bits'"),
    ],
)
def test_only_names_what_there_is(levels, words) -> None:
    with pytest.raises(UserError, match=words):
        study().only(levels)


def test_words_of_only() -> None:
    assert overrides.parse_only(["hash.bits=12", "hash.bits=24", "method=every pixel"]) == {
        "hash.bits": ["12", "24"],  # only the study knows whether 12 is a number
        "method": ["every pixel"],
    }
    with pytest.raises(UserError, match="FACTOR=LEVEL"):
        overrides.parse_only(["hash.bits"])


def test_blocks_and_names_have_to_fit_the_study() -> None:
    with pytest.raises(UserError, match=r"'hash\.bit' in within is not a factor; did you mean 'hash\.bits'"):
        study(within=("hash.bit",))
    with pytest.raises(UserError, match="within needs design='full'"):
        study(design="one_at_a_time")
    with pytest.raises(UserError, match="the reference is none of the levels of 'method'"):
        study(reference={"srem.regions": 3, "hash.bits": 24})


@pytest.mark.parametrize("name", ["srem_ablation", "hashing_baselines", "fcaenet_components", "fcaenet_leave_one_out",
                                  "hash_bits", "srem_reading", "similarity_ratio", "null_control"])  # fmt: skip
@pytest.mark.parametrize("profile", ["laptop", "paper"])
def test_every_study_plans(name: str, profile: str) -> None:
    _, ablation = study_files.load_study(name)
    assert isinstance(ablation, Ablation)
    planned = ablation_plan.plan_ablation(name, ablation, profile, "d" * 64)
    assert len(planned.variants) > 2
    assert set(planned.references) == {variant.name for variant in planned.variants}
