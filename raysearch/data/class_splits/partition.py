"""A data set divided by classes: which of them train, validate and test, and whether the weights have seen the test.

Numbers from different splits of one data set cannot be compared, so each carries its split's name and hash.

LWFM-SPM (arXiv 2411.06363) starts from ImageNet weights and is tested on miniImageNet and tieredImageNet, whose test
classes are among the thousand labeled classes of ImageNet. The photos of Stanford Dogs are ImageNet's too. Such
accuracies are not comparable with those of methods that learn from the training classes alone.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from raysearch.core import UserError
from raysearch.data import shards
from raysearch.data.class_splits.class_names import WORDNET
from raysearch.data.class_splits.splits import Split, load_split, split_hash, split_identity
from raysearch.storage import LocationLike

PARTS = ("train", "val", "test")
AUTO = "auto"  # OWN if the rows' splits share no class, else RULE
OWN = "own"  # the rows' own splits
RULE = "mod4"  # every fourth class
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
        """Return reasons to doubt numbers from this split with these initial weights."""
        warning = leakage_warning(weights, self.split)
        return [warning] if warning else []


def partition_of(directory: LocationLike, name: str) -> Partition:
    """Divide a data set by classes.

    Args:
        directory: a directory of shards.
        name: of a shipped split or a rule; a CSV file; "own" for the rows' own splits; or "auto" for these if they
            share no class, else every fourth class.

    Raises:
        UserError: no such split, one that does not fit the classes, or a part without classes.
    """
    manifest = shards.read_manifest(directory)
    if name == OWN and not _has_disjoint_splits(manifest):
        raise UserError(
            f"data.split={OWN} needs train/val/test splits with disjoint, non-empty class sets; "
            f"data set '{manifest.name}' does not have them"
        )
    if name in (OWN, AUTO) and _has_disjoint_splits(manifest):
        split = Split(OWN, _parts_of_rows(manifest), "the data set's own rows")
    else:
        split = load_split(RULE if name == AUTO else name, manifest.classes)
    of_class = tuple(split.parts[label] for label in manifest.classes)
    for part in PARTS:
        if part not in of_class:
            raise UserError(f"data.split={name}: no class of '{manifest.name}' is in its {part} part")
    totals = [sum(manifest.counts[part][label] for part in manifest.counts) for label in range(len(of_class))]
    images = {
        part: sum(total for total, class_part in zip(totals, of_class, strict=True) if class_part == part)
        for part in PARTS
    }
    rows = shards.read_rows(directory, columns=["label", "source"])
    labels = [manifest.classes[label] for label in rows["label"].to_pylist()]
    digest = split_hash(split, rows["source"].to_pylist(), labels)
    return Partition(split.name, digest, of_class, images, split)


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


def _has_disjoint_splits(manifest: shards.Manifest) -> bool:
    """Return whether each class is in one split only, and each split has some."""
    splits_of_class = [
        sum(bool(manifest.counts[part][label]) for part in manifest.counts) for label in range(len(manifest.classes))
    ]
    return max(splits_of_class) == 1 and all(any(manifest.counts.get(part, ())) for part in PARTS)


def _parts_of_rows(manifest: shards.Manifest) -> dict[str, str]:
    """Return the part of each class; a class whose images were all corrupt goes to train."""
    return {
        label: next((part for part in manifest.counts if manifest.counts[part][index]), PARTS[0])
        for index, label in enumerate(manifest.classes)
    }
