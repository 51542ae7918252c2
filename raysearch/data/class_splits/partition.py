"""A data set divided by classes: which of its classes train, validate and test, under a name that says it all.

Numbers from different splits of one data set cannot be compared, so each carries its split's name and hash.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from raysearch.core.errors import UserError
from raysearch.data import shards
from raysearch.data.class_splits import splits
from raysearch.data.shards import Manifest
from raysearch.storage import LocationLike

PARTS = ("train", "val", "test")
AUTO, OWN, RULE = "auto", "own", "mod4"  # by what there is; the rows' own splits; the rule where those share classes


@dataclass(frozen=True)
class Partition:
    """Args:
    name: of the split.
    hash: of which images of which classes are in which part.
    of_class: the part of each class, by label.
    images: part -> number of images.
    split: as it was loaded.
    """

    name: str
    hash: str
    of_class: tuple[str, ...]
    images: Mapping[str, int]
    split: splits.Split

    @property
    def identity(self) -> str:
        """As metric ids carry it."""
        return f"{self.name}-{self.hash[:8]}"

    def describe(self) -> str:
        """A line for people."""
        sizes = ", ".join(f"{self.of_class.count(part)} {part} ({self.images[part]:,} images)" for part in PARTS)
        return f"split {self.name}, hash {self.hash[:8]}: classes {sizes}"

    def record(self) -> dict[str, dict[str, int]]:
        """Number of classes and of images in each part."""
        return {"classes": {part: self.of_class.count(part) for part in PARTS}, "images": dict(self.images)}

    def warnings(self, weights: str | None) -> list[str]:
        """What makes numbers of this split and these starting weights doubtful."""
        leak = splits.leakage_warning(weights, self.split)
        return [leak] if leak else []


def partition_of(directory: LocationLike, name: str) -> Partition:
    """Divide a data set.

    Args:
        directory: of shards.
        name: of a shipped split or a rule, a csv file, "own" for the rows' own splits, or "auto" for these where they
            share no class, else every fourth class.

    Raises:
        UserError: no such split, one that does not fit the classes, or a part without classes.
    """
    manifest = shards.read_manifest(directory)
    if name == OWN and not _disjoint(manifest):
        raise UserError(f"data.split={OWN}: the splits of '{manifest.name}' share classes, or one has none")
    if name in (OWN, AUTO) and _disjoint(manifest):
        split = splits.Split(OWN, _own(manifest), "the data set's own rows")
    else:
        split = splits.load_split(RULE if name == AUTO else name, manifest.classes)
    of_class = tuple(split.parts[label] for label in manifest.classes)
    for part in PARTS:
        if part not in of_class:
            raise UserError(f"data.split={name}: no class of '{manifest.name}' is in its {part} part")
    totals = [sum(manifest.counts[part][label] for part in manifest.counts) for label in range(len(of_class))]
    images = {part: sum(total for total, own in zip(totals, of_class, strict=True) if own == part) for part in PARTS}
    rows = shards.read_rows(directory, columns=["label", "source"])
    labels, sources = rows["label"].to_pylist(), rows["source"].to_pylist()
    hashed = splits.split_hash(split, sources, [manifest.classes[label] for label in labels])
    return Partition(split.name, hashed, of_class, images, split)


def partition_identity(name: str) -> str:
    """What a cell's name holds of a split; the data set's own rows are in the data set's hash."""
    return name if name in (AUTO, OWN) else splits.split_identity(name)


def _disjoint(manifest: Manifest) -> bool:
    """Whether each class lies in one split alone, and each split has some."""
    per_class = [
        sum(bool(manifest.counts[part][label]) for part in manifest.counts) for label in range(len(manifest.classes))
    ]
    return max(per_class) == 1 and all(any(manifest.counts.get(part, ())) for part in PARTS)


def _own(manifest: Manifest) -> dict[str, str]:
    """The part of each class; of one whose images were all corrupt, any."""
    return {
        label: next((part for part in manifest.counts if manifest.counts[part][index]), PARTS[0])
        for index, label in enumerate(manifest.classes)
    }
