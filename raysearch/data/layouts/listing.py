"""The result of reading SRC: the samples, and where the data set's lists and its files disagree.

A disagreement (a listed image that is missing, an image that no list names, a label that contradicts the folder) does
not stop the ingest by itself. It is counted and named with the corrupt images, and `--on-corrupt` decides.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from raysearch.data.layouts.readers import disk
from raysearch.data.shards import Corrupt, Sample


@dataclass(frozen=True)
class Listing:
    """The samples of a data set; iterating over it yields them."""

    samples: tuple[Sample, ...]
    classes: tuple[str, ...] | None = None  # in label order, only those with samples; None: sorted by name
    corrupt: tuple[Corrupt, ...] = ()

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)

    def __len__(self) -> int:
        return len(self.samples)


class ListEntry(NamedTuple):
    """A line of a data set's lists: an image's path below the data set, its class and its part."""

    source: str
    label: str
    split: str


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
    )
