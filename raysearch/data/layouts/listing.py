"""The listing of a data set: its samples, and where its lists and its files disagree.

A disagreement is a listed image that is missing, an image that no list names, or a label that contradicts the folder.
It does not stop the ingest by itself. It is counted and named with the corrupt images, and `--on-corrupt` decides.
"""

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from raysearch.data.layouts.readers import disk
from raysearch.data.reading_account import Unused
from raysearch.data.shards import Corrupt, Sample

UNREAD_IMAGE = "an image where the layout does not look for any"


@dataclass(frozen=True)
class Listing:
    """The samples of a data set; iterating over it yields them.

    Whatever else is in SRC is found and counted by `read_source`. A layout adds what only it can know: the files it
    `used`, and in `unused` the rows of lists, the members of archives, and files or folders with its own reason.
    """

    samples: tuple[Sample, ...]
    classes: tuple[str, ...] | None = None  # in label order, only those with samples; None: sorted by name
    corrupt: tuple[Corrupt, ...] = ()
    base: Path | None = None  # folder below which all paths of this listing are; None: SRC
    used: tuple[str, ...] = ()  # lists, annotations and archives that were read; a folder stands for all in it
    unused: tuple[Unused, ...] = ()
    rest: str = UNREAD_IMAGE  # the reason for an image in SRC that is neither a sample nor in `unused`
    notes: tuple[str, ...] = ()  # choices that the layout made, printed for the user
    warnings: tuple[str, ...] = ()  # what the reader of results has to know; the manifest keeps it

    def __post_init__(self) -> None:
        """Write class names in Unicode's composed form, so that a name from macOS and one from a list are one class."""
        if not all(unicodedata.is_normalized("NFC", sample.label) for sample in self.samples):
            samples = (sample._replace(label=same_form(sample.label)) for sample in self.samples)
            object.__setattr__(self, "samples", tuple(samples))
        if self.classes is not None:
            object.__setattr__(self, "classes", tuple(dict.fromkeys(map(same_form, self.classes))))

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)

    def __len__(self) -> int:
        return len(self.samples)


def same_form(name: str) -> str:
    """Return a class name in Unicode's composed form (NFC).

    >>> same_form("e\\u0301te\\u0301") == "\\u00e9t\\u00e9"
    True
    """
    return unicodedata.normalize("NFC", name)


class ListEntry(NamedTuple):
    """A line of a data set's lists: an image's path below the data set, its class and its part."""

    source: str
    label: str
    split: str


def listing_from_labels(
    base: Path,
    folder: str,
    names: str,
    lists: Mapping[str, str],
    read_labels: Callable[[Path], Iterable[tuple[str, str]]],
) -> Listing:
    """Read a file of class names, and a list of images with their labels for each part.

    Args:
        base: folder in which the data set begins; sources and files are below it.
        folder: folder of the images.
        names: file of the class names, in label order.
        lists: part -> file of its list.
        read_labels: path of a list -> its (source, label).

    Raises:
        UserError: a file cannot be read.
    """
    classes = disk.read_lines(base / names)
    known = set(classes)
    entries: list[ListEntry] = []
    wrong: dict[str, str] = {}
    for split, file in lists.items():
        for source, label in read_labels(base / file):
            if label in known:
                entries.append(ListEntry(source, label, split))
            else:
                wrong[source] = f"{file} says {label!r}, which is not in {names}"
    return listing_from_lists(base, [folder], entries, classes, wrong)


def listing_from_lists(
    base: Path,
    folders: Sequence[str],
    entries: Iterable[ListEntry],
    classes: Iterable[str] | None = None,
    wrong: Mapping[str, str] | None = None,
) -> Listing:
    """Compare a data set's lists with its files, and return the samples on which both agree.

    Args:
        base: folder in which the data set begins; sources are paths below it.
        folders: folders of images below `base`; images in them that no list names are reported.
        entries: the lines of the lists.
        classes: class names in the data set's own label order; classes without images are left out. None: by name.
        wrong: source -> reason, of entries that contradict each other.
    """
    reasons = dict(wrong or {})
    listed: dict[str, ListEntry] = {}
    for entry in entries:
        first = listed.setdefault(entry.source, entry)
        if first != entry:
            reasons[entry.source] = f"listed as {first.label} in {first.split} and as {entry.label} in {entry.split}"
    on_disk = {source for folder in folders for source in disk.images_below(base, folder)}
    reasons |= {source: "listed, and there is no such file" for source in listed.keys() - on_disk - reasons.keys()}
    reasons |= {source: "in no list of the data set" for source in on_disk - listed.keys() - reasons.keys()}
    samples = tuple(disk.file_sample(base, *entry) for entry in listed.values() if entry.source not in reasons)
    labels = {sample.label for sample in samples}
    return Listing(
        samples,
        None if classes is None else tuple(name for name in classes if name in labels),
        tuple(Corrupt(source=source, reason=reasons[source]) for source in sorted(reasons)),
        base=base,
    )
