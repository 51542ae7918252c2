"""A layout: how a data set is arranged on disk, by which files it is recognized, and its published image counts.

Reading SRC gives a `Listing`: the samples, and where the data set's lists and its files disagree.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from raysearch.core import Registry, UserError
from raysearch.data.layouts.listing import Listing
from raysearch.data.layouts.readers import disk
from raysearch.data.shards import SPLITS, Box

Reader = Callable[[str, float | None], Listing]  # SRC and --test-fraction (None if it was not given) -> samples


class ReadOptions(NamedTuple):
    """What a user says about SRC that cannot be seen in it. Defaults: nothing."""

    label_column: str | None = None
    image_column: str | None = None
    no_parts: bool = False  # folders named train or test are classes

    def given(self) -> list[str]:
        """Return the flags that were given, as on the command line."""
        flags = ("--label-column", "--image-column", "--no-parts")
        return [flag for flag, value in zip(flags, self, strict=True) if value]


NO_OPTIONS = ReadOptions()


@dataclass(frozen=True)
class PublishedCounts:
    """Images and classes of each part of a data set, as published."""

    images: Mapping[str, int]
    classes: Mapping[str, int]

    def differences(self, samples: Listing) -> list[str]:
        """Return one line for each part whose numbers differ from the published ones.

        >>> PublishedCounts({"train": 5994}, {"train": 200}).differences(Listing(()))
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
    """How one kind of data set is recognized and read."""

    name: str  # on the command line
    about: str  # one phrase for the help
    looks_for: str  # the files that `auto` looks for, as text; "" if `auto` cannot find it
    recognize: Callable[[Path], str]  # a directory -> the evidence that it has this layout, or ""
    read: Reader
    counts: PublishedCounts | None = None
    boxes: Callable[[str], Mapping[str, Box]] | None = None  # SRC -> source -> bounding box
    refines: str = ""  # name of a wider layout that fits wherever this one does
    disjoint: bool = False  # each class is in one part, so that classes are held out, not images
    recognize_plain: Callable[[Path], str] | None = None  # as `recognize`, asked if no layout was recognized
    read_with: Callable[[str, float | None, ReadOptions], Listing] | None = None  # as `read`, with these options:
    options: tuple[str, ...] = ()  # flags

    def with_options(self, options: ReadOptions) -> "Layout":
        """Return the layout that reads with these options.

        Raises:
            UserError: an option that the layout does not take.
        """
        given = options.given()
        read_with = self.read_with
        if not given:
            return self
        if unknown := [flag for flag in given if flag not in self.options or read_with is None]:
            takers = [name for name in sorted(LAYOUTS) if unknown[0] in LAYOUTS[name].options]
            raise UserError(
                f"{unknown[0]} has no effect in the layout {self.name}; it is for {', '.join(takers)}. Leave it out, "
                "or name another layout"
            )
        assert read_with is not None
        return replace(self, read=lambda src, test_fraction: read_with(src, test_fraction, options))


LAYOUTS = Registry[Layout]("layout")


def register_layout(layout: Layout) -> Layout:
    """Add a layout under its name, and return it.

    Raises:
        UserError: the name is registered already.
    """
    return LAYOUTS.register(layout.name, layout)


def layout(
    name: str,
    *,
    about: str,
    looks_for: str = "",
    recognize: Callable[[Path], str] = lambda root: "",
    counts: PublishedCounts | None = None,
    boxes: Callable[[str], Mapping[str, Box]] | None = None,
    disjoint: bool = False,
) -> Callable[[Reader], Reader]:
    """Register the decorated reader as a layout.

    Args:
        name: the name of the layout on the command line.
        about: one phrase for the help.
        looks_for: the files that `auto` looks for, as text.
        recognize: a directory -> the evidence that it has this layout, or ""; without it `auto` does not find it.
        counts: as published.
        boxes: SRC -> source -> bounding box.
        disjoint: whether each class is in one part.

    Returns:
        A decorator for a function (SRC, test fraction or None) -> Listing.

    Raises:
        UserError: the name is registered already.
    """

    def _register(read: Reader) -> Reader:
        register_layout(Layout(name, about, looks_for, recognize, read, counts, boxes, disjoint=disjoint))
        return read

    return _register


@dataclass(frozen=True)
class Signature:
    """Files and folders that identify a release, and the folders below SRC in which it may begin."""

    paths: tuple[str, ...]
    folders: tuple[str, ...] = ("",)
    without: tuple[str, ...] = ()  # paths that would make it another data set

    def find(self, root: Path) -> Path | None:
        """Return the first folder that matches."""
        folders = (root / folder for folder in self.folders)
        return next((folder for folder in folders if not self.mismatches(folder)), None)

    def mismatches(self, folder: Path) -> list[str]:
        """Return what is missing in a folder, or should not be there."""
        absent = [f"{path} is missing" for path in self.paths if not (folder / path).exists()]
        return absent + [f"{path} is there" for path in self.without if (folder / path).exists()]

    def describe(self) -> str:
        """Return the paths as text."""
        return " + ".join(self.paths) + "".join(f", no {path}" for path in self.without)


def official_release(
    name: str,
    title: str,
    signatures: tuple[Signature, ...],
    listing: Callable[[Path], Listing],
    counts: PublishedCounts,
    boxes: Callable[[Path], Mapping[str, Box]] | None = None,
    annotations: Sequence[str] = (),
) -> Layout:
    """Return the layout of a release that has its own split. It is not registered yet.

    Args:
        name: the name of the layout.
        title: the title of the data set.
        signatures: the forms in which it was released.
        listing: folder in which the release begins -> samples.
        counts: as published.
        boxes: folder in which the release begins -> source -> bounding box.
        annotations: files and folders of the release that hold lists or boxes, beside those of the signatures.
    """
    looks_for = " or ".join(signature.describe() for signature in signatures)

    def _find_release(src: str) -> Path:
        with disk.directory(src) as root:
            for signature in signatures:
                if folder := signature.find(root):
                    return folder
            closest = min(
                (signature.mismatches(root / folder) for signature in signatures for folder in signature.folders),
                key=len,
            )
        raise UserError(f"SRC {src} holds no {title}: {', '.join(closest)}; it is known by {looks_for}")

    def _read(src: str, test_fraction: float | None) -> Listing:
        refuse_test_fraction(test_fraction, f"the lists of {title}")
        release = _find_release(src)
        with disk.directory(release):
            known = {path for signature in signatures for path in signature.paths if not (release / path).is_dir()}
            used = (path for path in (*sorted(known), *annotations) if (release / path).exists())
            samples = listing(release)
            return replace(samples, base=release, used=(*samples.used, *used))

    def _recognize(root: Path) -> str:
        for signature in signatures:
            if folder := signature.find(root):
                return f"{', '.join(signature.paths)} in {folder}"
        return ""

    read_boxes = boxes
    return Layout(
        name=name,
        about=title,
        looks_for=looks_for,
        recognize=_recognize,
        read=_read,
        counts=counts,
        boxes=None if read_boxes is None else lambda src: read_boxes(_find_release(src)),
    )


def refuse_test_fraction(test_fraction: float | None, origin: str) -> None:
    """Raise if --test-fraction was given although the data set has a split.

    Args:
        test_fraction: as given; None if it was not.
        origin: the origin of the split, named in the error.

    Raises:
        UserError: it was given.
    """
    if test_fraction is not None:
        raise UserError(f"--test-fraction has no effect here: the split comes from {origin}; leave the flag out")
