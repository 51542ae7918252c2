"""Class-disjoint splits of few-shot studies: which classes are for training, validation and testing.

A split is named, or given by path. A name is a shipped list (`lists/`, with its source in the first line) or a rule
over the sorted class names. A path is a user's own list (see `split_files`).

Three splits of CUB-200-2011 are in use, and they do not agree: `cub-feat`, `cub-closerlook` and `cub-frn`. The training
classes of the last two are each other's complement, and any two test parts share at most a few classes. Accuracies on
different splits are not comparable, so a result carries `split_hash` of its images.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from raysearch.core import UserError, nearest
from raysearch.data.class_splits import split_files
from raysearch.data.class_splits.class_names import match_class_names
from raysearch.data.shards import SPLITS

# A rule deals the sorted classes into parts in turn.
_CLOSERLOOK = ("train", "val", "train", "test")  # Chen et al., ICLR 2019
_FRN = ("val", "train", "test", "train")  # Wertheimer et al., CVPR 2021: the same, of CUB's numbers, which start at 1


@dataclass(frozen=True)
class Rule:
    """The parts of four neighboring classes."""

    turns: tuple[str, str, str, str]
    about: str
    only: str = ""  # the only data set that it is for: "cub", or a shipped list of its classes


RULES: dict[str, Rule] = {
    "mod4": Rule(("train", "train", "val", "test"), "any data set: of four classes by name two, one and one"),
    "closerlook": Rule(_CLOSERLOOK, "any data set: of four classes by name the 1st and 3rd, the 2nd, the 4th"),
    "frn": Rule(_FRN, "any data set: of four classes by name the 2nd and 4th, the 1st, the 3rd"),
    "cub-closerlook": Rule(_CLOSERLOOK, "CUB, 100/50/50, Chen et al.; agrees with neither other split of CUB", "cub"),
    "cub-frn": Rule(_FRN, "CUB, 100/50/50, Wertheimer et al.; agrees with neither other split of CUB", "cub"),
    "aircraft-frn": Rule(_CLOSERLOOK, "FGVC-Aircraft, 50/25/25, Wertheimer et al., of cropped images", "aircraft"),
}
SHIPPED: dict[str, str] = {  # name -> description
    "aircraft": "FGVC-Aircraft, 60/15/25, HelixFormer",
    "cifar-fs": "CIFAR-FS, 64/16/20, Bertinetto et al.",
    "miniimagenet": "miniImageNet, 64/16/20, Ravi and Larochelle",
    "stanford-cars": "Stanford Cars, 130/17/49, Li et al. (DN4), HelixFormer",
    "stanford-dogs": "Stanford Dogs, 70/20/30, Li et al. (DN4), HelixFormer",
    "tieredimagenet": "tieredImageNet, 351/97/160, Ren et al.",
}
ELSEWHERE: dict[str, str] = {  # name -> public folder of lists, which a user gives instead
    "cub-feat": "github.com/Sha-Lab/FEAT, data/cub/split (CUB, 100/50/50)",
    "nabirds": "github.com/JiakangYuan/HelixFormer, dataset_split_file/NABirds (NABirds, 350/66/139)",
}


@dataclass(frozen=True)
class Split:
    """The part of each class of a data set.

    Example:
        >>> split = load_split("closerlook", ["wren", "owl", "kite", "auk"])
        >>> dict(split.parts), split.classes("test"), split.counts
        ({'auk': 'train', 'kite': 'val', 'owl': 'train', 'wren': 'test'}, ('wren',), {'train': 2, 'val': 1, 'test': 1})
    """

    name: str
    parts: Mapping[str, str]  # class, in the data set's spelling -> "train", "val" or "test"
    source: str

    def classes(self, part: str) -> tuple[str, ...]:
        """Return the classes of one part, sorted by name."""
        return tuple(label for label in sorted(self.parts) if self.parts[label] == part)

    @property
    def counts(self) -> dict[str, int]:
        """The number of classes in each part."""
        return {part: len(self.classes(part)) for part in SPLITS}


def load_split(name_or_path: str, classes: Iterable[str]) -> Split:
    """Load a split for a data set.

    Args:
        name_or_path: the name or path of the split.
        classes: the classes of the data set.

    Raises:
        UserError: an unknown name, a list that cannot be read, or classes that only the split or only the data set has.
    """
    data_classes = sorted(set(classes))
    if name_or_path in RULES:
        parts, source = _deal_classes(name_or_path, data_classes)
    else:
        parts, source = _read_list(name_or_path)
    spellings = match_class_names(parts, data_classes)
    absent = [label for label in parts if label not in spellings]
    unlisted = sorted(set(data_classes) - set(spellings.values()))
    if absent or unlisted:
        raise UserError(_disagreement(name_or_path, len(parts), data_classes, absent, unlisted))
    return Split(name_or_path, {spellings[label]: part for label, part in parts.items()}, source)


def known_splits() -> dict[str, str]:
    """Return name -> description of every split that has a name."""
    return {name: rule.about for name, rule in RULES.items()} | SHIPPED


def shipped_parts(name: str) -> Mapping[str, str]:
    """Return class -> part of a shipped list, in the list's spelling.

    Raises:
        UserError: an unknown name.

    >>> shipped_parts("miniimagenet")["n01532829"]
    'train'
    """
    return _read_list(name)[0]


def split_identity(name_or_path: str) -> str:
    """Return what a cell's hash contains of a split: a known name itself, or a hash of the files' content.

    Raises:
        UserError: no such split.
    """
    if name_or_path in known_splits():
        return name_or_path
    lines = sorted(f"{part},{label}\n" for label, part in _read_list(name_or_path)[0].items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def split_hash(split: Split, sources: Sequence[str], labels: Sequence[str]) -> str:
    """Return the SHA-256, in hex, of which images are in which part, whatever their order.

    Args:
        split: the split of the data set.
        sources: the path of each image in the data set.
        labels: the class name of each image.

    Example:
        >>> split = load_split("mod4", ["a", "b", "c", "d"])
        >>> split_hash(split, ["1.jpg", "2.jpg"], ["a", "d"]) == split_hash(split, ["2.jpg", "1.jpg"], ["d", "a"])
        True
    """
    lines = sorted(f"{split.parts[label]},{source},{label}\n" for source, label in zip(sources, labels, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _deal_classes(name: str, classes: list[str]) -> tuple[split_files.Parts, str]:
    rule = RULES[name]
    # Sorted without their numbers, CUB's classes have another order and would give another split.
    if rule.only == "cub" and not _are_numbered(classes, 200):
        raise UserError(
            f"split {name} uses CUB's numbers: it needs 200 classes, beginning with 001.Black_footed_Albatross"
        )
    names = sorted(_read_list(rule.only)[0]) if rule.only in SHIPPED else classes
    return {label: rule.turns[index % 4] for index, label in enumerate(names)}, rule.about


def _are_numbered(classes: list[str], number: int) -> bool:
    return len(classes) == number and all(
        re.match(rf"{index:03d}\D", label) for index, label in enumerate(classes, start=1)
    )


def _read_list(name_or_path: str) -> tuple[split_files.Parts, str]:
    if name_or_path in SHIPPED:
        text = (
            resources.files("raysearch.data.class_splits").joinpath("lists", f"{name_or_path}.csv").read_text("utf-8")
        )
        return split_files.parse_class_list(text, name_or_path), text.partition("\n")[0].removeprefix("# source: ")
    path = Path(name_or_path)
    if path.exists():
        return split_files.read_parts(path), name_or_path
    if name_or_path in ELSEWHERE:
        raise UserError(f"the list of {name_or_path} is not shipped; give the folder of {ELSEWHERE[name_or_path]}")
    raise UserError(
        f"unknown split {name_or_path!r}, and no such file{nearest(name_or_path, [*known_splits(), *ELSEWHERE])}"
    )


def _disagreement(name: str, listed: int, data_classes: list[str], absent: list[str], unlisted: list[str]) -> str:
    """Describe the classes that only one side has, in one line."""
    problems = []
    if unlisted:
        problems.append(f"lacks {len(unlisted)} of the data set's {len(data_classes)} classes (first: {unlisted[0]!r})")
    if absent:
        problems.append(f"names {len(absent)} of its {listed} classes that the data set lacks (first: {absent[0]!r})")
    return f"split {name} {' and '.join(problems)}"
