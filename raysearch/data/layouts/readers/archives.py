"""What data sets in archives share: which part a file is of, and how their labels become classes.

A file's part is in its name (`train-00000-of-00002.parquet`, `birds_val_3.tar`) or in that of a folder above it. Where
no file says one, the images are split here, in each class by hash. Labels are numbers with a list of names, numbers by
themselves, which are kept in numeric order, or names.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from raysearch.core.errors import UserError
from raysearch.data import shards
from raysearch.data.layouts.layout import refuse_test_fraction
from raysearch.data.layouts.listing import Listing
from raysearch.data.layouts.readers import disk
from raysearch.data.shards import Corrupt, Loader, Sample

WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


class Image(NamedTuple):
    """An image in an archive."""

    source: str
    label: str
    load: Loader


def files(directory: Path, suffix: str, levels: int = 3) -> list[Path]:
    """Files that end in `suffix`, in a directory and so many levels of folders below it, by path."""
    found = [entry for entry in disk.visible(directory) if entry.name.endswith(suffix) and entry.is_file()]
    if levels:
        found += [one for name in disk.folders(directory) for one in files(directory / name, suffix, levels - 1)]
    return found


def parts(root: Path, paths: Iterable[Path]) -> dict[Path, str]:
    """File -> its part; nothing where no file says one.

    Raises UserError: some files say a part and others do not, or a name says two.
    """
    said = {path: _part(path.relative_to(root)) for path in paths}
    named = {path: part for path, part in said.items() if part}
    if named and len(named) < len(said):
        silent = next(path for path in said if path not in named)
        raise UserError(f"{next(iter(named))} says its part and {silent} does not; name them all train, val or test")
    return named


def listing(
    root: Path,
    images: Sequence[tuple[Path, Image]],
    said: dict[Path, str],
    names: Sequence[str],
    test_fraction: float | None,
    corrupt: Sequence[Corrupt] = (),
) -> Listing:
    """The samples of archives.

    Args:
        root: SRC.
        images: each with the file that it is in.
        said: file -> part, of `parts`.
        names: of the labels that are numbers; empty where there are none.
        test_fraction: what was asked for.
        corrupt: what was left out already.
    """
    if said:
        refuse_test_fraction(test_fraction, f"the names of files ({next(iter(said)).relative_to(root)})")
    bad = list(corrupt)
    numbers = all(image.label.isdigit() for _, image in images)
    by_class: dict[str, list[str]] = {}
    kept: list[tuple[Path, Image]] = []
    for path, image in images:
        if numbers and names and int(image.label) >= len(names):
            bad.append(Corrupt(source=image.source, reason=f"its label is {image.label}, and there are {len(names)}"))
            continue
        label = names[int(image.label)] if numbers and names else image.label
        by_class.setdefault(label, []).append(image.source)
        kept.append((path, image._replace(label=label)))
    order = list(names) if numbers and names else sorted(by_class, key=int if numbers else None)
    tested = set() if said or not kept else shards.choose_test_sources(by_class, test_fraction, root)
    samples = [
        Sample(image.source, image.label, said.get(path) or ("test" if image.source in tested else "train"), image.load)
        for path, image in kept
    ]
    return Listing(tuple(samples), tuple(name for name in order if name in by_class), tuple(bad))


def _part(path: Path) -> str:
    """The part that a path says, the file's own name before its folders'.

    >>> _part(Path("data/train-00000-of-00001.parquet")), _part(Path("test/0.tar")), _part(Path("birds/0.tar"))
    ('train', 'test', '')
    """
    for name in reversed(path.parts):
        said = {WORDS[word] for word in re.split(r"[^a-z]+", name.lower()) if word in WORDS}
        if len(said) > 1:
            raise UserError(f"{path} says {' and '.join(sorted(said))}; a file has one part")
        if said:
            return said.pop()
    return ""
