"""Configs refuse what cannot be, follow the paper where it depends on the code length, and have one canonical form."""

import pytest
from pydantic import ValidationError

from raysearch.studies.configs import HashConfig, RetrievalConfig, SremConfig, TrainConfig, overrides


def config(**sections: dict) -> RetrievalConfig:
    return RetrievalConfig.model_validate(sections)


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("hash", {"bits": 0}),
        ("hash", {"bits": 12.5}),
        ("hash", {"method": "md5"}),
        ("data", {"side": 4}),
        ("data", {"validation": 1.0}),
        ("srem", {"regions": -1}),
        ("srem", {"size": 0}),
        ("train", {"batch": 1}),
        ("train", {"lr": 0}),
        ("train", {"lr": float("nan")}),
        ("train", {"lr": float("inf")}),
        ("train", {"momentum": 1.0}),
        ("adsh", {"views": "both"}),
        ("srem", {"colour": "red"}),
        ("hashing", {"bits": 12}),
    ],
)
def test_values_that_cannot_be_are_refused(section: str, values: dict) -> None:
    with pytest.raises(ValidationError):
        config(**{section: values})


def test_regions_have_to_fit_the_image() -> None:
    with pytest.raises(ValidationError, match=r"srem\.size=65 erases more than the image, which is 64 px wide"):
        config(data={"side": 64}, srem={"size": 65})
    with pytest.raises(ValidationError, match=r"srem\.regions=65 are more than the 64 positions"):
        config(data={"side": 8}, srem={"regions": 65, "size": 4})
    with pytest.raises(ValidationError, match=r"srem\.regions=50 are more than the 49 positions"):
        config(srem={"grid": 7})
    config(data={"side": 64}, srem={"size": 64})
    config(data={"side": 16}, srem={"regions": 0})  # what is switched off needs no room


def test_parts_have_to_go_together() -> None:
    with pytest.raises(ValidationError, match=r"set data\.validation above 0"):
        config(train={"select": "validation"})
    config(train={"select": "validation"}, data={"validation": 0.1})
    with pytest.raises(ValidationError, match=r"leave model\.frozen out"):
        config(hash={"method": "exchnet"}, model={"frozen": True})


def test_every_field_says_what_it_changes() -> None:
    for path, field in overrides.known_paths("retrieval").items():
        assert field.description, path
        assert len(field.description) > 15, path


def test_configs_are_frozen() -> None:
    with pytest.raises(ValidationError):
        config().hash.bits = 12  # type: ignore[misc]


@pytest.mark.parametrize(("bits", "iterations", "falls"), [(12, 40, 2), (24, 40, 2), (32, 60, 3), (48, 60, 3)])
def test_long_codes_train_longer(bits: int, iterations: int, falls: int) -> None:
    for given in (bits, float(bits), str(bits)):  # however it is written
        train = config(hash={"bits": given}).train
        assert (train.iterations, len(train.milestones)) == (iterations, falls)
    assert RetrievalConfig(hash=HashConfig(bits=bits)).train.iterations == iterations


def test_what_is_asked_for_wins_over_the_longer_training() -> None:
    train = config(hash={"bits": 48}, train={"iterations": 7}).train
    assert (train.iterations, len(train.milestones)) == (7, 3)
    whole = RetrievalConfig(hash=HashConfig(bits=48), train=TrainConfig(iterations=7), srem=SremConfig(regions=1))
    assert (whole.train.iterations, whole.srem.regions) == (7, 1)


NOTHING_ERASED: dict[str, dict] = {"srem": {"regions": 0}}
SAME = [
    (NOTHING_ERASED, {"srem": {"regions": 0, "size": 7, "grid": 9, "center": True}}),
    (NOTHING_ERASED, {"srem": {"regions": 0}, "esrl": {"erased": 0.7}}),
    (NOTHING_ERASED, {"srem": {"regions": 0}, "adsh": {"views": "erased"}}),
    (NOTHING_ERASED, {"srem": {"regions": 10}, "esrl": {"erased": 0}}),
    ({"warmup": {"iterations": 0}}, {"warmup": {"iterations": 0, "lr": 0.5, "epochs": 9}}),
    ({"model": {"frozen": True}}, {"model": {"frozen": True}, "warmup": {"iterations": 3}}),
    ({"train": {"lr": 1}}, {"train": {"lr": 1.0}}),
    ({"hash": {"method": "itq"}}, {"hash": {"method": "itq"}, "train": {"lr": 9}, "data": {"augment": "crop"}}),
    ({"hash": {"method": "dsh"}}, {"hash": {"method": "dsh"}, "srem": {"regions": 0}, "adsh": {"gamma": 1}}),
    ({"esrl": {"positive": 0}}, {"esrl": {"positive": 0, "positives": "sample"}}),
]
DIFFERENT = [
    (NOTHING_ERASED, {"srem": {"regions": 10}}),
    (NOTHING_ERASED, {"srem": {"regions": 0}, "adsh": {"views": "all"}}),  # the positives are hashed
    ({"esrl": {"erased": 0}}, {"esrl": {"erased": 0}, "adsh": {"views": "erased"}}),  # erased images are still hashed
    ({"warmup": {"iterations": 1}}, {"warmup": {"iterations": 1, "lr": 0.5}}),
]


@pytest.mark.parametrize(("first", "second"), SAME)
def test_canonical_drops_what_cannot_matter(first: dict, second: dict) -> None:
    assert config(**first).canonical() == config(**second).canonical()


@pytest.mark.parametrize(("first", "second"), DIFFERENT)
def test_canonical_keeps_what_matters(first: dict, second: dict) -> None:
    assert config(**first).canonical() != config(**second).canonical()


@pytest.mark.parametrize("given", [pair[1] for pair in SAME + DIFFERENT] + [{"hash": {"bits": 48}}])
def test_a_canonical_config_reads_back_as_itself(given: dict) -> None:
    canonical = config(**given).canonical()
    assert RetrievalConfig.model_validate(canonical).canonical() == canonical
