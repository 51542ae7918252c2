"""A layout: how a data set lies on disk, by which signs it is known, and how many images it was published with."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from raysearch.core.errors import UserError
from raysearch.data.layouts.listing import Listing
from raysearch.data.layouts.readers import disk
from raysearch.data.shards import SPLITS, Box


@dataclass(frozen=True)
class PublishedCounts:
    """Images and classes of each part of a data set, as published."""

    images: Mapping[str, int]
    classes: Mapping[str, int]

    def differences(self, samples: Listing) -> list[str]:
        """One line for each part that has other numbers; none where all agree.

        >>> Counts({"train": 5994}, {"train": 200}).differences(Listing(()))
        ['train has 0 images, published 5,994; classes 0, published 200']
        """
        images = Counter(sample.split for sample in samples)
        classes = Counter(split for _, split in {(sample.label, sample.split) for sample in samples})
        return [
            f"{split} has {images[split]:,} images, published {self.images.get(split, 0):,}; "
            f"classes {classes[split]:,}, published {self.classes.get(split, 0):,}"
            for split in SPLITS
            if (images[split], classes[split]) != (self.images.get(split, 0), self.classes.get(split, 0))
        ]


@dataclass(frozen=True)
class Layout:
    """How one kind of data set is read."""

    about: str  # what it is, for the help
    looks_for: str  # what `auto` takes it by
    recognise: Callable[[Path], str]  # a directory -> what was found there that makes it this one; "" where it is not
    read: Callable[[str, float | None], Listing]  # SRC, and the test fraction that was asked for, if one was
    counts: PublishedCounts | None = None
    boxes: Callable[[str], Mapping[str, Box]] | None = None  # SRC -> source -> bounding box
    refines: str = ""  # the name of a wider layout that fits wherever this one does
    disjoint: bool = False  # a class is in one part: what is held out are classes, not images


@dataclass(frozen=True)
class Signature:
    """Files and folders by which a release is known, in one of the places where it may begin below SRC."""

    paths: tuple[str, ...]
    places: tuple[str, ...] = ("",)
    without: tuple[str, ...] = ()  # what would make it another data set

    def find(self, root: Path) -> Path | None:
        """The first place that has every sign."""
        places = (root / place for place in self.places)
        return next((place for place in places if not self.lacking(place)), None)

    def lacking(self, place: Path) -> list[str]:
        """What speaks against a place."""
        absent = [f"{path} is missing" for path in self.paths if not (place / path).exists()]
        return absent + [f"{path} is there" for path in self.without if (place / path).exists()]


def official_release(
    title: str,
    signs: tuple[Signature, ...],
    listing: Callable[[Path], Listing],
    counts: PublishedCounts,
    boxes: Callable[[Path], Mapping[str, Box]] | None = None,
) -> Layout:
    """The layout of a release that has its own split; `listing` and `boxes` are given the place where it begins."""

    def place(src: str) -> Path:
        with disk.directory(src) as root:
            for form in signs:
                if found := form.find(root):
                    return found
            lacking = min((form.lacking(root / at) for form in signs for at in form.places), key=len)
        raise UserError(f"SRC {src} holds no {title}: {', '.join(lacking)}; it is known by {looks_for}")

    def read(src: str, test_fraction: float | None) -> Listing:
        refuse_test_fraction(test_fraction, f"the lists of {title}")
        begin = place(src)
        with disk.directory(begin):
            return listing(begin)

    def recognise(root: Path) -> str:
        for form in signs:
            if found := form.find(root):
                return f"{', '.join(form.paths)} in {found}"
        return ""

    looks_for = " or ".join(_words(form) for form in signs)
    find_boxes = boxes
    return Layout(
        about=title,
        looks_for=looks_for,
        recognise=recognise,
        read=read,
        counts=counts,
        boxes=None if find_boxes is None else lambda src: find_boxes(place(src)),
    )


def refuse_test_fraction(test_fraction: float | None, own: str) -> None:
    """UserError where a test fraction was asked for and `own` decides already."""
    if test_fraction is not None:
        raise UserError(f"--test-fraction has no effect here: the split comes from {own}; leave the flag out")


def _words(form: Signature) -> str:
    return " + ".join(form.paths) + "".join(f", no {path}" for path in form.without)
