"""What cannot be evaluated is refused before training, and what can be doubted is said, by class counts alone."""

import re
import subprocess
import sys
import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.core import UserError
from raysearch.data.evaluation_limits import DataCounts, Limits, dataset_warnings
from raysearch.studies.configs import overrides
from raysearch.tasks.metrics import Ranking, hamming_metrics

CLASSES = ("auk", "owl", "wren")


def limits(task: str, counts: Mapping[str, Sequence[int]], **settings: object) -> Limits:
    """The limits of a config, with settings whose dots are written `__`."""
    config = overrides.resolve(task, {name.replace("__", "."): value for name, value in settings.items()})
    classes = [f"class {index}" for index in range(len(next(iter(counts.values()))))]
    return config.limits("birds", classes, counts)


@pytest.mark.parametrize(
    ("train", "test", "error"),
    [
        ((2, 2, 0), (0, 0, 0), "has no test images"),
        ((0, 0, 0), (1, 0, 0), "has no train images"),
        ((3, 1, 3), (1, 1, 1), "class 'class 1' of data set 'birds' has one training image; it needs at least two"),
        ((1, 1, 1), (1, 1, 1), "class 'class 0' .* at least two; so have 2 other classes"),
        ((4, 0, 0), (1, 0, 0), "has one training class"),
        ((3, 3, 0), (0, 0, 5), "none of the 1 test class of data set 'birds' is in train"),
        ((0, 0, 3), (5, 5, 0), "none of the 2 test classes of data set 'birds' is in train"),
    ],
)
def test_impossible_retrieval(train: Sequence[int], test: Sequence[int], error: str) -> None:
    counts = {"train": train, "test": test}
    assert any(re.search(error, text) for text in limits("retrieval", counts).errors)
    with pytest.raises(UserError, match=error):
        overrides.resolve("retrieval", {}).check("birds", [f"class {index}" for index in range(3)], counts)


def test_doubtful_retrieval() -> None:
    (warning,) = limits("retrieval", {"train": (3, 3, 0), "test": (1, 1, 7)}).warnings
    assert warning.startswith("7 test images of 1 class ('class 2') have no image of their class in train")
    (warning,) = limits("retrieval", {"train": (3, 3, 3), "test": (0, 4, 0)}).warnings
    assert warning.startswith("all queries are of class 'class 1'")
    assert limits("retrieval", {"train": (3, 3, 3), "test": (1, 1, 1)}) == Limits()


@pytest.mark.parametrize(("classes", "name"), [(555, "NABirds"), (292, "VegFru")])
def test_the_sample_of_the_paper_on_large_data_sets(classes: int, name: str) -> None:
    counts = {"train": [3] * classes, "test": [1] * classes}
    (warning,) = limits("retrieval", counts).warnings
    assert f"4,000 images per iteration on {name}, and this run 2,000; add --set train.samples=4000" in warning
    assert limits("retrieval", counts, train__samples=4000) == Limits()
    assert limits("retrieval", counts, hash__method="itq") == Limits()  # draws no sample


def test_validation_that_holds_out_nothing() -> None:
    counts = {"train": (3, 3, 3), "test": (1, 1, 1)}
    (error,) = limits("retrieval", counts, data__validation=0.1).errors
    assert "data.validation=0.1 holds out no images" in error
    assert not limits("retrieval", counts, data__validation=0.3).errors


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=5),
)
def test_queries_that_count_as_zero_are_those_that_are_named(numbers: list[tuple[int, int]]) -> None:
    """A second opinion: with codes that are the class, mAP is the share of queries that find their class."""
    train, test = zip(*numbers, strict=True)
    if not sum(train) or not sum(test):
        return
    codes = 2 * torch.eye(len(numbers)) - 1
    query = np.repeat(np.arange(len(numbers)), test)
    database = np.repeat(np.arange(len(numbers)), train)
    ranking = Ranking.from_codes(codes[query], query, codes[database], database)
    score = ranking.mean(hamming_metrics.average_precision(ranking))
    found = limits("retrieval", {"train": train, "test": test})
    text = " ".join((*found.errors, *found.warnings))
    assert ("every query would count as 0" in text) == (score == 0)
    assert ("they count as 0 in every metric" in text) == (0 < score < 1)


@pytest.mark.parametrize(
    ("counts", "settings", "error"),
    [
        (
            {"train": [9] * 8},
            {},
            "ways=5: the split has 4 train classes; set fewer ways: --set episodes.ways=4",
        ),
        ({"train": [9] * 10}, {"episodes__ways": 2}, None),
        ({"train": [1] * 40}, {}, "episodes.shots=1: no train class has more images than that"),
        ({"train": [5] * 40}, {"episodes__shots": 5}, "use --set episodes.shots=4"),
        ({"train": [5] * 40}, {"episodes__shots": 4}, None),
        ({"test": [9] * 40}, {}, "has a test part and no train part"),
        ({"train": [9] * 6 + [0] * 6, "test": [0] * 6 + [9] * 6}, {}, "has 3 validation classes"),
        ({"train": [9] * 9 + [0] * 9, "val": [0] * 9 + [9] * 9}, {}, "has 0 test classes; set another data.split"),
    ],
)
def test_impossible_episodes(
    counts: Mapping[str, Sequence[int]], settings: Mapping[str, object], error: str | None
) -> None:
    found = limits("fewshot", counts, model__method="centroid", **settings)
    assert (error in " ".join(found.errors)) if error else not found.errors


def test_doubtful_episodes() -> None:
    found = limits("fewshot", {"train": [1] * 1 + [9] * 20 + [30] * 40}, episodes__ways=3)
    assert any(text.startswith("1 train class has 1 images or fewer ('class 0')") for text in found.warnings)
    assert any(re.search(r"\d+ of 31 train classes have fewer than the 16 images", text) for text in found.warnings)
    assert limits("fewshot", {"train": [16] * 40}) == Limits()


def test_a_pre_training_needs_no_test_classes() -> None:
    disjoint = {"train": [9, 9, 0, 0], "val": [0, 0, 9, 9]}
    assert limits("pretrain", disjoint) == Limits()
    (error,) = limits("pretrain", {"train": [9, 9, 0], "val": [0, 0, 9]}).errors
    assert error.startswith("the split has 1 validation class; pre-training needs at least two")


def test_one_name_in_two_unicode_forms() -> None:
    form, other = (unicodedata.normalize(form, "kolibrí") for form in ("NFC", "NFD"))
    found = DataCounts("birds", ("auk", form, other), {"train": (3, 3, 3), "test": (1, 1, 1)})
    (warning,) = dataset_warnings(found)
    assert warning.startswith(f"class '{form}' is there 2 times")


def test_what_an_ingest_says() -> None:
    def _said(**counts: Sequence[int]) -> str:
        return "; ".join(dataset_warnings(DataCounts("birds", CLASSES, counts)))

    assert _said(train=(3, 3, 3), test=(1, 1, 1)) == ""
    assert "retrieval studies refuse them; it has no val part; data.split=auto" in _said(
        train=(3, 3, 0), test=(0, 0, 3)
    )
    assert "it has no train part" in _said(val=(3, 3, 0), test=(0, 0, 3))
    assert "retrieval is not possible: data set 'birds' has no test images" in _said(train=(3, 3, 3))
    assert "3 test images of 1 class ('wren') have no image" in _said(train=(3, 3, 0), test=(1, 1, 3))


def test_a_data_set_that_is_disjoint_but_for_a_class() -> None:
    counts = {"train": [9] * 21 + [0] * 20, "test": [0] * 20 + [9] * 21}
    (warning,) = limits("fewshot", counts, episodes__queries=8).warnings
    assert warning.startswith("1 class is in several parts ('class 20'), and the other 40 are not")
    assert limits("fewshot", counts, episodes__queries=8, data__split="mod4") == Limits()
    found = dataset_warnings(DataCounts("birds", [f"class {index}" for index in range(41)], counts))
    assert warning in found
    assert limits("fewshot", {"train": [9] * 40, "test": [9] * 40}) == Limits(), "as in retrieval, all are shared"


def test_neither_torch_nor_ray() -> None:
    program = (
        "import sys; import raysearch.data.evaluation_limits, raysearch.studies.configs; "
        "assert not {'torch', 'ray'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
