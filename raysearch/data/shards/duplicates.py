"""The same image twice: in two parts of a data set, which is leakage, or under two labels.

Images are compared by the bytes that are stored. Copies under other names are found, and after `--side` or a conversion
to JPEG also files whose pixels are the same.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

# Groups in the manifest. A study that divides the data by classes looks for leakage in those under several labels.
GROUPS_IN_PARTS = 10
GROUPS_IN_LABELS = 100
PLACES_KEPT = 3  # of each group, beside one for each further label and part


class Place(NamedTuple):
    """Where an image is."""

    source: str
    label: str
    split: str


class Duplicates(BaseModel):
    """Groups of equal images that are in several parts, or under several labels; the first ones in canonical order.

    A group has one place for each of its labels and parts, and up to PLACES_KEPT in all.
    """

    model_config = ConfigDict(frozen=True)

    in_parts: int = 0  # number of groups of equal images in several parts
    in_labels: int = 0  # number of groups under several labels
    groups: tuple[tuple[Place, ...], ...] = ()

    def warnings(self, part_of_class: Mapping[str, str] | None = None) -> list[str]:
        """Return one line for leakage, and one for labels that contradict each other.

        Args:
            part_of_class: class -> part, where a study divides the data by classes; None for the rows' own parts.

        >>> group = (Place("a.jpg", "owl", "train"), Place("b.jpg", "owl", "test"))
        >>> Duplicates(in_parts=1, groups=(group,)).warnings()
        ['1 image is in several parts, so that a model is tested on what it was trained on (first: a.jpg in train, \
b.jpg in test)']
        >>> Duplicates(in_parts=1, groups=(group,)).warnings({"owl": "train"})
        []
        """
        lines = []
        leaks = [group for group in self.groups if len(_parts(group, part_of_class)) > 1]
        number = self.in_parts if part_of_class is None else len(leaks)
        if number and leaks:
            first = ", ".join(f"{place.source} in {_part(place, part_of_class)}" for place in leaks[0][:3])
            lines.append(
                f"{_images(number)} in several parts, so that a model is tested on what it was trained on (first: "
                f"{first})"
            )
        if self.in_labels:
            group = next(group for group in self.groups if len({place.label for place in group}) > 1)
            first = ", ".join(f"{place.source} as {place.label}" for place in group[:3])
            lines.append(f"{_images(self.in_labels)} under several labels (first: {first})")
        return lines


def image_digest(image: bytes) -> str:
    """Return the digest by which images are compared: 32 hexadecimal digits."""
    return hashlib.blake2b(image, digest_size=16).hexdigest()


def find_duplicates(images: Iterable[tuple[str, Place]]) -> Duplicates:
    """Return equal images that are in several parts or under several labels.

    Args:
        images: the digest and the place of each image, in canonical order.
    """
    first: dict[str, Place] = {}
    repeated: dict[str, list[Place]] = {}
    for digest, place in images:
        if digest in first:
            repeated.setdefault(digest, [first[digest]]).append(place)
        else:
            first[digest] = place
    in_parts = [group for group in repeated.values() if len(_parts(group, None)) > 1]
    in_labels = [group for group in repeated.values() if len({place.label for place in group}) > 1]
    groups = (*in_parts[:GROUPS_IN_PARTS], *in_labels[:GROUPS_IN_LABELS])
    shortened = {id(group): _shorten(group) for group in groups}
    return Duplicates(in_parts=len(in_parts), in_labels=len(in_labels), groups=tuple(shortened.values()))


def _shorten(group: Sequence[Place]) -> tuple[Place, ...]:
    """Return the first places of a group, among them one for each label and part."""
    firsts = {(place.label, place.split): place for place in reversed(group)}
    others = (place for place in group if place not in firsts.values())
    places_listed = {*firsts.values(), *islice(others, max(PLACES_KEPT - len(firsts), 0))}
    return tuple(place for place in group if place in places_listed)


def _part(place: Place, part_of_class: Mapping[str, str] | None) -> str:
    return place.split if part_of_class is None else part_of_class.get(place.label, "train")


def _parts(group: Iterable[Place], part_of_class: Mapping[str, str] | None) -> set[str]:
    return {_part(place, part_of_class) for place in group}


def _images(number: int) -> str:
    return f"{number:,} {'image is' if number == 1 else 'images are'}"
