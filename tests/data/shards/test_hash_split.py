"""Parts by hash: of each class so many, never all, and the same ones whatever the order."""

import hashlib
from collections import Counter

import pytest

from raysearch.core import UserError
from raysearch.data.shards import Sample, hold_out_validation


def birds(number: int, label: str = "wren", split: str = "train") -> list[Sample]:
    return [Sample(f"{label}/{split}/{n}.jpg", label, split, bytes) for n in range(number)]


def held(samples: list[Sample], share: float) -> set[str]:
    return {sample.source for sample in hold_out_validation(samples, share) if sample.split == "val"}


def test_the_smallest_hashes_of_each_class() -> None:
    samples = birds(20) + birds(7, "owl") + birds(9, split="test")
    expected = set()
    for label, number in (("wren", 6), ("owl", 2)):
        sources = [sample.source for sample in samples if (sample.label, sample.split) == (label, "train")]
        expected |= set(sorted(sources, key=lambda source: hashlib.sha256(source.encode()).hexdigest())[:number])
    assert held(samples, 0.3) == held(samples[::-1], 0.3) == expected
    assert [sample.source for sample in hold_out_validation(samples, 0.3)] == [sample.source for sample in samples]
    assert Counter(sample.split for sample in hold_out_validation(samples, 0.3)) == {"train": 19, "val": 8, "test": 9}


def test_one_stays_in_train() -> None:
    samples = hold_out_validation(birds(5) + birds(1, "owl") + birds(2, "auk"), 0.99)
    assert Counter((sample.label, sample.split) for sample in samples) == {
        ("wren", "val"): 4,
        ("wren", "train"): 1,
        ("owl", "train"): 1,
        ("auk", "val"): 1,
        ("auk", "train"): 1,
    }


def test_a_class_that_grows_keeps_most_of_its_part() -> None:
    assert len(held(birds(40), 0.25) - held(birds(41), 0.25)) <= 1


def test_wrong_shares() -> None:
    for share in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(UserError, match="--val must be between 0 and 1"):
            hold_out_validation(birds(5), share)
    with pytest.raises(UserError, match=r"has a val part already \(2 images\)"):
        hold_out_validation(birds(5) + birds(2, split="val"), 0.2)
    with pytest.raises(
        UserError, match=r"--val 0\.1 holds out no images: the largest class has 4\. Use a larger share"
    ):
        hold_out_validation(birds(4) + birds(3, "owl"), 0.1)
