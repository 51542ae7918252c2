"""Class-disjoint splits of few-shot studies: which classes are learned from, chosen on, and tested on.

A split is asked for by name or by path. A name is a list that is shipped (`lists/`, with its source in its
first line) or a rule over the sorted class names; a path is a user's own list (see `split_files`).

CUB-200-2011 has three splits in use that do not agree: `cub-feat`, `cub-closerlook` and `cub-frn`. The training
classes of the last two are each other's complement, and two test parts share a few classes at most. Accuracies of
different splits are not comparable, so a result carries `split_hash` of the images that it was measured on.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from raysearch.core.errors import UserError, nearest
from raysearch.data.class_splits import split_files
from raysearch.data.class_splits.class_names import match_class_names
from raysearch.data.class_splits.leakage import leakage_warning
from raysearch.data.shards import SPLITS

__all__ = [
    "ELSEWHERE",
    "RULES",
    "SHIPPED",
    "Split",
    "known_splits",
    "leakage_warning",
    "load_split",
    "shipped_parts",
    "split_hash",
    "split_identity",
]

# A rule deals the classes, sorted by name, into parts by turns.
_CLOSERLOOK = ("train", "val", "train", "test")  # Chen et al., ICLR 2019
_FRN = ("val", "train", "test", "train")  # Wertheimer et al., CVPR 2021: the same, of CUB's numbers, which start at 1


@dataclass(frozen=True)
class Rule:
    """Which part each of four neighbouring classes goes to."""

    turns: tuple[str, str, str, str]
    what: str
    only: str = ""  # the one data set that it is for: "cub", or a shipped list that says which classes those are


RULES: dict[str, Rule] = {
    "mod4": Rule(("train", "train", "val", "test"), "any data set: of four classes by name two, one and one"),
    "closerlook": Rule(_CLOSERLOOK, "any data set: of four classes by name the 1st and 3rd, the 2nd, the 4th"),
    "frn": Rule(_FRN, "any data set: of four classes by name the 2nd and 4th, the 1st, the 3rd"),
    "cub-closerlook": Rule(_CLOSERLOOK, "CUB, 100/50/50, Chen et al.; agrees with neither other split of CUB", "cub"),
    "cub-frn": Rule(_FRN, "CUB, 100/50/50, Wertheimer et al.; agrees with neither other split of CUB", "cub"),
    "aircraft-frn": Rule(_CLOSERLOOK, "FGVC-Aircraft, 50/25/25, Wertheimer et al., of cropped images", "aircraft"),
}
SHIPPED: dict[str, str] = {  # name -> what it is
    "aircraft": "FGVC-Aircraft, 60/15/25, HelixFormer",
    "cifar-fs": "CIFAR-FS, 64/16/20, Bertinetto et al.",
    "miniimagenet": "miniImageNet, 64/16/20, Ravi and Larochelle",
    "stanford-cars": "Stanford Cars, 130/17/49, Li et al. (DN4), HelixFormer",
    "stanford-dogs": "Stanford Dogs, 70/20/30, Li et al. (DN4), HelixFormer",
    "tieredimagenet": "tieredImageNet, 351/97/160, Ren et al.",
}
ELSEWHERE: dict[str, str] = {  # name -> the folder of public lists that a user gives instead
    "cub-feat": "github.com/Sha-Lab/FEAT, data/cub/split (CUB, 100/50/50)",
    "nabirds": "github.com/JiakangYuan/HelixFormer, dataset_split_file/NABirds (NABirds, 350/66/139)",
}


@dataclass(frozen=True)
class Split:
    """Which part each class of a data set is in.

    Example:
        >>> split = load_split("closerlook", ["wren", "owl", "kite", "auk"])
        >>> dict(split.parts), split.classes("test"), split.counts
        ({'auk': 'train', 'kite': 'val', 'owl': 'train', 'wren': 'test'}, ('wren',), {'train': 2, 'val': 1, 'test': 1})
    """

    name: str
    parts: Mapping[str, str]  # class as the data set spells it -> "train", "val" or "test"
    source: str

    def classes(self, part: str) -> tuple[str, ...]:
        """The classes of one part, sorted by name."""
        return tuple(label for label in sorted(self.parts) if self.parts[label] == part)

    @property
    def counts(self) -> dict[str, int]:
        """Number of classes in each part."""
        return {part: len(self.classes(part)) for part in SPLITS}


def load_split(name_or_path: str, classes: Iterable[str]) -> Split:
    """The split of that name or path, for a data set with these classes.

    Raises UserError: an unknown name, a list that cannot be read, classes of which the split says nothing or which the
    data set does not have.
    """
    there = sorted(set(classes))
    parts, source = _dealt(name_or_path, there) if name_or_path in RULES else _listed(name_or_path)
    spelled = match_class_names(parts, there)
    lost, unsaid = [label for label in parts if label not in spelled], sorted(set(there) - set(spelled.values()))
    if lost or unsaid:
        raise UserError(_disagreement(name_or_path, len(parts), there, lost, unsaid))
    return Split(name_or_path, {spelled[label]: part for label, part in parts.items()}, source)


def known_splits() -> dict[str, str]:
    """Name -> what it is, of every split that has a name."""
    return {name: rule.what for name, rule in RULES.items()} | SHIPPED


def shipped_parts(name: str) -> Mapping[str, str]:
    """Class -> part, of a shipped list, with the classes as the list spells them.

    >>> shipped_parts("miniimagenet")["n01532829"]
    'train'
    """
    return _listed(name)[0]


def split_identity(name_or_path: str) -> str:
    """What a cell's name holds of a split: a known name as it is, and of files what they say, wherever they lie."""
    if name_or_path in known_splits():
        return name_or_path
    lines = sorted(f"{part},{label}\n" for label, part in _listed(name_or_path)[0].items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def split_hash(split: Split, sources: Sequence[str], labels: Sequence[str]) -> str:
    """SHA-256, in hex, of which images are in which part, whatever their order.

    Args:
        split: of the data set.
        sources: of each image, its path in the data set.
        labels: of each image, the name of its class.

    Example:
        >>> split = load_split("mod4", ["a", "b", "c", "d"])
        >>> split_hash(split, ["1.jpg", "2.jpg"], ["a", "d"]) == split_hash(split, ["2.jpg", "1.jpg"], ["d", "a"])
        True
    """
    lines = sorted(f"{split.parts[label]},{source},{label}\n" for source, label in zip(sources, labels, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _dealt(name: str, classes: list[str]) -> tuple[split_files.Parts, str]:
    rule = RULES[name]
    # sorted without their numbers CUB's classes have another order, and would be dealt into another split
    if rule.only == "cub" and not _numbered(classes, 200):
        raise UserError(f"split {name} goes by CUB's numbers: it needs 200 classes, 001.Black_footed_Albatross and on")
    names = sorted(_listed(rule.only)[0]) if rule.only in SHIPPED else classes
    return {label: rule.turns[place % 4] for place, label in enumerate(names)}, rule.what


def _numbered(classes: list[str], number: int) -> bool:
    return len(classes) == number and all(
        re.match(rf"{place:03d}\D", label) for place, label in enumerate(classes, start=1)
    )


def _listed(name_or_path: str) -> tuple[split_files.Parts, str]:
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


def _disagreement(name: str, listed: int, there: list[str], lost: list[str], unsaid: list[str]) -> str:
    """One line on the classes that only one side has."""
    said = []
    if unsaid:
        said.append(f"says nothing of {len(unsaid)} of the data set's {len(there)} classes (first: {unsaid[0]!r})")
    if lost:
        said.append(f"names {len(lost)} of its {listed} classes that the data set lacks (first: {lost[0]!r})")
    return f"split {name} {' and '.join(said)}"
