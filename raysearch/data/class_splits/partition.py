"""A data set divided by classes: which of them train, validate and test, and whether the weights have seen the test.

Numbers from different splits of one data set cannot be compared, so each carries its split's name and hash.

LWFM-SPM (arXiv 2411.06363) starts from ImageNet weights and is tested on miniImageNet and tieredImageNet, whose test
classes are among the thousand labeled classes of ImageNet. The photos of Stanford Dogs are ImageNet's too. Such
accuracies are not comparable with those of methods that learn from the training classes alone.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass

from raysearch.core import UserError
from raysearch.data import shards
from raysearch.data.class_splits.class_names import WORDNET
from raysearch.data.class_splits.splits import ELSEWHERE, Split, known_splits, load_split, split_hash, split_identity
from raysearch.data.evaluation_limits import DataCounts, are_disjoint, are_tests_apart
from raysearch.storage import LocationLike

PARTS = ("train", "val", "test")
AUTO = "auto"  # OWN if the rows' splits share no class, else RULE
OWN = "own"  # the rows' own splits
OWN_HELD_OUT = "own-held-out"  # the same, with validation classes taken from the train classes
RULE = "mod4"  # every fourth class
VALIDATION_SHARE = 0.2  # of the train classes, as in miniImageNet (16 of 80) and CIFAR-FS
LEAST_VALIDATION = 5  # classes, the usual ways of an episode, as long as half of the train classes remain
FROM_IMAGENET = frozenset({"miniimagenet", "tieredimagenet", "stanford-dogs"})
_IMAGENET_WORDS = ("imagenet", "default")  # torchvision's IMAGENET1K_V1 and DEFAULT, and files named after the set


@dataclass(frozen=True)
class Partition:
    """The part of each class of a data set.

    Args:
        name: the name of the split.
        hash: a digest of which images of which classes are in which part.
        of_class: the part of each class, by label.
        images: part -> number of images.
        split: as it was loaded.
    """

    name: str
    hash: str
    of_class: tuple[str, ...]
    images: Mapping[str, int]
    split: Split

    @property
    def identity(self) -> str:
        """Name and hash, for metric ids."""
        return f"{self.name}-{self.hash[:8]}"

    def describe(self) -> str:
        """Return the partition as one line for people."""
        sizes = ", ".join(f"{self.of_class.count(part)} {part} ({self.images[part]:,} images)" for part in PARTS)
        return f"split {self.name}, hash {self.hash[:8]}: classes {sizes}"

    def record(self) -> dict[str, dict[str, int]]:
        """Return the number of classes and of images in each part."""
        return {"classes": {part: self.of_class.count(part) for part in PARTS}, "images": dict(self.images)}

    def warnings(self, weights: str | None) -> list[str]:
        """Return what the reader of numbers from this split, with these initial weights, has to know."""
        seen = leakage_warning(weights, self.split)
        held_out = f"split {self.name}: {self.split.source}" if self.name == OWN_HELD_OUT else None
        return [warning for warning in (held_out, seen) if warning]


def partition_of(directory: LocationLike, name: str) -> Partition:
    """Divide a data set by classes.

    Args:
        directory: a directory of shards.
        name: as of `divide_classes`.

    Raises:
        UserError: no such split, one that does not fit the classes, or a part without classes.
    """
    manifest = shards.read_manifest(directory)
    split = divide_classes(name, DataCounts(manifest.name, manifest.classes, manifest.counts))
    of_class = tuple(split.parts[label] for label in manifest.classes)
    totals = [sum(manifest.counts[part][label] for part in manifest.counts) for label in range(len(of_class))]
    images = {
        part: sum(total for total, class_part in zip(totals, of_class, strict=True) if class_part == part)
        for part in PARTS
    }
    rows = shards.read_rows(directory, columns=["label", "source"])
    labels = [manifest.classes[label] for label in rows["label"].to_pylist()]
    digest = split_hash(split, rows["source"].to_pylist(), labels)
    return Partition(split.name, digest, of_class, images, split)


def divide_classes(name: str, data: DataCounts) -> Split:
    """Return the part of each class, without reading any rows.

    Args:
        name: of a shipped split or a rule; a CSV file; "own" for the rows' own splits; or "auto" for these if they
            share no class, else every fourth class. Own splits without a validation part give a fifth of their train
            classes to it, chosen by a hash of the names.
        data: the images of each class.

    Raises:
        UserError: no such split, one that does not fit the classes, or no class to train or to validate on.
    """
    has_own_parts = are_disjoint(data) or are_tests_apart(data)
    if name == OWN and not has_own_parts:
        raise UserError(
            f"data.split={OWN} needs train/val/test splits with disjoint, non-empty class sets; data set '{data.name}' "
            "does not have them"
        )
    if name in (OWN, AUTO) and has_own_parts:
        return _divide_own_parts(name, data)
    if name == AUTO:
        _check_train_part(name, data)
    split = load_split(RULE if name == AUTO else name, data.classes)
    for part in PARTS:
        if part not in split.parts.values():
            raise UserError(f"data.split={name}: no class of '{data.name}' is in its {part} part")
    return split


def data_identity(manifest: shards.Manifest) -> str:
    """Return what a cell's hash contains of a data set: its content hash.

    Earlier versions divided the classes of a data set anew if no part of it had validation classes of its own.
    Cells on such data have new hashes, so that no result of the earlier division is taken over.
    """
    data = DataCounts(manifest.name, manifest.classes, manifest.counts)
    is_whole = are_disjoint(data) and all(any(data.part(part)) for part in PARTS)
    if is_whole or not (are_disjoint(data) or are_tests_apart(data)):
        return manifest.content_hash
    return hashlib.sha256(f"{manifest.content_hash} own parts".encode()).hexdigest()


def is_named(name: str) -> bool:
    """Return whether a split is known by this name, so that it is no path."""
    return name in (AUTO, OWN) or name in known_splits() or name in ELSEWHERE


def partition_identity(name: str) -> str:
    """Return what a cell's hash contains of a split; "own" rows are part of the data set's hash already.

    Raises:
        UserError: no such split.
    """
    return name if name in (AUTO, OWN) else split_identity(name)


def leakage_warning(weights: str | os.PathLike[str] | None, split: Split) -> str | None:
    """Return a warning if ImageNet weights meet new classes of ImageNet, else None. A file is judged by its name.

    Args:
        weights: `model.weights`: a torchvision name, a file, or None.
        split: the split of the data set; classes named by a WordNet id count as ImageNet's.
    """
    if weights is None or not any(word in os.path.basename(weights).lower() for word in _IMAGENET_WORDS):
        return None
    novel = [label for part in ("val", "test") for label in split.classes(part)]
    seen = len(novel) if split.name in FROM_IMAGENET else sum(bool(WORDNET.match(label)) for label in novel)
    if not seen:
        return None
    return (
        f"{seen} of the {len(novel)} classes of val and test are ImageNet's, and the weights {os.fspath(weights)} were "
        "trained on them: accuracies are not comparable with methods that start from the training classes"
    )


def _check_train_part(name: str, data: DataCounts) -> None:
    """Raise UserError if a data set was ingested with parts, and train is not among them."""
    parts = [part for part in PARTS if any(data.part(part))]
    if parts and "train" not in parts:
        raise UserError(
            f"data.split={name}: '{data.name}' has a {' and a '.join(parts)} part and no train part; give it one, or "
            f"divide its classes anew by data.split={RULE}"
        )


def _divide_own_parts(name: str, data: DataCounts) -> Split:
    """Return the rows' own splits, with a fifth of the train classes as validation classes where none are given."""
    _check_train_part(name, data)
    parts = {
        label: next((part for part in PARTS if data.part(part)[index]), PARTS[0])
        for index, label in enumerate(data.classes)
    }
    if "val" in parts.values() and are_disjoint(data):
        return Split(OWN, parts, "the data set's own rows")
    train = [label for label, part in parts.items() if part != "test"]
    count = min(max(round(VALIDATION_SHARE * len(train)), LEAST_VALIDATION), len(train) // 2)
    if not count:
        raise UserError(
            f"data.split={name}: '{data.name}' has no validation part, and one train class, which cannot be divided"
        )
    held_out = shards.sort_by_hash(train)[:count]
    return Split(
        OWN_HELD_OUT,
        parts | dict.fromkeys(train, "train") | dict.fromkeys(held_out, "val"),
        f"the data set has no validation classes of its own, so {count} of its {len(train)} train classes validate",
    )
