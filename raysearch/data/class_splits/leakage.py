"""Says when weights have seen what a few-shot study calls new.

LWFM-SPM (arXiv 2411.06363) starts from ImageNet weights and is tested on miniImageNet and tieredImageNet, whose test
classes are among the thousand that those weights were taught with labels; so are the photographs of Stanford Dogs.
Such accuracies are not comparable with those of methods that learn from the training classes alone.
"""

import os
from typing import Protocol

from raysearch.data.class_splits.class_names import WORDNET

FROM_IMAGENET = frozenset({"miniimagenet", "tieredimagenet", "stanford-dogs"})
_SIGNS = ("imagenet", "default")  # torchvision's IMAGENET1K_V1 and DEFAULT, and files that are named after the set


class _Split(Protocol):
    @property
    def name(self) -> str: ...

    def classes(self, part: str) -> tuple[str, ...]: ...


def leakage_warning(weights: str | os.PathLike[str] | None, split: _Split) -> str | None:
    """A warning where ImageNet weights meet new classes of ImageNet, else None; what a file holds is told by its name.

    Args:
        weights: `model.weights`: a torchvision name, a file, or None.
        split: of the data set; classes count as ImageNet's where they are named by a WordNet id.
    """
    if weights is None or not any(sign in os.path.basename(weights).lower() for sign in _SIGNS):
        return None
    novel = [label for part in ("val", "test") for label in split.classes(part)]
    seen = len(novel) if split.name in FROM_IMAGENET else sum(bool(WORDNET.match(label)) for label in novel)
    if not seen:
        return None
    return (
        f"{seen} of the {len(novel)} classes of val and test are ImageNet's, and the weights {os.fspath(weights)} were "
        "taught them: accuracies are not comparable with methods that start from the training classes"
    )
