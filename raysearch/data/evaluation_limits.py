"""What keeps a task from being evaluated on a data set, and what makes its numbers doubtful, by class counts alone.

A query whose class has no image to find counts as 0, an episode with more ways than classes cannot be drawn, and a
class whose only image is support and query at once is recognized by any network. Such evaluations give a number, or
fail after the training. The functions here find them before it, from the manifest: no image is read.

A config's method `limits` calls the function of its task. `dataset_warnings` is for the ingest, which does not know
the task.
"""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from raysearch.data.part_names import PARTS

LISTED_CLASSES = 3  # in a message


class DataCounts(NamedTuple):
    """The images of each class of a data set, as its manifest has them."""

    name: str
    classes: Sequence[str]
    counts: Mapping[str, Sequence[int]]  # split -> images of each class

    def part(self, split: str) -> Sequence[int]:
        """Return the images of each class in one split; zeros if the data set has none."""
        return self.counts.get(split) or [0] * len(self.classes)

    def totals(self) -> list[int]:
        """Return the images of each class in all splits."""
        return [sum(numbers) for numbers in zip(*(self.part(split) for split in PARTS), strict=True)]


class Limits(NamedTuple):
    """Reasons against an evaluation, each a sentence that names what to do."""

    errors: tuple[str, ...] = ()  # the evaluation is impossible, or would give a number that means nothing
    warnings: tuple[str, ...] = ()  # it is possible, and the reader has to know


class EpisodeSize(NamedTuple):
    """The size of an episode."""

    ways: int
    shots: int
    queries: int


def retrieval_limits(data: DataCounts, validation: float = 0.0) -> Limits:
    """Return the limits of a retrieval: test images are queries, train images are the database.

    Args:
        data: the images of each class.
        validation: share of each train class that is held out, as `data.validation`.
    """
    train = data.part("train")
    test = data.part("test")
    where = f"data set '{data.name}'"
    if not sum(train) or not sum(test):
        return Limits((f"{where} has no {'test' if sum(train) else 'train'} images; ingest one with both parts",))
    errors: list[str] = []
    warnings = _equal_names(data)
    queries = [label for label, count in enumerate(test) if count]
    lost = [label for label in queries if not train[label]]
    if len(lost) == len(queries):
        errors.append(
            f"none of the {_number(lost, 'test class', 'test classes')} of {where} is in train "
            f"({_listed(data, lost)}), so every query would count as 0; retrieval needs the test classes in train, "
            "and few-shot studies take disjoint classes"
        )
    elif lost:
        images = sum(test[label] for label in lost)
        warnings.append(
            f"{images:,} test images of {_number(lost, 'class', 'classes')} ({_listed(data, lost)}) have no image of "
            "their class in train; they count as 0 in every metric"
        )
    if single := [label for label, count in enumerate(train) if count == 1]:
        more = f"; so have {len(single) - 1:,} other classes" if len(single) > 1 else ""
        errors.append(
            f"class '{data.classes[single[0]]}' of {where} has one training image; it needs at least two{more}"
        )
    if sum(count > 0 for count in train) < 2:
        errors.append(f"{where} has one training class; retrieval needs at least two")
    elif len(queries) == 1:
        warnings.append(f"all queries are of class '{data.classes[queries[0]]}', the only test class of {where}")
    if validation and not any(min(round(validation * count), max(0, count - 2)) for count in train):
        errors.append(f"data.validation={validation:g} holds out no images of {where}; set a larger share")
    return Limits(tuple(errors), tuple(warnings))


def episode_limits(data: DataCounts, parts: Mapping[str, str], size: EpisodeSize) -> Limits:
    """Return the limits of few-shot episodes on a class-disjoint split.

    Args:
        data: the images of each class.
        parts: class -> "train", "val" or "test".
        size: the size of an episode.
    """
    errors: list[str] = []
    warnings = _equal_names(data)
    totals = data.totals()
    for part in PARTS:
        name = "validation" if part == "val" else part
        labels = [label for label, total in enumerate(totals) if total and parts[data.classes[label]] == part]
        if len(labels) < size.ways:
            cure = f"fewer ways: --set episodes.ways={len(labels)}" if len(labels) > 1 else "another data.split"
            errors.append(
                f"episodes.ways={size.ways}: the split has {_number(labels, f'{name} class', f'{name} classes')}; "
                f"set {cure}"
            )
            continue
        same = [label for label in labels if totals[label] <= size.shots]
        few = [label for label in labels if size.shots < totals[label] < size.shots + size.queries]
        if len(same) == len(labels):
            errors.append(
                f"episodes.shots={size.shots}: no {name} class has more images than that, so support images would be "
                f"queries too; {_fewer_shots(max(totals[label] for label in labels))}"
            )
        elif same:
            warnings.append(
                f"{_number(same, f'{name} class has', f'{name} classes have')} {size.shots} images or fewer "
                f"({_listed(data, same)}): their support images are queries too, which are easy to recognize"
            )
        if few:
            warnings.append(
                f"{len(few):,} of {len(labels):,} {name} classes have fewer than the {size.shots + size.queries} "
                f"images that {size.shots} shots and {size.queries} queries take: images come more than once in an "
                "episode"
            )
    return Limits(tuple(errors), tuple(warnings))


def classifier_limits(data: DataCounts, parts: Mapping[str, str]) -> Limits:
    """Return the limits of a pre-training: it classifies the train classes, and is judged on validation classes.

    Args:
        data: the images of each class.
        parts: class -> "train", "val" or "test".
    """
    errors: list[str] = []
    totals = data.totals()
    for part, name in (("train", "train"), ("val", "validation")):
        labels = [label for label, total in enumerate(totals) if total and parts[data.classes[label]] == part]
        if len(labels) < 2:
            errors.append(
                f"the split has {_number(labels, f'{name} class', f'{name} classes')}; pre-training needs at least "
                "two; use another --set data.split"
            )
    return Limits(tuple(errors), tuple(_equal_names(data)))


def are_disjoint(data: DataCounts) -> bool:
    """Return whether two parts or more have images, and no class is in two of them."""
    parts_of_class = [sum(bool(data.part(split)[label]) for split in PARTS) for label in range(len(data.classes))]
    return max(parts_of_class, default=0) == 1 and sum(any(data.part(split)) for split in PARTS) > 1


def are_tests_apart(data: DataCounts) -> bool:
    """Return whether there are train and test classes, and no test class is in another part.

    The classes of train and val may be the same, as after `--val`.
    """
    train = data.part("train")
    val = data.part("val")
    test = data.part("test")
    shared = any(count and (train[label] or val[label]) for label, count in enumerate(test))
    return any(train) and any(test) and not shared


def shared_classes_warning(data: DataCounts) -> list[str]:
    """Return a warning for a data set that would be class-disjoint but for a few classes, which may be a mistake.

    Args:
        data: the images of each class.
    """
    used = [part for part in PARTS if any(data.part(part))]
    shared = [label for label in range(len(data.classes)) if sum(bool(data.part(part)[label]) for part in used) > 1]
    if not shared or 2 * len(shared) >= len(data.classes) or are_tests_apart(data):
        return []
    return [
        f"{_number(shared, 'class is', 'classes are')} in several parts ({_listed(data, shared)}), and the other "
        f"{len(data.classes) - len(shared):,} are not; few-shot studies with data.split=auto divide all classes anew"
    ]


def dataset_warnings(data: DataCounts) -> list[str]:
    """Return what studies on a data set have to expect, for its ingest: each limit that any task would meet."""
    if are_disjoint(data):
        missing = [split for split in PARTS if not any(data.part(split))]
        note = {
            "train": "it has no train part, so nothing can be trained on its own parts",
            "val": "it has no val part; data.split=auto validates on a fifth of the train classes",
            "test": "it has no test part; few-shot studies need one, or data.split=mod4",
        }
        reason = "each class is in one part: few-shot studies keep these parts, and retrieval studies refuse them"
        return ["; ".join([reason, *(note[split] for split in missing)]), *_equal_names(data)]
    limits = retrieval_limits(data)
    if are_tests_apart(data):
        reason = "no test class is in another part: few-shot studies keep them apart, and retrieval studies refuse them"
        return [f"{reason}; data.split=auto validates on a fifth of the other classes", *_equal_names(data)]
    impossible = [f"retrieval is not possible: {error}" for error in limits.errors]
    return impossible + list(limits.warnings) + shared_classes_warning(data)


def _equal_names(data: DataCounts) -> list[str]:
    """Return a warning for class names that look the same, and are stored in two Unicode forms."""
    forms: dict[str, list[str]] = {}
    for label in data.classes:
        forms.setdefault(unicodedata.normalize("NFC", label), []).append(label)
    return [
        f"class '{form}' is there {len(labels)} times, under names in different Unicode forms; ingest the data set "
        "again to make it one class"
        for form, labels in forms.items()
        if len(labels) > 1
    ]


def _fewer_shots(images: int) -> str:
    return f"use --set episodes.shots={images - 1}" if images > 1 else "classes need two images or more"


def _number(labels: Sequence[int], singular: str, plural: str) -> str:
    return f"{len(labels):,} {singular if len(labels) == 1 else plural}"


def _listed(data: DataCounts, labels: Iterable[int]) -> str:
    names = [repr(data.classes[label]) for label in labels]
    return ", ".join(names[:LISTED_CLASSES]) + (", ..." if len(names) > LISTED_CLASSES else "")
