"""Data sets in archives: the part that each file belongs to, and how its labels become classes.

A file's part is in its name (`train-00000-of-00002.parquet`, `birds_val_3.tar`) or in that of a folder above it. If no
file names one, the images are split here, within each class by hash. Labels are numbers with a list of names, numbers
without names, which stay in numeric order, or names.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from raysearch.core import UserError
from raysearch.data.layouts.layout import refuse_test_fraction
from raysearch.data.layouts.listing import Listing
from raysearch.data.layouts.readers import disk
from raysearch.data.layouts.readers.label_names import label_number, name_labels
from raysearch.data.part_names import PART_WORDS, words_of
from raysearch.data.shards import Corrupt, Loader, Sample, choose_test_sources


class ArchivedImage(NamedTuple):
    """An image in an archive."""

    source: str
    label: str
    load: Loader


def find_files(directory: Path, suffix: str | tuple[str, ...], levels: int = 3) -> list[Path]:
    """Return the files that end in a `suffix`, in a directory and `levels` of folders below it, by path."""
    files = [entry for entry in disk.visible(directory) if entry.name.lower().endswith(suffix) and entry.is_file()]
    if levels:
        for name in disk.folders(directory):
            files += find_files(directory / name, suffix, levels - 1)
    return files


def parts_of_files(root: Path, paths: Iterable[Path]) -> dict[Path, str]:
    """Return file -> part; empty if no file names one.

    Raises:
        UserError: some files name a part and others do not, or a name has two.
    """
    parts = {path: _part_in_path(path.relative_to(root)) for path in paths}
    named = {path: part for path, part in parts.items() if part}
    if named and len(named) < len(parts):
        unnamed = next(path for path in parts if path not in named)
        raise UserError(
            f"{next(iter(named))} names its part and {unnamed} does not; put train, val or test into every name"
        )
    return named


def listing_from_archives(
    root: Path,
    images: Sequence[tuple[Path, ArchivedImage]],
    parts: dict[Path, str],
    names: Sequence[str],
    test_fraction: float | None,
    corrupt: Sequence[Corrupt] = (),
    first: int | None = None,
) -> Listing:
    """Return the samples of archives.

    Args:
        root: SRC.
        images: each with the file that contains it.
        parts: file -> part, from `parts_of_files`.
        names: the names of the labels that are numbers; empty if there are none.
        test_fraction: as given by the user, or None.
        corrupt: images that were left out before.
        first: the number of the first name; None for 0, or 1 if the labels show it.

    Raises:
        UserError: a test fraction although files name their parts, or a class too small to split.
    """
    if parts:
        refuse_test_fraction(test_fraction, f"the names of files ({next(iter(parts)).relative_to(root)})")
    all_corrupt = list(corrupt)
    named = name_labels(Counter(image.label for _, image in images), names, first)
    by_class: dict[str, list[str]] = {}
    labeled: list[tuple[Path, ArchivedImage]] = []
    for path, image in images:
        label = named.of_label.get(image.label)
        if label is None:
            is_number = label_number(image.label) is not None
            shown = image.label if is_number else f"{image.label!r}, which is no class name"
            reason = f"its label is {shown}, and there are {len(names)}"
            all_corrupt.append(Corrupt(source=image.source, reason=reason))
            continue
        by_class.setdefault(label, []).append(image.source)
        labeled.append((path, image._replace(label=label)))
    test_sources = set() if parts or not labeled else choose_test_sources(by_class, test_fraction, root)
    samples = []
    for path, image in labeled:
        split = parts.get(path) or ("test" if image.source in test_sources else "train")
        samples.append(Sample(image.source, image.label, split, image.load))
    return Listing(tuple(samples), named.classes, tuple(all_corrupt), notes=named.notes, warnings=named.warnings)


def _part_in_path(path: Path) -> str:
    """Return the part that a path names, looking at the file's own name before its folders'.

    >>> [_part_in_path(Path(path)) for path in ("data/train-00000-of-00001.parquet", "test/0.tar", "birds/0.tar")]
    ['train', 'test', '']
    """
    for part in reversed(path.parts):
        name = re.sub(r"-\d{5}-of-\d{5}.*", "", part)  # letters of a hash may follow
        parts = {PART_WORDS[word] for word in words_of(name) if word in PART_WORDS}
        if len(parts) > 1:
            raise UserError(f"{path} names {' and '.join(sorted(parts))}; a file has one part")
        if parts:
            return parts.pop()
    return ""
