"""Lists with an image's path and the number of its class, where the folder gives the class a second time.

A number gets the name of the folder that contains most of its images. A line that contradicts this is wrong, and is
reported. So one bad line spoils one image, and not the class.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import NamedTuple

from raysearch.data.layouts.listing import ListEntry


class Line(NamedTuple):
    """A line of such a list."""

    source: str  # path below the data set
    number: int  # of the class
    split: str


class NamedLines(NamedTuple):
    """Lines with class names instead of numbers, and the classes in the order of their numbers."""

    entries: list[ListEntry]
    classes: list[str]
    wrong: dict[str, str]  # source -> why it is left out


def name_labels(lines: Iterable[Line]) -> NamedLines:
    """Replace numbers by class names. Two folders of one name, as in VegFru's two halves, keep their parent's name.

    >>> name_labels([Line("a/wren/1.jpg", 4, "train"), Line("a/owl/1.jpg", 2, "test")]).classes
    ['owl', 'wren']
    """
    all_lines = list(lines)
    votes: dict[int, Counter[str]] = {}
    for line in all_lines:
        votes.setdefault(line.number, Counter())[_folder(line)] += 1
    folders = {number: min(count, key=lambda name: (-count[name], name)) for number, count in votes.items()}
    uses = Counter(PurePosixPath(folder).name for folder in folders.values())
    names = {
        number: PurePosixPath(folder).name if uses[PurePosixPath(folder).name] == 1 else folder
        for number, folder in folders.items()
    }
    wrong = {
        line.source: f"its label is {line.number}, which is {names[line.number]}; its folder says otherwise"
        for line in all_lines
        if _folder(line) != folders[line.number]
    }
    return NamedLines(
        [ListEntry(line.source, names[line.number], line.split) for line in all_lines if line.source not in wrong],
        list(dict.fromkeys(names[number] for number in sorted(names))),
        wrong,
    )


def _folder(line: Line) -> str:
    return str(PurePosixPath(line.source).parent)
