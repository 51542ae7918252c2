"""Labels and a list of class names: each label that has a name becomes that class, and the others are named.

A label has a name if it is a number that counts in the list, or a name of the list itself. Numbers are ASCII digits,
also as "003" and "3.0", which tables write after a missing value. A list counts from 0, as in Hugging Face's files. A
text file beside labels from 1 to its number of lines counts from 1.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from raysearch.data.layouts.listing import same_form

LISTED = 5  # labels or names in a line
_NUMBER = re.compile(r"[+-]?[0-9]+(\.0*)?")


class NamedLabels(NamedTuple):
    """Classes for labels."""

    classes: tuple[str, ...]  # in label order, only those with a label
    of_label: Mapping[str, str]  # label as written -> class; labels without a name are not there
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def label_number(text: str) -> int | None:
    """Return the number that a label is, or None.

    >>> [label_number(text) for text in ("3", "003", "3.0", "-1", "\\u0663", "3.5", "wren")]
    [3, 3, 3, -1, None, None, None]
    """
    return int(text.split(".")[0]) if _NUMBER.fullmatch(text) else None


def name_labels(labels: Mapping[str, int], names: Sequence[str], first: int | None = None) -> NamedLabels:
    """Return the classes of labels.

    Args:
        labels: label as written -> number of images.
        names: class names; empty if there is no list.
        first: the number of the first name; None for 0, or 1 if the labels show it.

    >>> name_labels({"0": 2, "1": 1, "unknown": 3}, ["owl", "wren"]).of_label
    {'0': 'owl', '1': 'wren'}
    """
    numbers = {label: label_number(label) for label in labels}
    if not names:
        return _without_list(labels, numbers)
    unique, warnings = _distinct(names)
    notes = []
    start = first
    if start is None:
        known = [number for number in numbers.values() if number is not None]
        start = int(bool(known) and min(known) == 1 and max(known) == len(names))
        if start:
            notes.append(f"labels are 1 to {len(names)}, and there are {len(names)} class names: they count from 1")
    of_label = {}
    for label, number in numbers.items():
        if number is not None and 0 <= number - start < len(unique):
            of_label[label] = unique[number - start]
        elif same_form(label) in unique:
            of_label[label] = same_form(label)
    if not of_label:
        without_list = _without_list(labels, numbers)
        text = f"no label is among the {len(names)} class names (first label: {next(iter(labels), '')!r}); none is used"
        return without_list._replace(warnings=(text, *without_list.warnings))
    if unnamed := {label: count for label, count in labels.items() if label not in of_label}:
        rows = sum(unnamed.values())
        listed = ", ".join(f"{label!r} ({count:,})" for label, count in list(unnamed.items())[:LISTED])
        more = ", ..." if len(unnamed) > LISTED else ""
        warnings.append(
            f"{rows:,} {'image has a label' if rows == 1 else 'images have labels'} without a class name, and "
            f"{'is' if rows == 1 else 'are'} left out: {listed}{more}"
        )
    with_images = set(of_label.values())
    if empty := [name for name in unique if name not in with_images]:
        listed = ", ".join(map(repr, empty[:LISTED])) + (", ..." if len(empty) > LISTED else "")
        notes.append(f"{len(empty):,} of {len(names):,} class names have no image: {listed}")
    classes = tuple(name for name in unique if name in with_images)
    return NamedLabels(classes, of_label, tuple(notes), tuple(warnings))


def _without_list(labels: Mapping[str, int], numbers: Mapping[str, int | None]) -> NamedLabels:
    """Return numbers in their order, one class per number; or names as they are, sorted."""
    if not all(number is not None for number in numbers.values()):
        of_label = {label: same_form(label) for label in labels}
        return NamedLabels(tuple(sorted(set(of_label.values()))), of_label)
    spellings = Counter(numbers.values())
    of_label = {}
    for label, number in numbers.items():
        plain = spellings[number] == 1 and "." not in label and not label.startswith("+")
        of_label[label] = label if plain else str(number)
    in_order = sorted(labels, key=lambda label: (numbers[label] or 0, label))
    return NamedLabels(tuple(dict.fromkeys(of_label[label] for label in in_order)), of_label)


def _distinct(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the names, with its number after a name that is there twice, and a warning for those."""
    forms = [same_form(str(name)) for name in names]
    uses = Counter(forms)
    unique = [name if uses[name] == 1 else f"{name} ({index})" for index, name in enumerate(forms)]
    twice = [name for name, count in uses.items() if count > 1]
    if not twice:
        return unique, []
    listed = ", ".join(map(repr, twice[:LISTED])) + (", ..." if len(twice) > LISTED else "")
    return unique, [f"class names that are there twice are told apart by their numbers: {listed}"]
