"""Parts of a data set that are chosen by a hash of each image's path: the same whatever order files are listed in.

Where a data set has no split, or no validation part, the images of each class whose paths have the smallest hashes
are taken. Adding or removing an image moves few others, and nobody's order of files or random seed matters.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from raysearch.core.errors import UserError
from raysearch.data.shards.samples import Sample

TEST_FRACTION = 0.5  # the public fine-grained sets (CUB-200-2011, NABirds) halve their photos


def sort_by_hash(sources: Iterable[str]) -> list[str]:
    """Paths in the order of their hashes.

    >>> sort_by_hash(["a/1.jpg", "a/2.jpg", "a/3.jpg"]) == sort_by_hash(["a/3.jpg", "a/1.jpg", "a/2.jpg"])
    True
    """
    return sorted(sources, key=lambda source: hashlib.sha256(source.encode("utf-8", "surrogateescape")).digest())


def choose_test_sources(classes: Mapping[str, Sequence[str]], fraction: float | None, root: Path) -> set[str]:
    """Sources that are for testing, of each class the `fraction` with the smallest hashes; two stay to train.

    Args:
        classes: class -> sources of its images.
        fraction: TEST_FRACTION where None.
        root: named in errors.

    Raises UserError: a fraction that is none, a class of fewer than three images.
    """
    share = TEST_FRACTION if fraction is None else fraction
    if not 0 < share < 1:
        raise UserError(f"--test-fraction must lie between 0 and 1, not {share:g}")
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
    """The samples, of each class the `share` of train with the smallest hashes now val; one at least stays in train.

    Raises UserError: a share that is none, a data set with a val part of its own, or so few images a class that none
    would be held out.

    >>> birds = [Sample(f"{n}.jpg", "wren", "train", bytes) for n in range(10)]
    >>> sorted(one.source for one in hold_out_validation(birds, 0.2) if one.split == "val")
    ['0.jpg', '5.jpg']
    """
    if not 0 < share < 1:
        raise UserError(f"--val must lie between 0 and 1, not {share:g}")
    everything = list(samples)
    if own := sum(sample.split == "val" for sample in everything):
        raise UserError(f"--val has no effect here: the data set has a val part already ({own:,} images)")
    classes: dict[str, list[str]] = {}
    for sample in everything:
        if sample.split == "train":
            classes.setdefault(sample.label, []).append(sample.source)
    chosen = {
        source
        for sources in classes.values()
        for source in sort_by_hash(sources)[: min(round(share * len(sources)), len(sources) - 1)]
    }
    if not chosen:
        most = max((len(sources) for sources in classes.values()), default=0)
        raise UserError(f"--val {share:g} of {most} images a class at most is no image; take a larger share")
    return [sample._replace(split="val") if sample.source in chosen else sample for sample in everything]
