"""Few-shot data sets that are known by their classes: the classes of a published list, in the list's parts.

miniImageNet, tieredImageNet and CIFAR-FS are on disk in the forms of `few_shot`. Each is recognized by which class is
in which part. The lists are in `class_splits/lists/`.
"""

from collections.abc import Mapping
from pathlib import Path

from raysearch.core import UserError
from raysearch.data.class_splits import load_split, match_class_names, shipped_parts
from raysearch.data.layouts import few_shot
from raysearch.data.layouts.layout import Layout, PublishedCounts
from raysearch.data.layouts.listing import Listing


def known_parts_layout(name: str, title: str, counts: PublishedCounts) -> Layout:
    """Return the layout of a data set whose classes are divided as in a shipped list. It is not registered yet.

    Args:
        name: the name of the layout and of the shipped list.
        title: the title of the data set.
        counts: as published.
    """

    def _read(src: str, test_fraction: float | None) -> Listing:
        listing = few_shot.read_fewshot(src, test_fraction)
        check_parts(name, title, {sample.label: sample.split for sample in listing})
        return listing

    def _recognize(root: Path) -> str:
        parts, evidence = few_shot.find_parts(root)
        try:
            agrees = bool(parts) and dict(load_split(name, parts).parts) == parts
        except UserError:  # other classes
            return ""
        return f"{evidence}, which part {len(parts)} classes as {title} does" if agrees else ""

    return Layout(
        name=name,
        about=title,
        looks_for=f"what fewshot looks for, with the classes of {title}",
        recognize=_recognize,
        read=_read,
        counts=counts,
        refines="fewshot",
        disjoint=True,
    )


def check_parts(split: str, title: str, parts: Mapping[str, str]) -> None:
    """Compare classes with a shipped list. Classes may be missing.

    Args:
        split: name of the list.
        title: the title of the data set, for errors.
        parts: class -> part.

    Raises:
        UserError: a class that the list has in another part, or not at all.
    """
    listed = shipped_parts(split)
    expected = {label: listed[name] for name, label in match_class_names(listed, parts).items()}
    for label, part in sorted(parts.items()):
        if expected.get(label) != part:
            published = f"has it in {expected[label]}" if label in expected else "has no such class"
            raise UserError(
                f"class {label!r} is in {part}, and {title} {published}; the layout fewshot takes any parts"
            )
