"""Lists that give an image's path and a number for its class, where the folder says the class a second time.

The name of a number is the folder that most of its images lie in; a line that says otherwise is wrong, and is named. So
one bad line spoils one image, and not the class.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import NamedTuple

from raysearch.data.layouts.listing import ListEntry


class Line(NamedTuple):
    """A line of such a list."""

    source: str  # below the data set
    number: int  # of the class
    split: str


class Named(NamedTuple):
    """Lines whose numbers have become class names, classes in the order of their numbers."""

    entries: list[ListEntry]
    classes: list[str]
    wrong: dict[str, str]  # source -> why it is left out


def named(lines: Iterable[Line]) -> Named:
    """Class names for numbers. Two folders of one name (in VegFru's two halves) become names with their own folder's.

    >>> named([Line("a/wren/1.jpg", 4, "train"), Line("a/owl/1.jpg", 2, "test")]).classes
    ['owl', 'wren']
    """
    everything = list(lines)
    votes: dict[int, Counter[str]] = {}
    for line in everything:
        votes.setdefault(line.number, Counter())[_folder(line)] += 1
    folders = {number: min(count, key=lambda name: (-count[name], name)) for number, count in votes.items()}
    shared = Counter(PurePosixPath(folder).name for folder in folders.values())
    names = {
        number: PurePosixPath(folder).name if shared[PurePosixPath(folder).name] == 1 else folder
        for number, folder in folders.items()
    }
    wrong = {
        line.source: f"its label is {line.number}, which is {names[line.number]}; its folder says otherwise"
        for line in everything
        if _folder(line) != folders[line.number]
    }
    return Named(
        [ListEntry(line.source, names[line.number], line.split) for line in everything if line.source not in wrong],
        list(dict.fromkeys(names[number] for number in sorted(names))),
        wrong,
    )


def _folder(line: Line) -> str:
    return str(PurePosixPath(line.source).parent)
