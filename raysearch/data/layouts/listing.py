"""What a layout finds at SRC: the samples, and where the data set's lists and its files disagree.

A disagreement (an image that is listed and not there, one that no list names, a label that contradicts the folder) is
no reason to stop by itself: it is named and counted with the corrupt images, and `--on-corrupt` decides.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from raysearch.data.layouts.readers import disk
from raysearch.data.shards import Corrupt, Sample


@dataclass(frozen=True)
class Listing:
    """The samples of a data set; iterating over it gives them."""

    samples: tuple[Sample, ...]
    classes: tuple[str, ...] | None = None  # in label order, all of them with samples; None: sorted by name
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
    """The samples of a data set that lists its images, once the lists have been held against the files.

    Args:
        base: where the data set begins; sources are paths below it.
        folders: where its images lie below `base`; what lies in them and is listed nowhere is named.
        entries: what the lists say.
        classes: class names in the data set's own label order; classes without images are left out. None: by name.
        wrong: source -> why it is left out, of what the lists contradict themselves on.
    """
    reasons = dict(wrong or {})
    listed: dict[str, ListEntry] = {}
    for entry in entries:
        first = listed.setdefault(entry.source, entry)
        if first != entry:
            reasons[entry.source] = f"listed as {first.label} in {first.split} and as {entry.label} in {entry.split}"
    there = {source for folder in folders for source in disk.images_below(base, folder)}
    reasons |= {source: "listed, and there is no such file" for source in listed.keys() - there - reasons.keys()}
    reasons |= {source: "in no list of the data set" for source in there - listed.keys() - reasons.keys()}
    samples = tuple(disk.sample(base, *entry) for entry in listed.values() if entry.source not in reasons)
    labels = {sample.label for sample in samples}
    return Listing(
        samples,
        None if classes is None else tuple(name for name in classes if name in labels),
        tuple(Corrupt(source=source, reason=reasons[source]) for source in sorted(reasons)),
    )
