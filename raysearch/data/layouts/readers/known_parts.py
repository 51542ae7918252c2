"""Few-shot data sets that are known by their classes: those of a published list, in the parts that it says.

miniImageNet, tieredImageNet and CIFAR-FS lie on disk in the forms of `few_shot`; what makes one of them that data set
is which class is in which part. The lists are in `lists/`.
"""

from collections.abc import Mapping
from pathlib import Path

from raysearch.core.errors import UserError
from raysearch.data import class_splits
from raysearch.data.class_splits import match_class_names
from raysearch.data.layouts import few_shot
from raysearch.data.layouts.layout import Layout, PublishedCounts
from raysearch.data.layouts.listing import Listing


def layout(split: str, title: str, counts: PublishedCounts) -> Layout:
    """The layout of a data set whose classes are parted as in the shipped list `split`."""

    def read(src: str, test_fraction: float | None) -> Listing:
        found = few_shot.fewshot(src, test_fraction)
        check(split, title, {sample.label: sample.split for sample in found})
        return found

    def recognise(root: Path) -> str:
        parts, where = few_shot.parts(root)
        try:
            agrees = bool(parts) and dict(class_splits.load_split(split, parts).parts) == parts
        except UserError:  # other classes
            return ""
        return f"{where}, which part {len(parts)} classes as {title} does" if agrees else ""

    return Layout(
        about=title,
        looks_for=f"what fewshot looks for, with the classes of {title}",
        recognise=recognise,
        read=read,
        counts=counts,
        refines="fewshot",
        disjoint=True,
    )


def check(split: str, title: str, parts: Mapping[str, str]) -> None:
    """UserError for a class that the list puts elsewhere, or does not name; classes may be missing."""
    listed = class_splits.shipped_parts(split)
    said = {label: listed[name] for name, label in match_class_names(listed, parts).items()}
    for label, part in sorted(parts.items()):
        if said.get(label) != part:
            where = f"has it in {said[label]}" if label in said else "has no such class"
            raise UserError(f"class {label!r} is in {part}, and {title} {where}; the layout fewshot takes any parts")
