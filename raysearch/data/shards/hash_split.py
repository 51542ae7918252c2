"""Splits by a hash of each image's path: the same whatever the order of the files.

If a data set has no split or no validation part, the images of each class whose paths have the smallest hashes are
taken. Adding or removing an image moves few others. The order of files and random seeds do not matter.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from raysearch.core import UserError
from raysearch.data.shards.samples import Sample

TEST_FRACTION = 0.5  # the public fine-grained sets (CUB-200-2011, NABirds) halve their photos


def sort_by_hash(sources: Iterable[str]) -> list[str]:
    """Return paths in the order of their hashes.

    >>> sort_by_hash(["a/1.jpg", "a/2.jpg", "a/3.jpg"]) == sort_by_hash(["a/3.jpg", "a/1.jpg", "a/2.jpg"])
    True
    """
    return sorted(sources, key=lambda source: hashlib.sha256(source.encode("utf-8", "surrogateescape")).digest())


def choose_test_sources(classes: Mapping[str, Sequence[str]], fraction: float | None, root: Path) -> set[str]:
    """Choose the test images: the `fraction` of each class with the smallest hashes. At least two stay for training.

    Args:
        classes: class -> sources of its images.
        fraction: between 0 and 1; None for TEST_FRACTION.
        root: named in errors.

    Raises:
        UserError: a fraction out of range, or a class with fewer than three images.
    """
    share = TEST_FRACTION if fraction is None else fraction
    if not 0 < share < 1:
        raise UserError(f"--test-fraction must be between 0 and 1, not {share:g}")
    chosen: set[str] = set()
    for label, sources in classes.items():
        if len(sources) < 3:
            number = f"{len(sources)} image{'' if len(sources) == 1 else 's'}"
            raise UserError(
                f"class {label!r} has {number} in {root}; a class needs at least three: two to train, one to test"
            )
        chosen.update(sort_by_hash(sources)[: min(max(round(share * len(sources)), 1), len(sources) - 2)])
    return chosen


def hold_out_validation(samples: Iterable[Sample], share: float) -> list[Sample]:
    """Move the `share` of each class's train images with the smallest hashes to val. At least one stays in train.

    Args:
        samples: the samples of all splits.
        share: between 0 and 1.

    Returns:
        All samples, in their order.

    Raises:
        UserError: a share out of range, a data set that has a val part, or so few images per class that none would be
            held out.

    >>> birds = [Sample(f"{n}.jpg", "wren", "train", bytes) for n in range(10)]
    >>> sorted(sample.source for sample in hold_out_validation(birds, 0.2) if sample.split == "val")
    ['0.jpg', '5.jpg']
    """
    if not 0 < share < 1:
        raise UserError(f"--val must be between 0 and 1, not {share:g}")
    all_samples = list(samples)
    if existing := sum(sample.split == "val" for sample in all_samples):
        raise UserError(f"--val has no effect here: the data set has a val part already ({existing:,} images)")
    classes: dict[str, list[str]] = {}
    for sample in all_samples:
        if sample.split == "train":
            classes.setdefault(sample.label, []).append(sample.source)
    chosen = {
        source
        for sources in classes.values()
        for source in sort_by_hash(sources)[: min(round(share * len(sources)), len(sources) - 1)]
    }
    if not chosen:
        largest = max((len(sources) for sources in classes.values()), default=0)
        raise UserError(f"--val {share:g} holds out no images: the largest class has {largest}. Use a larger share.")
    return [sample._replace(split="val") if sample.source in chosen else sample for sample in all_samples]
